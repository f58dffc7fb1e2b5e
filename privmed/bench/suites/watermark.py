"""Watermarkers: how often marks mislead the models they were made against, and others, and marks that spare the lesion.

Only images that the source classifies correctly are attacked (MedLocker: that all models do). ASR is the share of them that it errs on once
they are marked; transfer is the share of *those* that another model errs on, of the ones it had right before. An entry without a method is
the unmarked images: what the models get right. Marks that ask no model anything (``plain``) are the controls: a search is worth its margin
over them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, frozen
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.attacks import line_of, outputs, shared, task_of, values_of
from privmed.bench.cache import digest
from privmed.bench.cases import Case, cases_of
from privmed.bench.contracts import Cell, Quantity, Suite, Value
from privmed.bench.fingerprint import fingerprint
from privmed.bench.gallery import Gallery
from privmed.bench.logos import SHAPES
from privmed.bench.pictures import SHOWN
from privmed.bench.runlog import RunLog
from privmed.errors import InputError, SettingsError
from privmed.imaging.logo import draw_logo, read_logo
from privmed.imaging.overlay import blend
from privmed.interfaces.watermarker import Placement
from privmed.oracles import Ensemble, Oracle, load_oracle
from privmed.oracles import fingerprint as weights_of
from privmed.settings import at_least, setting

ALL, ENSEMBLE = "all", "ensemble"
WHERE = ("anywhere", "outside", "inside")
IMAGES = "images.jsonl"


@frozen(kw_only=True)
class WatermarkConfig:
    """Settings of :class:`Watermark`."""

    models: dict[str, str] = setting(Factory(dict), "model files by name, in the folder of --models")
    ensemble: list[str] = setting(Factory(list), "models that are a source together; transfer is judged on the others")
    size: int = setting(224, "side of all images", at_least(32))
    limit: int = setting(0, "at most so many test images, spread over the set; 0 for all", at_least(0))
    masks: str = setting("", "segmentation set that lends its masks to images of the same name")
    masked: bool = setting(False, "only images whose lesion is known")
    logo: str = setting("", "picture of the mark; a shield by default")
    together: int = setting(8, "images searched at a time", at_least(1))


class Watermark(Suite):
    """Searches against models, transfer to the others, marks beside and on lesions."""

    name = "watermark"
    Config = WatermarkConfig
    methods = "watermarker"
    grid = {"source": [ALL], "where": ["anywhere"]}  # noqa: RUF012
    quantities = {  # noqa: RUF012
        "accuracy": Quantity(title="accuracy", share=True),
        "asr": Quantity(title="ASR", share=True),
        "queries": Quantity(title="queries", better="lower"),
        "transfer": Quantity(title="transfer", share=True),
        "mean-transfer": Quantity(title="mean transfer"),
        "covered": Quantity(title="share of the lesion covered", better="lower"),
    }

    def prepare(self) -> None:
        plan, names = self.context.plan, list(self.config.models)
        sources = {s for grid in (plan.grid, *(e.grid for e in plan.entries)) for s in grid.get("source", [])}
        for name in [*sorted(sources - {ALL, ENSEMBLE}), *self.config.ensemble]:
            if name not in names:
                raise SettingsError(f"{plan.name}: no model {name!r}; there are {', '.join(names) or 'none'}.")
        if wrong := sorted(set(plan.grid.get("where", [])) - set(WHERE)):
            raise SettingsError(f"{plan.name}: where must be among {', '.join(WHERE)}, got {', '.join(wrong)}.")
        classes = {name: tuple(model.classes) for name, model in self.oracles.items()}
        for name, known in classes.items():
            if known != next(iter(classes.values())):
                raise SettingsError(f"{plan.name}: model {name} knows other classes than the first one.")
        for data in plan.data:
            for where in plan.grid.get("where", ["anywhere"]):
                if not self.chosen(data, where):
                    raise InputError(f"{data}: no image has a mask, which marks {where} the lesions need.")

    @functools.cached_property
    def paths(self) -> dict[str, Path]:
        """Model files by name."""
        folder = self.context.models or self.context.root
        return {name: self.context.within(folder, file) for name, file in self.config.models.items()}

    @functools.cached_property
    def oracles(self) -> dict[str, Oracle | Ensemble]:
        """The models, and the ensemble of some of them."""
        if not self.paths:
            raise SettingsError(f"{self.context.plan.name}: settings.models names no model.")
        found: dict[str, Oracle | Ensemble] = {
            n: load_oracle(p, self.context.device, self.context.trust) for n, p in self.paths.items()
        }
        if self.config.ensemble:
            found[ENSEMBLE] = Ensemble([found[n] for n in self.config.ensemble])
        return found

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """Of the model files."""
        return {name: weights_of(path) for name, path in self.paths.items()}

    def logo(self, cell: Cell) -> Tensor:
        """The mark: of the entry's dimension ``logo``, or of the plan."""
        name = str(cell.entry.dimensions.get("logo", ""))
        if name in SHAPES:
            return SHAPES[name]()
        return read_logo(self.context.within(self.context.root, self.config.logo)) if self.config.logo else draw_logo()

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def cases(self, data: str) -> list[Case]:
        """Test images of a set, spread over it."""
        masks = self.context.dataset(self.config.masks) if self.config.masks else None
        classes = next(iter(self.oracles.values())).classes
        found = cases_of(self.context.dataset(data), classes, self.config.size, masks)
        found = [c for c in found if c.mask is not None or not self.config.masked]
        count = min(self.config.limit or len(found), len(found))
        return [found[n * len(found) // count] for n in range(count)]

    def chosen(self, data: str, where: str) -> list[Case]:
        """The images that a mark can be placed on."""
        return [c for c in self.cases(data) if where == "anywhere" or c.mask is not None]

    @functools.cache  # noqa: B019
    def before(self, data: str) -> dict[str, dict[str, int]]:
        """What each model says of each unmarked image."""
        return {c.name: outputs(self.oracles, c.view) for c in self.cases(data)}

    def cells(self) -> Iterator[Cell]:
        for cell in super().cells():
            if not cell.entry.method and cell.dimensions["where"] != "anywhere":
                continue
            source = cell.dimensions["source"]
            for name in self.oracles if source == ALL else [source]:
                yield evolve(cell, dimensions={**cell.dimensions, "source": name})

    def identity(self, cell: Cell) -> dict[str, Any]:
        marks = b"".join(c.mask.tobytes() for c in self.cases(cell.data) if c.mask is not None)
        method = [registry.load("watermarker", cell.entry.method).__module__] if cell.entry.method else []
        return {
            "data": self.context.dataset(cell.data).digest("test"),
            "size": self.config.size,
            "limit": self.config.limit,
            "masked": self.config.masked,
            "models": self.digests,
            "ensemble": self.config.ensemble,
            "masks": hashlib.sha256(marks).hexdigest()[:16] if marks else "",
            "logo": hashlib.sha256(self.logo(cell).numpy().tobytes()).hexdigest()[:16],
            "code": fingerprint("privmed.bench.attacks", "privmed.bench.cases", *method),
        }

    def measure(self, cell: Cell) -> list[Value]:
        if not cell.entry.method:
            return list(self._accuracy(cell))
        lines, source = self.attacked(cell), cell.dimensions["source"]
        if cell.dimensions["where"] == "outside" and any(line["covered"] for line in lines):
            raise AssertionError(f"{cell.entry.label}: a mark that was to lie outside covers a lesion")
        return list(values_of(lines, self.targets(source), self.oracles[source].classes))

    def _accuracy(self, cell: Cell) -> Iterator[Value]:
        source, cases, before = cell.dimensions["source"], self.cases(cell.data), self.before(cell.data)
        right = [(c.label, float(before[c.name][source] == c.label)) for c in cases]
        yield shared("accuracy", [r for _, r in right], where=None)
        for n, label in enumerate(self.oracles[source].classes):
            if mine := [r for known, r in right if known == n]:
                yield shared("accuracy", mine, where=None, **{"class": label})

    def attacked(self, cell: Cell) -> list[dict[str, Any]]:
        """One line an attacked image; those that the log of images holds are not attacked again."""
        log, oracle = RunLog(self.context.out / IMAGES), self.oracles[cell.dimensions["source"]]
        about = {"method": cell.entry.method, "settings": cell.entry.settings, **cell.dimensions, "seed": cell.seed}
        key = digest({**self.identity(cell), **about, "limit": 0})
        locker = registry.create("watermarker", cell.entry.method, None, None, **cell.entry.settings)
        cases, out = self.chosen(cell.data, cell.dimensions["where"]), []
        for start in range(0, len(cases), self.config.together):
            group = cases[start : start + self.config.together]
            if any(f"{key} {c.name}" not in log for c in group):
                shown = sum("picture" in line for line in out)
                for case, line in self._attack(cell, locker, oracle, group, shown):
                    log.add(f"{key} {case.name}", **line)
            out += [log[f"{key} {c.name}"] for c in group]
            self.context.progress(min(start + len(group), len(cases)), len(cases), cell.entry.label)
        return [line for line in out if "success" in line]

    def _attack(
        self, cell: Cell, locker: Any, oracle: Any, group: list[Case], shown: int
    ) -> Iterator[tuple[Case, dict[str, Any]]]:
        source, where, before = cell.dimensions["source"], cell.dimensions["where"], self.before(cell.data)
        right = [c for c in group if before[c.name][source] == c.label]
        tasks = {c.name: task_of(c, where) for c in right}
        asked = oracle if locker.needs_oracle else None  # a control that asks nothing has no queries
        placed = iter(locker.place([t for t in tasks.values() if t is not None], self.logo(cell), asked))
        for case in group:
            line, found = {"skipped": "misclassified"}, None
            if case.name in tasks:
                found = None if tasks[case.name] is None else next(placed)
                line = line_of(case, found, self.oracles, source)
            if line.get("success") and shown < SHOWN:
                line["picture"] = self._show(cell, case, found, line, shown)
                shown += 1
            yield case, {**line, "file": case.name, "label": case.label, "before": before[case.name]}

    def _show(self, cell: Cell, case: Case, placed: Placement, line: dict[str, Any], number: int) -> str:
        source = cell.dimensions["source"]
        words = f"{cell.entry.label}, {cell.dimensions['where']}, {source}"
        says = f"{self.oracles[source].classes[case.label]} → {self.oracles[source].classes[line['after'][source]]}"
        marked = blend(case.view, placed.overlay, 255)
        return self.gallery.add(f"{cell.data} {words} {number}", case.view, marked, f"{words}: {says}")

    @functools.cached_property
    def gallery(self) -> Gallery:
        """Where marked images are shown."""
        return Gallery(self.context.out / "pictures")

    def targets(self, source: str) -> list[str]:
        """Models that transfer from a source is measured on."""
        members = {source, ENSEMBLE} if source != ENSEMBLE else {ENSEMBLE, *self.config.ensemble}
        return [n for n in self.oracles if n not in members]

    def pictures(self) -> list[tuple[str, Path]]:
        return self.gallery.pictures()

    def weights(self) -> dict[str, str]:
        return self.digests


@hookimpl
def privmed_register(register):
    register(Watermark)
