"""Which task a recipe names."""

from __future__ import annotations

from attrs import evolve

from privmed import registry
from privmed.errors import SettingsError
from privmed.interfaces import BareAnalyzer, FileHider
from privmed.settings import structure
from privmed.training.analysis import Bare, Covert
from privmed.training.classification import Classification
from privmed.training.distillation import Distillation
from privmed.training.hiding import Hiding
from privmed.training.recipe import Recipe
from privmed.training.tasks import Task

TASKS: dict[str, tuple[str, type[Task]]] = {
    "hiding": ("hider", Hiding),
    "distillation": ("hider", Distillation),
    "bare": ("analyzer", Bare),
    "covert": ("analyzer", Covert),
    "classification": ("classifier", Classification),
}
BEHIND = ("covert", "distillation")  # tasks with a hider beside the method


def make_task(recipe: Recipe, device: str) -> Task:
    """Build the task of a recipe.

    Raises:
        SettingsError, MethodNotFoundError: as :func:`check_methods`, before the data are looked at.
    """
    check_methods(recipe)
    return TASKS[recipe.task][1](named(recipe), device)


def check_methods(recipe: Recipe) -> None:
    """Whether there are the methods that a recipe names, of the kinds that its task needs, and with its settings.

    Raises:
        SettingsError: when the method is of another kind than the task trains or has no such settings, a hider carries files and not
            images, an analyzer takes bare images alone, or a method in the loop has no weights.
        MethodNotFoundError: when there is no such method.
    """
    needed, _ = TASKS[recipe.task]
    kind, _, name = recipe.method.partition(":")
    if kind != needed:
        raise SettingsError(f"task {recipe.task} trains a method of kind {needed}, got {recipe.method!r}.")
    method = registry.load(kind, name) if kind in registry.GROUPS else None
    hiders = [name] * (kind == "hider") + [recipe.hider] * (recipe.task in BEHIND)
    for hider in hiders:
        if issubclass(cls := registry.load("hider", hider), FileHider):
            cls.refuse()
    loop = [name] * (recipe.task == "covert") + [recipe.analyzer] * (
        recipe.task == "distillation" and bool(recipe.analyzer)
    )
    for analyzer in loop:
        if issubclass(cls := registry.load("analyzer", analyzer), BareAnalyzer):
            cls.refuse()
    if method is not None:
        structure(method.Config, recipe.settings, name)
    named(recipe)


def named(recipe: Recipe) -> Recipe:
    """The recipe with the names of the weights that methods in its loop have by default: other versions may have others.

    Raises:
        SettingsError: when one has none.
    """
    if recipe.task in BEHIND and recipe.hider_weights == registry.BUNDLED:
        recipe = evolve(recipe, hider_weights=_default("hider", recipe.hider))
    if recipe.task == "distillation" and recipe.analyzer and recipe.analyzer_weights == registry.BUNDLED:
        recipe = evolve(recipe, analyzer_weights=_default("analyzer", recipe.analyzer))
    return recipe


def _default(kind: str, name: str) -> str:
    default = registry.load(kind, name).default_weights
    if default is None:
        raise SettingsError(f"{kind} {name} has no weights of its own: name some by {kind}_weights.")
    return default
