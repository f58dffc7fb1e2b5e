"""Which task a recipe names."""

from __future__ import annotations

from attrs import evolve

from privmed import registry
from privmed.errors import SettingsError
from privmed.interfaces import FileHider
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
        SettingsError: when the method is of another kind than the task trains, or a hider carries files and not images.
        MethodNotFoundError: when there is no such method; before the data are looked at.
    """
    needed, task = TASKS[recipe.task]
    kind, _, name = recipe.method.partition(":")
    if kind != needed:
        raise SettingsError(f"task {recipe.task} trains a method of kind {needed}, got {recipe.method!r}.")
    if kind in registry.GROUPS:
        registry.load(kind, name)
    hiders = [name] * (kind == "hider") + [recipe.hider] * (recipe.task in BEHIND)
    for hider in hiders:
        if issubclass(cls := registry.load("hider", hider), FileHider):
            cls.refuse()
    return task(named(recipe), device)


def named(recipe: Recipe) -> Recipe:
    """The recipe with the name of the weights that its hider has by default, where it gives none: another version may have others.

    Raises:
        SettingsError: when the hider has none.
    """
    if recipe.task not in BEHIND or recipe.hider_weights != registry.BUNDLED:
        return recipe
    default = registry.load("hider", recipe.hider).default_weights
    if default is None:
        raise SettingsError(f"hider {recipe.hider} has no weights of its own: name some by hider_weights.")
    return evolve(recipe, hider_weights=default)
