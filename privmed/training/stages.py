"""Trainings of several stages in one recipe, each of which may begin with what another has made (HideMIA, Algorithm 1).

A recipe with ``stages`` holds what they share, and a list of what each has of its own, its ``name`` among it. In the settings that
name weights ``{NAME}`` stands for those that an earlier stage wrote, ``{NAME:METHOD}`` for those of another method which it trained
too (the hider of ``joint: true``). Overrides are of all stages, or as ``stages.NAME.setting=value`` of one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, frozen

from privmed.errors import InputError, OutputError, SettingsError, WeightsError
from privmed.settings import file_name, merge, required, setting, structure
from privmed.training.recipe import WEIGHTS, Recipe, make_recipe, read_plain
from privmed.weights import load_checkpoint

EARLIER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


@frozen(kw_only=True)
class Whole:
    """A recipe with all its stages."""

    name: str = required("of the whole", file_name())
    stages: list[Recipe] = setting(Factory(list), "in their order")
    several: bool = setting(True, "whether each has a folder of its own")


def read_stages(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Whole:
    """A recipe with its stages; without any it is the only one.

    Raises:
        InputError: when the file is missing or not YAML.
        SettingsError: listing every mistake of the first stage that has some.
    """
    plain, over = read_plain(path, overrides)
    if "stages" not in plain:
        only = make_recipe(merge(plain, over), f"recipe {path}")
        return Whole(name=only.name, stages=[only], several=False)
    own, where = plain.pop("stages"), f"recipe {path}"
    if not isinstance(own, list) or not own or not all(isinstance(s, dict) and _named(s) for s in own):
        raise SettingsError(f"{where}: stages must be a list of settings, each with a name.")
    names = [s["name"] for s in own]
    if len(set(names)) < len(names):
        raise SettingsError(f"{where}: two stages have the same name; got {', '.join(names)}.")
    whole = structure(Whole, {"name": over.pop("name", plain.pop("name", Path(path).stem))}, where)
    single = over.pop("stages", {})  # stages.NAME.setting=value, for one of them
    if not isinstance(single, dict) or not all(n in names and isinstance(s, dict) for n, s in single.items()):
        raise SettingsError(
            f"{where}: settings of one stage are given as stages.NAME.setting=value; there are {', '.join(names)}."
        )
    stages: list[Recipe] = []
    for settings in own:
        name = settings["name"]
        alone = single.get(name, {})
        laid = merge(merge(plain, settings), merge(over, alone))
        stage = make_recipe(laid, f"{where}, stage {name}", own=merge(settings, alone))
        if stage.name != name:
            raise SettingsError(f"{where}, stage {name}: keeps its name, by which others find its weights.")
        _check_earlier(stage, stages, f"{where}, stage {name}")
        stages.append(stage)
    return evolve(whole, stages=stages)


def _named(settings: dict[Any, Any]) -> bool:
    return isinstance(settings.get("name"), str) and bool(settings["name"])


def _check_earlier(stage: Recipe, before: list[Recipe], where: str) -> None:
    """Whether what a stage begins with is made before it."""
    by = {s.name: s for s in before}
    for text in _texts(stage):
        for name, method in EARLIER.findall(text):
            if name not in by:
                raise SettingsError(f"{where}: {text!r} names no stage before it; there are {', '.join(by) or 'none'}.")
            made = [_method(by[name]), *([by[name].hider] if by[name].joint else [])]
            if method and method not in made:
                raise SettingsError(f"{where}: {text!r}: stage {name} trains no {method}; it trains {', '.join(made)}.")


def in_folder(stages: list[Recipe], out: Path) -> list[tuple[Recipe, Path]]:
    """The stages with the weights of earlier ones where a folder has them, and the folder of each."""
    by = {s.name: s for s in stages}

    def fill(text: str) -> str:
        return EARLIER.sub(lambda found: str(weights_of(by[found[1]], out, found[2] or "")), text)

    filled = []
    for stage in stages:
        paths = {name: fill(value) for name in WEIGHTS if (value := getattr(stage, name))}
        filled.append((evolve(stage, **paths, isolate=[fill(one) for one in stage.isolate]), out / stage.name))
    return filled


def weights_of(stage: Recipe, out: Path, method: str = "") -> Path:
    """Where a stage leaves the weights of a method, of what it trains by default."""
    return out / stage.name / f"{method or _method(stage)}-{stage.name}.safetensors"


def to_do(stages: list[Recipe], out: Path, resume: bool) -> list[tuple[Recipe, Path, bool]]:
    """The stages that are not done, each with its folder and whether it goes on from a checkpoint.

    Raises:
        OutputError: when there is a training already and none is to be gone on with, or a later stage was trained on what an earlier one
            came to before.
        SettingsError: when a stage that is done was trained by another recipe, or has more steps than it is to have.
        WeightsError: when a checkpoint cannot be read.
        InputError: when there is nothing to go on with.
    """
    filled = in_folder(stages, out)
    begun = [(folder / "checkpoint.pt").is_file() for _, folder in filled]
    if not resume and any(begun):
        folder = filled[begun.index(True)][1]
        raise OutputError(f"{folder}: holds a training already. Go on with --resume, or choose another folder with -o.")
    if resume and not any(begun):
        raise InputError(f"{out}: nothing to resume, no stage has a checkpoint.pt in it.")
    left: list[tuple[Recipe, Path, bool]] = []
    unfinished: set[str] = set()
    for stage, (recipe, folder), has in zip(stages, filled, begun):
        if rests := _needs(stage) & unfinished:
            if has:
                raise OutputError(
                    f"{folder}: was trained on what stage {sorted(rests)[0]} had come to before. Remove it, to train it again."
                )
        elif has and finished(recipe, folder):
            continue
        unfinished.add(stage.name)
        left.append((recipe, folder, has))
    return left


def finished(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds all steps of a recipe.

    Raises:
        SettingsError: when they were those of another recipe, or are too many.
        WeightsError: when its checkpoint cannot be read.
    """
    steps = recipe.schedule.steps
    try:
        kept = load_checkpoint(folder / "checkpoint.pt")
        done, same = kept["state"]["done"], kept["of"] == recipe.identity()
    except Exception as error:  # a damaged archive can fail in any way
        raise WeightsError(
            f"{folder}/checkpoint.pt: cannot be read. Remove {folder}, to train the stage again."
        ) from error
    if done > steps:
        raise SettingsError(f"{folder}: has been trained for {done} steps, more than the {steps} that are asked for.")
    if done == steps and not same:
        raise SettingsError(
            f"{folder}: was trained by another recipe. Go on with the same one, or choose another folder with -o."
        )
    return done == steps


def _texts(stage: Recipe) -> list[str]:
    return [value for name in WEIGHTS if (value := getattr(stage, name))] + list(stage.isolate)


def _needs(stage: Recipe) -> set[str]:
    """Stages whose weights a stage begins with."""
    return {name for text in _texts(stage) for name, _ in EARLIER.findall(text)}


def _method(stage: Recipe) -> str:
    return stage.method.partition(":")[2]
