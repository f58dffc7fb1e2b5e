"""Trainings of several stages in one recipe, each of which may begin with what another has made (HideMIA, Algorithm 1).

A recipe with ``stages`` holds what they share, and a list of what each has of its own, its ``name`` among it. ``{NAME}`` stands for the
weights that an earlier stage wrote, ``{NAME:METHOD}`` for those of another method which it trained too (the hider of ``joint: true``).
Overrides are of all stages, or as ``stages.NAME.setting=value`` of one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from attrs import evolve

from privmed.errors import InputError, OutputError, PrivmedError, SettingsError
from privmed.settings import merge
from privmed.training.recipe import Recipe, make_recipe, read_plain, read_recipe

EARLIER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
PATHS = ("start", "hider_weights", "analyzer_weights")


def read_stages(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> tuple[str, list[Recipe]]:
    """The name of a recipe, and its stages in their order; without any it is the only one.

    Raises:
        InputError: when the file is missing or not YAML.
        SettingsError: listing every mistake of the first stage that has some.
    """
    plain, over = read_plain(path, overrides)
    if "stages" not in plain:
        only = make_recipe(merge(plain, over), f"recipe {path}")
        return only.name, [only]
    shared = {k: v for k, v in plain.items() if k not in ("stages", "name")}
    own = plain["stages"]
    if not isinstance(own, list) or not own or not all(isinstance(s, dict) and s.get("name") for s in own):
        raise SettingsError(f"recipe {path}: stages must be a list of settings, each with a name.")
    single = over.pop("stages", {})  # stages.NAME.setting=value, for one of them
    known = ", ".join(str(s["name"]) for s in own)
    if not isinstance(single, dict) or (strange := set(single) - {s["name"] for s in own}):
        named = ", ".join(sorted(strange)) if isinstance(single, dict) else single
        raise SettingsError(f"recipe {path}: there is no stage {named}; there are {known}.")
    stages = []
    for s in own:
        laid = merge(merge(shared, s), merge(over, single.get(s["name"], {})))
        stages.append(make_recipe(laid, f"recipe {path}, stage {s['name']}"))
    names = [s.name for s in stages]
    if len(set(names)) < len(names):
        raise SettingsError(f"recipe {path}: two stages have the same name; got {', '.join(names)}.")
    for n, stage in enumerate(stages):
        before = {s.name: s for s in stages[:n]}
        for text in _texts(stage):
            for name, _ in EARLIER.findall(text):
                if name not in before:
                    known = ", ".join(before) or "none"
                    raise SettingsError(
                        f"recipe {path}, stage {stage.name}: {text!r} names no stage before it; there are {known}."
                    )
    return str(plain.get("name") or Path(path).stem), stages


def in_folder(stages: list[Recipe], out: Path) -> list[tuple[Recipe, Path]]:
    """The stages with the weights of earlier ones where a folder has them, and the folder of each."""
    by = {s.name: s for s in stages}

    def fill(text: str) -> str:
        return EARLIER.sub(lambda found: str(weights_of(by[found[1]], out, found[2] or "")), text)

    filled = []
    for stage in stages:
        paths = {name: fill(value) for name in PATHS if (value := getattr(stage, name))}
        filled.append((evolve(stage, **paths, isolate=[fill(one) for one in stage.isolate]), out / stage.name))
    return filled


def weights_of(stage: Recipe, out: Path, method: str = "") -> Path:
    """Where a stage leaves the weights of a method, of what it trains by default."""
    return out / stage.name / f"{method or stage.method.partition(':')[2]}-{stage.name}.safetensors"


def to_do(stages: list[tuple[Recipe, Path]], resume: bool) -> list[tuple[Recipe, Path, bool]]:
    """The stages that are not done, each with its folder and whether it goes on from a checkpoint.

    Raises:
        OutputError: when there is a training already and none is to be gone on with, or a later stage was trained on what an earlier one
            came to before.
        SettingsError: when a stage that is done was trained by another recipe.
        InputError: when there is nothing to go on with.
    """
    begun = [(folder / "checkpoint.pt").is_file() for _, folder in stages]
    if not resume and any(begun):
        folder = stages[begun.index(True)][1]
        raise OutputError(f"{folder}: holds a training already. Go on with --resume, or choose another folder with -o.")
    if resume and not any(begun):
        raise InputError(f"{stages[0][1].parent}: nothing to resume, no stage has a checkpoint.pt in it.")
    left: list[tuple[Recipe, Path, bool]] = []
    for (recipe, folder), has in zip(stages, begun):
        if left and has:
            raise OutputError(
                f"{folder}: was trained on what stage {left[0][0].name} had come to before. Remove it, to train it again."
            )
        if not (has and finished(recipe, folder)):
            left.append((recipe, folder, has))
    return left


def finished(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds all steps of a recipe.

    Raises:
        SettingsError: when they were those of another recipe.
    """
    judged = folder / "validation.json"
    try:
        done = json.loads(judged.read_text(encoding="utf-8"))["step"] if judged.is_file() else 0
        same = read_recipe(folder / "recipe.yaml").identity() == recipe.identity()
    except (ValueError, KeyError, PrivmedError):
        return False  # something in it was lost: the stage goes on, and says what
    if done == recipe.schedule.steps and not same:
        raise SettingsError(
            f"{folder}: was trained by another recipe. Go on with the same one, or choose another folder with -o."
        )
    return done == recipe.schedule.steps


def _texts(stage: Recipe) -> list[str]:
    return [value for name in PATHS if (value := getattr(stage, name))] + list(stage.isolate)


def together_as_one(name: str, out: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What all stages have come to: the figures of the last one."""
    counted = {k: sum(r[k] for r in results) for k in ("steps", "seconds")}
    return {**results[-1], "name": name, "out": str(out), **counted, "stages": ", ".join(r["name"] for r in results)}
