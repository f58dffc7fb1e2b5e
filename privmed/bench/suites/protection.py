"""Unlearnable data sets: networks trained on protected data and tested on clean images, for every exploiter and defence.

Random noise within epsilon on the support of a protector gives the place of the lesion away and protects well all by itself, so what a
protector is worth is how far it beats that control. The entry ``constant`` is one mask for all images, what a network reaches that
looks at none. How well small windows tell lesions from their surroundings (``shortcut``, beside that of clean images) needs no
exploiter. Sets with masks are judged by what is found of the masks, sets with classes by the accuracy.
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path
from typing import Any

import torch
from attrs import Factory, asdict, evolve, frozen
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.cache import Made, digest
from privmed.bench.contracts import Cell, Metric, Quantity, Suite, Value
from privmed.bench.data import Dataset, Sample, picture, truth
from privmed.bench.exploiters import Protocol, check_defence, check_task, constant_baseline, exploit, pretrain
from privmed.bench.fingerprint import fingerprint
from privmed.bench.pictures import path_of, write_strip
from privmed.bench.shortcuts import shortcut
from privmed.data.folders import cut_validation
from privmed.errors import InputError, SettingsError
from privmed.files import make_folder
from privmed.interfaces.fitting import Fitting
from privmed.settings import between, setting, side

CONSTANT = "constant"
EPSILON = 4 / 255  # full scale of a picture where the settings name none
IDENTICAL = 99.0  # dB, of images that nothing changed
OF_THE_SET = {"exploiter": None, "defence": None}  # likeness does not depend on who trains
JUDGED = ("masks", "classes")  # what metrics of exploiters measure
Images = tuple[
    Tensor, Tensor
]  # (N, 1 or 3, S, S) uint8, and masks (N, 1, S, S) uint8, 0 or 1, or class numbers (N,) int64


@frozen(kw_only=True)
class ProtectionConfig:
    """Settings of :class:`Protection`."""

    size: int = setting(128, "side of all images; 224 in the papers", side())
    colour: bool = setting(False, "publish grey images in colour, where noise has more room")
    holdout: float = setting(0.0, "judge on this part of the training images, for choosing settings", between(0, 0.9))
    elsewhere: str = setting(
        "", "data set that nobody protects, which networks of the defence `pretrained` learn first"
    )
    protocol: Protocol = setting(Factory(Protocol), "how exploiters train")


class Protection(Suite):
    """Protectors against exploiters and their defences."""

    name = "protection"
    Config = ProtectionConfig
    methods = "protector"
    baselines = (CONSTANT,)
    grid = {"exploiter": ["unet"], "defence": ["none"]}  # noqa: RUF012
    metrics = ("dice", "jaccard", "accuracy", "psnr", "ssim")
    quantities = {  # noqa: RUF012
        "fit-time": Quantity(title="time to fit", unit="s", better="lower"),
        "protect-time": Quantity(title="time to protect", unit="s", better="lower"),
        "clean-images": Quantity(title="clean images"),
        "shortcut": Quantity(title="lesion told by small windows of the image, AUC"),
        "shortcut-change": Quantity(title="lesion told by small windows of the change, AUC"),
    }

    @classmethod
    def quantity(cls, metric: str) -> Quantity | None:
        """What an exploiter finds is the protector's loss."""
        found = super().quantity(metric)
        if found is None or metric in cls.quantities or registry.load("metric", metric).measures not in JUDGED:
            return found
        return evolve(found, better="lower" if found.better == "higher" else "higher")

    def prepare(self) -> None:
        defences = {one: registry.part("defence", one) for one in self._named("defence")}
        for name in self.context.plan.data:
            truth = self.sets(name)[0][1]
            task = "segmentation" if truth.ndim == 4 else "classification"
            for one in self._named("exploiter"):
                check_task(registry.part("exploiter", one), truth)
            for one, defence in defences.items():
                check_defence(one, defence, truth)
            self._check_methods(name, task)
        for one, defence in defences.items():
            if defence.pretrained:
                self._check_elsewhere(one)

    def _check_elsewhere(self, defence: str) -> None:
        """Refuse a network to begin with that comes from nowhere, from the set itself, or from another task."""
        name = self.config.elsewhere
        own = {self.context.dataset(data).digest() for data in self.context.plan.data}
        if not name or self.context.dataset(name).digest() in own:
            wrong = f"{name} is what is protected" if name else "none is named"
            raise SettingsError(f"defence {defence}: {wrong}. Name another data set as settings.elsewhere of the plan.")
        truth = self.elsewhere()[1]
        for one in self._named("exploiter"):
            check_task(registry.part("exploiter", one), truth)

    def _check_methods(self, data: str, task: str) -> None:
        for entry in self.context.plan.entries:
            if entry.method in ("", CONSTANT):
                continue
            with torch.device("meta"):  # its weights take no memory
                made = registry.create("protector", entry.method, None, **entry.settings)
            if task in made.tasks:
                continue
            raise SettingsError(
                f"{entry.label}: {entry.method}, as it is set, does not protect {task} data, which {data} is. Leave it out."
            )

    def _named(self, dimension: str) -> set[str]:
        """All that the plan names along a dimension."""
        plan = self.context.plan
        grids = [{**self.grid, **plan.grid, **e.grid} for e in plan.entries]
        return {v for grid in grids for v in grid[dimension]}

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def sets(self, name: str) -> tuple[Images, Images]:
        """What is published and what exploiters are judged on.

        Raises:
            InputError: when there are no masks, or only empty ones, or one of the two is empty.
        """
        dataset, holdout = self.context.dataset(name), self.config.holdout
        train = dataset.part("train")
        train, judged = cut_validation(train, holdout) if holdout else (train, dataset.part("test"))
        if not train or not judged:
            raise InputError(
                f"data set {dataset.origin}: holdout {holdout:g} leaves one side empty; take another part."
            )
        return self._load(dataset, train), self._load(dataset, judged)

    def _load(self, dataset: Dataset, samples: list[Sample]) -> Images:
        """Images and their truth at one size; one channel if all are grey, unless ``colour``."""
        images = torch.stack([picture(s, self.config.size) for s in samples])
        if not self.config.colour and bool((images == images[:, :1]).all()):
            images = images[:, :1]
        return images, self._truth(dataset, samples)

    def _truth(self, dataset: Dataset, samples: list[Sample]) -> Tensor:
        """Masks, or the numbers of classes where there are no masks.

        Raises:
            InputError: when there are neither for all images, or only empty masks.
        """
        classes = sorted({s.label for s in dataset.samples if s.label is not None})
        if all(s.mask is None and s.label is not None for s in samples) and len(classes) > 1:
            return torch.tensor([classes.index(s.label) for s in samples])
        if any(s.mask is None for s in samples):
            raise InputError(
                f"data set {dataset.origin}: has no masks and no classes for all images, one of which this suite needs."
            )
        masks = torch.stack([truth(s, self.config.size) for s in samples]).byte()
        if not masks.any():
            raise InputError(
                f"data set {dataset.origin}: all masks of {len(samples)} images are empty, so there is nothing to learn."
            )
        return masks

    def identity(self, cell: Cell) -> dict[str, Any]:
        metrics = self.judges(cell.data)
        defence = registry.part("defence", cell.dimensions["defence"])
        parts = [registry.part("exploiter", cell.dimensions["exploiter"]), defence, *getattr(defence, "parts", [])]
        modules = {
            "privmed.bench.exploiters",
            "privmed.metrics",
            *(type(m).__module__ for m in metrics),
            *(type(p).__module__ for p in parts),
            *(["privmed.bench.shortcuts"] if self.sets(cell.data)[0][1].ndim > 1 else []),
        }
        return {
            **self._published(cell),
            "protocol": {k: v for k, v in asdict(self.config.protocol).items() if k != "seed"},
            "judges": fingerprint(*sorted(modules)),
            "metrics": [m.name for m in metrics],
            **({"elsewhere": self.context.dataset(self.config.elsewhere).digest()} if self._pretrained(cell) else {}),
        }

    def _pretrained(self, cell: Cell) -> bool:
        return registry.part("defence", cell.dimensions["defence"]).pretrained

    def judges(self, data: str) -> list[Metric]:
        """What exploiters are judged by on a set."""
        return self.context.metrics("masks" if self.sets(data)[0][1].ndim == 4 else "classes")

    def _published(self, cell: Cell) -> dict[str, Any]:
        """What a published set rests on."""
        entry, c = cell.entry, self.config
        known = entry.method and entry.method != CONSTANT
        code = fingerprint(registry.load("protector", entry.method).__module__) if known else ""
        return {
            "data": self.context.dataset(cell.data).digest(),
            "channels": self.sets(cell.data)[0][0].shape[1],
            "size": c.size,
            "holdout": c.holdout,
            "method": entry.method,
            "settings": entry.settings,
            "code": code,
            "seed": cell.seed,
        }

    def measure(self, cell: Cell) -> list[Value]:
        clean, test = self.sets(cell.data)
        judges = self.judges(cell.data)
        if cell.entry.method == CONSTANT:
            found = constant_baseline(clean[1], test[1])
            return [Value(metric=m.name, value=float(m(found, as_truth(test[1])).mean())) for m in judges]
        published, looks = self.published(cell)
        fitting = self._fitting(cell)
        outcome = exploit(
            cell.dimensions["exploiter"],
            published,
            test,
            evolve(self.config.protocol, seed=cell.seed),
            cell.dimensions["defence"],
            clean=clean[0],
            start=self._start(cell) if self._pretrained(cell) else None,
            metrics=judges,
            device=self.context.device,
            fitting=fitting,
        )
        fitting.forget()
        last = [Value(metric=name, value=v) for name, v in outcome.last.items()]
        best = [Value(metric=name, value=v, dimensions={"epoch": "best"}) for name, v in outcome.best.items()]
        last.append(Value(metric="clean-images", value=outcome.clean))
        looks = {**looks, **self._shortcut(cell, published)}
        return [*last, *best, *(Value(metric=n, value=v, dimensions=OF_THE_SET) for n, v in looks.items())]

    def _shortcut(self, cell: Cell, published: Images) -> dict[str, float]:
        """How well small windows of a published set, and of what was changed, tell lesions; kept for other exploiters and defences."""
        images, masks = published
        if masks.ndim == 1:
            return {}
        about = {k: v for k, v in self._published(cell).items() if cell.entry.method or k != "seed"}
        about["shortcut"] = fingerprint("privmed.bench.shortcuts")
        change = images.short() - self.sets(cell.data)[0][0]

        def judge() -> Made:
            found = {"shortcut": shortcut(images, masks)}
            return {}, found | ({"shortcut-change": shortcut(change, masks)} if change.any() else {})

        figures = self.context.cache.get("shortcuts", about, judge)[1]
        return {k: v for k, v in figures.items() if not math.isnan(v)}

    @functools.cache  # noqa: B019
    def elsewhere(self) -> Images:
        """What networks of the defence ``pretrained`` learn first: the whole training part of another set."""
        dataset = self.context.dataset(self.config.elsewhere)
        return self._load(dataset, dataset.part("train"))

    def _start(self, cell: Cell) -> dict[str, Tensor]:
        """What the exploiter of a cell learnt before on another set, kept for the other cells that begin with it."""
        protocol, network = evolve(self.config.protocol, seed=cell.seed), cell.dimensions["exploiter"]
        about = {k: v for k, v in self.identity(cell).items() if k in ("elsewhere", "size", "protocol", "judges")}
        about |= {"network": network, "seed": cell.seed}
        report = Fitting(lambda stage, n, total, _: self.context.progress(n, total, stage))
        make = lambda: (pretrain(network, self.elsewhere(), protocol, device=self.context.device, fitting=report), {})  # noqa: E731
        return self.context.cache.get("pretrained", about, make)[0]

    def _fitting(self, cell: Cell) -> Fitting:
        """The surroundings of one exploiter, whose training a later run goes on with."""
        name = digest({**self.identity(cell), "dimensions": cell.dimensions})
        fitting = self._resumable("exploiters", name)
        fitting.of = name
        return fitting

    def _resumable(self, what: str, name: str, words: str = "") -> Fitting:
        """The surroundings of a training that a later run goes on with."""
        folder = make_folder(self.context.cache.folder / what)
        said = f"{words}: " if words else ""
        return Fitting(
            lambda stage, n, total, _: self.context.progress(n, total, f"{said}{stage}"), folder / f"{name}.pt"
        )

    def published(self, cell: Cell) -> tuple[Images, dict[str, float]]:
        """The training set as the entry publishes it, and how alike the images are."""
        clean = self.sets(cell.data)[0]
        if not cell.entry.method:
            return clean, {}
        about = {**self._published(cell), "metrics": [m.name for m in self.context.metrics("images")]}
        fitting = self._resumable("protectors", digest(self._published(cell)), cell.entry.label)
        tensors, looks = self.context.cache.get("published", about, lambda: self._protect(cell, clean, fitting))
        fitting.forget()  # now that what it published is kept
        if cell.seed == self.context.plan.seeds[0]:
            epsilon = cell.entry.settings.get("epsilon", EPSILON)
            write_strip(self.context.out / "pictures", cell.entry.label, clean[0], tensors["images"], epsilon)
        return (tensors["images"], clean[1]), looks

    def _protect(self, cell: Cell, clean: Images, fitting: Fitting) -> Made:
        images, masks = clean
        known = {a.name for a in registry.load("protector", cell.entry.method).Config.__attrs_attrs__}
        shared = {"seed": cell.seed, "size": self.config.size}
        shared |= {"classes": int(masks.max()) + 1} if masks.ndim == 1 else {}
        settings = {**{k: v for k, v in shared.items() if k in known}, **cell.entry.settings}
        protector = registry.create("protector", cell.entry.method, cell.entry.weights or None, None, **settings)
        pairs = ((x.float() / 255, as_truth(m)) for x, m in zip(images, masks))
        fitting = self._resumable("protectors", digest(self._published(cell)), cell.entry.label)
        start = time.perf_counter()
        protector.fit(pairs, fitting=fitting)
        fitted = time.perf_counter()
        metrics, out, seen = self.context.metrics("images"), [], []
        for x, m in zip(images.split(16), masks.split(16)):
            original = x.float() / 255
            protected = protector.protect(original, as_truth(m))
            seen.append([metric(protected, original) for metric in metrics])
            out.append((protected * 255).round().byte())
        values = [torch.cat(column) for column in zip(*seen)] if metrics else []
        looks = {m.name: _mean(v) for m, v in zip(metrics, values)}
        looks |= {} if fitting.resumed else {"fit-time": fitted - start}  # what an earlier run has spent is not known
        looks["protect-time"] = time.perf_counter() - fitted
        return {"images": torch.cat(out)}, looks

    def pictures(self) -> list[tuple[str, Path]]:
        folder = self.context.out / "pictures"
        caption = "clean images, what is published, and the change (grey: none; black and white: epsilon)"
        return [(f"{e.label}: {caption}", path_of(folder, e.label)) for e in self.context.plan.entries]


def as_truth(given: Tensor) -> Tensor:
    """Masks as floats; class numbers as they are."""
    return given.float() if given.dtype == torch.uint8 else given


def _mean(values: Tensor) -> float:
    """Over the images that something changed."""
    finite = values[torch.isfinite(values)]
    return float(finite.mean()) if len(finite) else IDENTICAL


@hookimpl
def privmed_register(register):
    register(Protection)
