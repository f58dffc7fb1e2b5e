"""Analyzers that a suite trains itself, all by the same recipes, so that a table compares methods and not trainings.

A template is a recipe of ``privmed train`` in which ``{data}`` stands for the data set; method, settings, hider and seed come from the
cell. Of several templates each begins with the weights of the one before. What is trained stays in the cache, and a training that
was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from privmed import registry
from privmed.bench.cache import digest
from privmed.bench.fingerprint import fingerprint
from privmed.data.folders import ImageFolder
from privmed.errors import SettingsError
from privmed.files import make_folder
from privmed.interfaces import Analyzer
from privmed.jobs.lock import alone
from privmed.pipeline import of_images
from privmed.training.recipe import Recipe, data_root, read_recipe
from privmed.training.run import train

BARE = "none"  # in place of a hider: images as they are


@frozen(kw_only=True)
class Pair:
    """One analyzer behind one hider, or on bare images.

    Attributes:
        analyzer: its name.
        settings: of the analyzer.
        hider: its name, or ``NAME:WEIGHTS``; ``none`` for bare images.
        data: data set that it learns from.
        seed: of the training.
    """

    analyzer: str
    settings: dict[str, Any]
    hider: str
    data: str
    seed: int

    def recipe(self, template: Path, root: Path) -> Recipe:
        """A template with the pair filled in.

        Raises:
            InputError, SettingsError: for a template that cannot be read, or trains something else than an analyzer.
        """
        plain = read_recipe(template)
        if plain.task not in ("covert", "bare"):
            raise SettingsError(
                f"{template}: trains a task {plain.task}; a pair needs a recipe of the task covert, or bare."
            )
        hider, _, chosen = self.hider.partition(":")
        secrets = [evolve(s, folder=s.folder.replace("{data}", self.data)) for s in plain.data.secrets]
        filled = evolve(
            plain,
            method=f"analyzer:{self.analyzer}",
            settings=self.settings,
            seed=self.seed,
            data=evolve(plain.data, root=str(root), secrets=secrets),
        )
        if self.hider == BARE:
            nothing = evolve(filled.data, nothing=0.0)  # of photographs, of which there are none
            return evolve(filled, task="bare", joint=False, data=nothing)
        return evolve(filled, hider=hider, hider_weights=chosen or registry.BUNDLED)

    def front(self) -> str:
        """Digest of the weights of the hider; empty for bare images."""
        if self.hider == BARE:
            return ""
        name, _, chosen = self.hider.partition(":")
        return (of_images(registry.hider(name, weights=chosen or registry.BUNDLED)).card or {}).get("sha256", "")


class Training:
    """The training of a pair, which is done when somebody asks for the analyzer.

    Args:
        pair: what is trained.
        templates: recipes, in the order in which they run.
        root: folder of the data sets.
        cache: folder that keeps what was trained.
        device: where it computes.

    Raises:
        InputError, SettingsError: for templates that cannot be used, or data that are not there.
    """

    def __init__(self, pair: Pair, templates: list[Path], root: Path, cache: Path, device: str = "cpu") -> None:
        self.pair, self.device = pair, device
        self.stages = [
            evolve(pair.recipe(t, root), name=f"stage-{n}") for n, t in enumerate(templates, 1)
        ]  # what the files of a stage are called
        modules = {type(self.untrained()).__module__}
        if pair.hider != BARE:
            modules.add(registry.load("hider", self.stages[0].hider).__module__)
        self.about = {
            "recipes": [{**r.identity(), "keep": r.schedule.keep} for r in self.stages],
            "steps": [r.schedule.steps for r in self.stages],
            "data": [digests(r) for r in self.stages],
            "hider": pair.front(),
            "code": fingerprint("privmed.training", *sorted(modules)),
        }
        self.folder = cache / "pairs" / digest(self.about)

    def analyzer(
        self, progress: Callable[[int, int], None] = lambda *_: None, waiting: Callable[..., None] = lambda: None
    ) -> Analyzer:
        """The trained analyzer with its card, trained now if the cache has none.

        Args:
            progress: told steps done and steps in all.
            waiting: called before it waits for another run that trains the same.
        """
        total, before = sum(r.schedule.steps for r in self.stages), 0
        for recipe, previous in zip(self.stages, [None, *self.stages]):
            if not self._finished(recipe):
                stage = recipe if previous is None else self._after(recipe, previous)
                report = lambda n, _, base=before: progress(base + n, total)  # noqa: E731
                make_folder(self.folder)
                with alone(self.folder, waiting):  # and take what another run of the suite has made
                    if not self._finished(recipe):
                        train(stage, self.path(recipe).parent, device=self.device, report=report)
            before += recipe.schedule.steps
        return registry.create("analyzer", self.pair.analyzer, str(self.path(self.stages[-1])), self.device)

    def untrained(self) -> Analyzer:
        """The same with random weights, to be looked at."""
        return registry.create("analyzer", self.pair.analyzer, None, **self.pair.settings)

    def path(self, recipe: Recipe, name: str = "") -> Path:
        """Where a stage leaves the weights of a method, the analyzer's by default."""
        return self.folder / recipe.name / f"{name or self.pair.analyzer}-{recipe.name}.safetensors"

    def _after(self, recipe: Recipe, previous: Recipe) -> Recipe:
        """A stage that begins where the one before ended; so does the hider, if it was trained too."""
        tuned = {"hider_weights": str(self.path(previous, previous.hider))} if previous.joint else {}
        return evolve(recipe, start=str(self.path(previous)), **tuned)

    def _finished(self, recipe: Recipe) -> bool:
        path = self.path(recipe)
        judged = path.with_name("validation.json")
        return path.is_file() and judged.is_file() and json.loads(judged.read_text())["step"] == recipe.schedule.steps


def digests(recipe: Recipe) -> list[str]:
    """Of the training parts of all data that a recipe draws from."""
    kinds = [*recipe.data.secrets, *(recipe.data.covers if recipe.task == "covert" else [])]
    return [ImageFolder(data_root(recipe) / s.folder, masks=s.masks, only=s.only).digest("train") for s in kinds]
