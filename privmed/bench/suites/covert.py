"""Covert analysis: what a server finds in a scan that is hidden in a photograph, and how the photograph looks afterwards.

Each step goes through the 8-bit PNG. Where the hider is ``none``, an analyzer works on the bare images. Every figure is averaged over the
covers of an image, then over images.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.contracts import Cell, Suite, Value
from privmed.bench.data import truth
from privmed.bench.fingerprint import fingerprint
from privmed.bench.suites.hiding import HidingConfig, Photographs, sampled, secret_of, valued
from privmed.errors import SettingsError, WeightsError
from privmed.interfaces import Analyzer, Hider
from privmed.interfaces.analyzer import probabilities
from privmed.pipeline import analyze, decode, hide, of_images, png, recover, tuned_hider

TUNED, BARE = "tuned", "none"


class Covert(Suite):
    """Analyzers behind hiders, beside analyzers of bare images."""

    name = "covert"
    Config = HidingConfig
    methods = "analyzer"
    grid = {"hider": [TUNED], "cover": ["covers"]}  # noqa: RUF012
    metrics = ("dice", "jaccard", "psnr", "psnr-y", "ssim")

    def prepare(self) -> None:
        for entry in self.context.plan.entries:
            for name in entry.grid.get("hider", self.context.plan.grid.get("hider", [TUNED])):
                for data in self.context.plan.data:
                    self.client(entry.label, data, name)
                    self.check(entry.label, data)
        for name in self.context.plan.data:
            if any(s.mask is None for s in self.context.dataset(name).part("test")):
                raise SettingsError(f"data set {name}: has no masks, which the covert suite needs.")

    def check(self, label: str, data: str) -> None:
        """Refuse an analyzer whose outputs are not masks of one foreground.

        Raises:
            SettingsError: for one that classifies, or segments several classes.
        """
        config = self.server(label, data).config
        if getattr(config, "classes", 0) or getattr(config, "mask_classes", 0):
            raise SettingsError(
                f"entry {label!r}: the covert suite judges masks of one foreground, but this analyzer finds classes."
            )

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def server(self, label: str, data: str) -> Analyzer:
        """The analyzer of an entry with trained weights, made once; ``{data}`` in their name stands for the data set.

        Raises:
            WeightsError: when it has none.
        """
        entry = self.context.plan.entry(label)
        name, weights = entry.method, entry.weights.replace("{data}", data)
        near = self.context.within(self.context.models, weights) if weights and self.context.models else None
        chosen = str(near) if near is not None and near.is_file() else weights
        method = registry.create("analyzer", name, chosen or registry.BUNDLED, self.context.device, **entry.settings)
        if method.card is None and any(True for _ in method.parameters()):
            raise WeightsError(
                f"{name}: has no trained weights here. Train it, and name the file as the entry's weights."
            )
        return method

    @functools.cache  # noqa: B019
    def client(self, label: str, data: str, hider: str) -> Hider | None:
        """The hider in front of an analyzer; None for bare images."""
        if hider == BARE:
            return None
        server = self.server(label, data)
        return tuned_hider(server) if hider == TUNED else of_images(registry.hider(hider))

    @functools.cache  # noqa: B019
    def photographs(self, name: str) -> Photographs:
        """Covers of one source."""
        return Photographs(self.context.dataset(name), self.config.size, self.config.covers)

    def identity(self, cell: Cell) -> dict[str, Any]:
        entry = cell.entry
        server = self.server(entry.label, cell.data)
        client = self.client(entry.label, cell.data, cell.dimensions["hider"])
        metrics = [*self.context.metrics("masks"), *self.context.metrics("images")]
        modules = {type(x).__module__ for x in (server, client, *metrics) if x is not None}
        return {
            "data": self.context.dataset(cell.data).digest("test"),
            "covers": [self.context.dataset(cell.dimensions["cover"]).digest("test"), self.config.covers],
            "size": self.config.size,
            "limit": self.config.limit,
            "sha256": [(x.card or {}).get("sha256", "") for x in (server, client) if x is not None],
            "code": fingerprint(__name__, "privmed.pipeline", *sorted(modules)),
            "metrics": [m.name for m in metrics],
        }

    def measure(self, cell: Cell) -> list[Value]:
        samples = sampled(self.context.dataset(cell.data).part("test"), self.config.limit)
        seen: dict[tuple[str, str], list[Tensor]] = {}
        for n, sample in enumerate(samples):
            secret, mask = secret_of(sample, self.config.size), truth(sample, self.config.size)[None]
            for key, values in self._judged(cell, n, secret, mask).items():
                seen.setdefault(key, []).append(values)
            self.context.progress(n + 1, len(samples), f"{cell.entry.label} on {cell.data}")
        images = self.context.metrics("images")
        out = []
        for (pair, key), values in seen.items():
            if pair:
                out += [v for v in valued(key, pair, values, images) if "statistic" not in v.dimensions]
            else:
                out += averaged(key, values)
        if cell.dimensions["hider"] == BARE:
            out = [evolve(v, dimensions={"hider": None, "cover": None}) for v in out]
        return out

    def _judged(self, cell: Cell, index: int, secret: Tensor, mask: Tensor) -> dict[tuple[str, str], Tensor]:
        """What is found in one image, and how the photographs look, by pair and metric."""
        entry, masks = cell.entry, self.context.metrics("masks")
        server = self.server(entry.label, cell.data)
        client = self.client(entry.label, cell.data, cell.dimensions["hider"])
        if client is None:
            with torch.no_grad():
                found = probabilities(server.segment(secret))
            return {("", m.name): m(found, mask) for m in masks}
        cover = self.photographs(cell.dimensions["cover"]).of(index)
        many = secret.expand(len(cover), -1, -1, -1)
        run = (hide(client) | png() | analyze(server) | png() | recover(client) | decode(server))(many, cover)
        out = {("", m.name): m(run.prediction, mask.expand_as(run.prediction)) for m in masks}
        pairs = {"stego-cover": run.stego, "response-cover": run.response}
        out |= {(p, m.name): m(x, run.cover) for p, x in pairs.items() for m in self.context.metrics("images")}
        return out

    def weights(self) -> dict[str, str]:
        pairs = [(e.label, data) for e in self.context.plan.entries for data in self.context.plan.data]
        return {f"{e} {data}": (self.server(e, data).card or {}).get("sha256", "")[:12] for e, data in pairs}


def averaged(key: str, values: list[Tensor]) -> list[Value]:
    """Mean over covers, then over images, of a metric; infinite ones, of images that it is not for, are left out."""
    kept = [v[torch.isfinite(v)].double() for v in values]
    means = [v.mean() for v in kept if len(v)]
    if not means:
        return []
    each = torch.stack(means)
    spread = float(each.std()) if len(each) > 1 else None
    return [Value(metric=key, value=float(each.mean()), n=len(each), spread=spread, over="images")]


@hookimpl
def privmed_register(register):
    register(Covert)
