"""Settings of a recipe that mean something to some tasks only: given to another, they would be passed over without a word."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from privmed.errors import SettingsError

if TYPE_CHECKING:
    from privmed.training.recipe import Recipe

HIDING, STUDENT, SERVER = ("hiding",), ("distillation",), ("covert",)
OF: dict[str, tuple[str, ...]] = {
    "hider": SERVER + STUDENT,
    "hider_weights": SERVER + STUDENT,
    "isolate": HIDING,
    "fork": HIDING,
    "analyzer": STUDENT,
    "analyzer_weights": STUDENT,
    "align": STUDENT,
    "joint": SERVER,
    "data.recolour": HIDING + STUDENT,
    "data.variety": HIDING + STUDENT,
    "data.nothing": SERVER,
    "loss.stego": HIDING + STUDENT + SERVER,
    "loss.low": HIDING,
    "loss.secret": HIDING + STUDENT,
    "loss.response": SERVER,
    "loss.task": SERVER + STUDENT,
    "loss.mia": STUDENT,
    "loss.scale": HIDING,
    "loss.worst": HIDING,
    "loss.adversarial": HIDING + SERVER,
    "loss.adversary": HIDING + SERVER,
    "loss.masking": HIDING + SERVER,
    "loss.isolation": HIDING,
    "loss.rounding": HIDING + STUDENT + SERVER,
    "loss.clipping": HIDING,
    "optimizer.adversary": HIDING + SERVER,
    "schedule.statistics": HIDING + STUDENT,
}
"""The tasks that have a use for a setting; what is not named, all have."""


def check_used(recipe: Recipe, given: Mapping[str, Any], where: str) -> None:
    """Refuse settings that the task of a recipe has no use for, unless they are what they are anyway.

    Args:
        recipe: as it was read.
        given: the settings that are its own, by name; of a stage those that it does not share with others.
        where: they stand, for messages.

    Raises:
        SettingsError: naming all of them, and the tasks they are of.
    """
    plain = type(recipe)(name="plain", task="hiding", method="hider:none")
    wrong = [
        f"{name} (of {' and '.join(tasks)})"
        for name, tasks in OF.items()
        if recipe.task not in tasks and _stated(given, name) and _value(recipe, name) != _value(plain, name)
    ]
    if wrong:
        raise SettingsError(f"{where}: task {recipe.task} has no use for {', '.join(wrong)}. Leave that out.")


def _value(recipe: Recipe, name: str) -> Any:
    return reduce(getattr, name.split("."), recipe)


def _stated(given: Mapping[str, Any], name: str) -> bool:
    for part in name.split("."):
        if not isinstance(given, Mapping) or part not in given:
            return False
        given = given[part]
    return True
