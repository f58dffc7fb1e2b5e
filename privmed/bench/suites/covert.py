"""Covert analysis: what a server finds in a scan that is hidden in a photograph, and how the photograph looks afterwards.

Each step goes through the 8-bit PNG, and through whatever else the wire does to it. Where the hider is ``none``, an analyzer works on the
bare images. It answers with masks of one foreground or of several classes, or with classes. Every figure is averaged over the covers of
an image, then over images; the area under the ROC curve is that of all answers. The answers to a scan in several photographs are also
averaged to one, as :func:`privmed.pipeline.average` does, and judged as that (``dice-together``). Analyzers come with their weights, or
the suite trains them, all by the same recipes. The entry ``constant`` is one answer to all bare images, the best on the training images.
An eavesdropper runs the hider with public weights, and a key of his own where there are keys, on the stego; the pair ``secret-public`` is
what he reads. Another one has no weights, but pairs of a stego and its scan, made of training images in the same way, from which he
learns: ``secret-leaked`` is what he reads, ``secret-mean`` the mean of the scans that he has. Behind a hider that carries files nothing
can be analysed: whoever has its key gets the scan as it was, and analyses that. With the setting ``costs`` every step of a network tells
what it costs who does it, an image, by itself.
"""

from __future__ import annotations

import functools
import operator
from pathlib import Path
from typing import Any

import torch
from attrs import Factory, asdict, evolve, frozen
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.answers import Answers, Classes, Labels, Masks, averaged, check_answers, classes_of, foretold
from privmed.bench.constant import CONSTANT, Constant, constant
from privmed.bench.contracts import Cell, Quantity, Suite, Value
from privmed.bench.costs import COSTS, cost
from privmed.bench.covers import Photographs
from privmed.bench.data import Sample
from privmed.bench.fingerprint import fingerprint
from privmed.bench.leaks import Eavesdropper, EavesdropperConfig, counts, drawn, listening
from privmed.bench.pairs import BARE, Pair, Training
from privmed.bench.suites.hiding import ImagesConfig, as_file, sampled, secret_of, valued
from privmed.covert.domain import no_stego
from privmed.errors import SettingsError, WeightsError, did_you_mean
from privmed.imaging import quantise
from privmed.interfaces import Analyzer, BareAnalyzer, FileHider, Hider
from privmed.interfaces.analyzer import probabilities
from privmed.metrics import silent
from privmed.pipeline import (
    Run,
    Stage,
    analyze,
    bare,
    blur,
    decode,
    hide,
    jpeg,
    of_images,
    png,
    recover,
    resize,
    tuned_hider,
)
from privmed.settings import setting, side
from privmed.shared_key import with_key

TUNED = "tuned"
SENDER, EAVESDROPPER = 0, 1  # seeds of their keys
PNG = "png"
WIRES: dict[str, list[Stage]] = {
    PNG: [],
    "jpeg95": [jpeg(95)],
    "jpeg90": [jpeg(90)],
    "jpeg75": [jpeg(75)],
    "resize": [resize(0.5), png()],
    "blur": [blur(1.0), png()],
}
"""What else happens to a stego and to a response on their way."""


@frozen(kw_only=True)
class CovertConfig(ImagesConfig):
    """Settings of :class:`Covert`."""

    recipes: list[str] = setting(
        Factory(list),
        "files beside the plan: templates, in their order, by which analyzers are trained whose entries name no weights",
    )
    nothing: bool = setting(False, "judge what is made of the photographs without a scan, too")
    leaked: list[int] = setting(
        Factory(list), "numbers of pairs from which an eavesdropper without weights learns", counts
    )
    room: int = setting(672, "side of the photographs of hiders that carry files, which need more room", side())
    costs: bool = setting(False, "what hiding, analysing and recovering cost, an image by itself")
    eavesdropper: EavesdropperConfig = setting(Factory(EavesdropperConfig), "how he learns")


class Covert(Suite):
    """Analyzers behind hiders, beside analyzers of bare images."""

    name = "covert"
    Config = CovertConfig
    methods = "analyzer"
    baselines = (CONSTANT,)
    grid = {"hider": [TUNED], "cover": ["covers"], "wire": [PNG]}  # noqa: RUF012
    metrics = ("dice", "jaccard", "asd", "accuracy", "psnr", "psnr-y", "ssim")
    quantities = {  # noqa: RUF012
        "auc": Quantity(title="area under the ROC curve"),
        "dice-spread": Quantity(title="Dice, standard deviation over the photographs of a scan", better="lower"),
        "dice-together": Quantity(title="Dice of the averaged answers"),
        "accuracy-together": Quantity(title="accuracy of the averaged answers"),
        "silent-together": Quantity(title="averaged answers silent where nothing is"),
        "missed-together": Quantity(title="averaged answers silent where a lesion is", better="lower"),
        "false-area-together": Quantity(title="falsely marked area of the averaged answers", better="lower"),
        "disagreement": Quantity(title="disagreement of the answers", better="lower"),
        "foretold": Quantity(title="rank correlation of disagreement and Dice", better="lower"),
        "nothing-refused": Quantity(title="nothing hidden: said so, or nothing marked", share=True),
        "hidden-refused": Quantity(title="scan hidden: said that nothing is", better="lower", share=True),
        "identical": Quantity(title="recovered without any change", share=True),
        "parameters": Quantity(title="parameters", unit="M", better="lower"),
        **COSTS,
    }

    def prepare(self) -> None:
        for cell in self.cells():
            where = cell.dimensions
            if where["wire"] not in WIRES:
                raise SettingsError(
                    f"wire: there is no {where['wire']!r}; there are {', '.join(WIRES)}.{did_you_mean(where['wire'], WIRES)}"
                )
            if where["wire"] != PNG and (courier := self.courier(where["hider"])):
                raise SettingsError(
                    f"entry {cell.entry.label!r}: what {courier.name} carries does not arrive through {where['wire']}. "
                    "Give the entry a grid of its own, or leave that out."
                )
            if self.hides(cell) and self.config.leaked:
                drawn(*map(len, self._training(cell.data, where["cover"])), max(self.config.leaked), cell.seed)
            method = Constant if cell.entry.method == CONSTANT else registry.load("analyzer", cell.entry.method)
            if self.hides(cell) and issubclass(method, BareAnalyzer):
                method.refuse()
            if training := self.training(cell.entry.label, cell.data, where["hider"], cell.seed):
                server = training.untrained()
            else:
                self.client(cell)
                server = self.server(cell)
            check_answers(cell.entry.label, server, self.context.dataset(cell.data))

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def training(self, label: str, data: str, hider: str, seed: int) -> Training | None:
        """How the suite trains the analyzer of an entry; None where it has weights, or nothing to learn.

        Raises:
            SettingsError: where the hider would be the one that the weights were tuned to, and there are no weights.
        """
        entry = self.context.plan.entry(label)
        if (
            entry.method == CONSTANT
            or not self.config.recipes
            or entry.weights
            or not learns(entry.method, entry.settings)
        ):
            return None
        if hider == TUNED:
            raise SettingsError(f"entry {label!r}: is trained here, so the plan's grid must name its hiders.")
        sees = BARE if self.courier(hider) else self._located(hider)
        pair = Pair(analyzer=entry.method, settings=entry.settings, hider=sees, data=data, seed=seed)
        folder, context = Path(self.context.plan.folder), self.context
        templates = [context.within(folder, name) for name in self.config.recipes]
        return Training(pair, templates, context.root, context.cache.folder, context.device)

    def server(self, cell: Cell) -> Analyzer:
        """The analyzer of a cell, trained now if it has to be."""
        where = cell.entry.label, cell.data
        training = self.training(*where, cell.dimensions["hider"], cell.seed)
        return self._with_weights(*where) if training is None else self._trained(training)

    @functools.cache  # noqa: B019
    def _trained(self, training: Training) -> Analyzer:
        pair = training.pair
        words = f"training {pair.analyzer} on {pair.data}, hider {pair.hider}, seed {pair.seed}"
        report = self.context.progress
        return training.analyzer(
            lambda done, total: report(done, total, words), lambda: report(0, 1, f"waiting for another run: {words}")
        )

    @functools.cache  # noqa: B019
    def _with_weights(self, label: str, data: str) -> Analyzer:
        """The analyzer of an entry with trained weights, made once; ``{data}`` in their name stands for the data set.

        Raises:
            WeightsError: when it has none.
        """
        entry = self.context.plan.entry(label)
        if entry.method == CONSTANT:
            return constant(self.context.dataset(data), self.config.size, entry.settings, f"entry {label!r}")
        name, chosen = entry.method, self.context.weights(entry.weights.replace("{data}", data))
        method = registry.create("analyzer", name, chosen or registry.BUNDLED, self.context.device, **entry.settings)
        if method.card is None and any(True for _ in method.parameters()):
            raise WeightsError(
                f"{name}: has no trained weights here. Train it, and name the file as the entry's weights, or give the plan recipes."
            )
        return method

    def client(self, cell: Cell) -> Hider | None:
        """The hider in front of an analyzer; None where it sees bare images."""
        hider, where = cell.dimensions["hider"], (cell.entry.label, cell.data)
        if not self.hides(cell):
            return None
        if hider == TUNED or self.training(*where, hider, cell.seed):
            return self._tuned(self.server(cell))
        return self.public(hider, SENDER)

    def hides(self, cell: Cell) -> bool:
        """Whether the analyzer of a cell works on hidden images."""
        hider = cell.dimensions["hider"]
        return hider != BARE and self.courier(hider) is None

    @functools.cache  # noqa: B019
    def courier(self, hider: str) -> FileHider | None:
        """The hider of that name, where it carries files."""
        name, _, chosen = hider.partition(":")
        if name in (BARE, TUNED) or not issubclass(registry.load("hider", name), FileHider):
            return None
        if chosen:
            raise SettingsError(f"hider {hider}: {name} has no weights; name it alone.")
        return registry.create("hider", name, registry.BUNDLED, self.context.device)

    @functools.cache  # noqa: B019
    def _tuned(self, server: Analyzer) -> Hider:
        return with_key(tuned_hider(server))

    @functools.cache  # noqa: B019
    def public(self, hider: str, key: int) -> Hider:
        """A hider, ``NAME`` with the weights that everybody has or ``NAME:WEIGHTS``, and a key where there are keys."""
        name, _, chosen = self._located(hider).partition(":")
        return with_key(of_images(registry.hider(name, weights=chosen or registry.BUNDLED)), key)

    def _located(self, hider: str) -> str:
        """The same with the file of its weights, where they lie in the folder of trained models."""
        name, colon, chosen = hider.partition(":")
        return f"{name}{colon}{self.context.weights(chosen)}"

    @functools.cache  # noqa: B019
    def photographs(self, name: str, size: int) -> Photographs:
        """Covers of one source."""
        return Photographs(self.context.dataset(name), size, self.config.covers)

    def eavesdroppers(self, cell: Cell) -> dict[int, Eavesdropper]:
        """Those who learnt from leaked pairs, by how many they have."""
        where = cell.dimensions
        client = self.client(cell) if self.config.leaked else None
        return {} if client is None else self._learnt(client, cell.data, where["cover"], where["wire"], cell.seed)

    @functools.cache  # noqa: B019
    def _learnt(self, client: Hider, data: str, cover: str, wire: str, seed: int) -> dict[int, Eavesdropper]:
        sent = functools.reduce(operator.or_, WIRES[wire], hide(client) | png())
        report = lambda done, total, words: self.context.progress(done, total, f"{words}, {client.name} on {data}")  # noqa: E731
        return listening(sent, self._training(data, cover), self.config, seed, report)

    def _training(self, data: str, cover: str) -> tuple[list[Sample], list[Sample]]:
        return self.context.dataset(data).part("train"), self.context.dataset(cover).part("train")

    def identity(self, cell: Cell) -> dict[str, Any]:
        entry, hider = cell.entry, cell.dimensions["hider"]
        training = self.training(entry.label, cell.data, hider, cell.seed)
        if training is None:
            used = [x for x in (self.server(cell), self.client(cell)) if x is not None]
            weights: Any = [(x.card or {}).get("sha256", "") for x in used]
            if entry.method == CONSTANT:
                weights.append(self.context.dataset(cell.data).digest("train"))
            used += [self.courier(hider)] if self.courier(hider) else []
        else:
            front = [] if hider == BARE else [self.courier(hider) or self.public(hider, SENDER)]
            used = [training.untrained(), *front]
            weights = training.about
        metrics = [*self.answers(cell).metrics, *self.context.metrics("images")]
        modules = {type(x).__module__ for x in (*used, *metrics)}
        return {
            "data": self.context.dataset(cell.data).digest("test"),
            "covers": [self.context.dataset(cell.dimensions["cover"]).digest("test"), self.config.covers],
            "size": self.config.size,
            "limit": self.config.limit,
            "sha256": weights,
            "code": fingerprint(__name__, "privmed.bench.answers", "privmed.pipeline", *sorted(modules)),
            "metrics": [m.name for m in metrics],
            **({"room": [self.config.room, fingerprint("privmed.bench.suites.hiding")]} if self.courier(hider) else {}),
            **({"nothing": fingerprint("privmed.covert.domain")} if self.config.nothing else {}),
            **({"costs": fingerprint("privmed.bench.costs")} if self.config.costs else {}),
            **self._leak(cell),
        }

    def _leak(self, cell: Cell) -> dict[str, Any]:
        """What the figures of eavesdroppers rest on beside the rest; nothing where there are none."""
        if not self.config.leaked or not self.hides(cell):
            return {}
        sets = [self.context.dataset(name).digest("train") for name in (cell.data, cell.dimensions["cover"])]
        how = asdict(self.config.eavesdropper)
        return {"leaked": [sorted(self.config.leaked), how, sets, fingerprint("privmed.bench.leaks")]}

    def answers(self, cell: Cell) -> Answers:
        """What judges the analyzer of a cell."""
        training = self.training(cell.entry.label, cell.data, cell.dimensions["hider"], cell.seed)
        server = self.server(cell) if training is None else training.untrained()
        if several := getattr(server.config, "mask_classes", 0):
            return Labels(self.config.size, several)
        if not getattr(server.config, "classes", 0):
            return Masks(self.context.metrics("masks"), self.config.size)
        names = classes_of(self.context.dataset(cell.data))
        return Classes(self.context.metrics("classes"), self.config.size, names)

    def measure(self, cell: Cell) -> list[Value]:
        samples = sampled(self.context.dataset(cell.data).part("test"), self.config.limit)
        answers = self.answers(cell)
        seen: dict[tuple[str, str], list[Tensor]] = {}
        for n, sample in enumerate(samples):
            secret = secret_of(sample, self.config.size)
            for key, values in self._judged(cell, n, secret, answers, answers.truth(sample)).items():
                seen.setdefault(key, []).append(values)
            self.context.progress(n + 1, len(samples), f"{cell.entry.label} on {cell.data}")
        images, out = self.context.metrics("images"), answers.whole()
        for (pair, key), values in seen.items():
            if pair:
                name, _, count = pair.partition(" of ")
                found = [v for v in valued(key, name, values, images) if "statistic" not in v.dimensions]
                out += [evolve(v, dimensions={**v.dimensions, "leaked": int(count)}) for v in found] if count else found
            elif key in ("nothing-refused", "hidden-refused", "identical"):
                every = torch.cat(values)
                out.append(Value(metric=key, value=float(every.mean()), n=len(every)))
            else:
                name, _, of = key.partition(":")
                found = averaged(name, values)
                out += [evolve(v, dimensions={"class": int(of)}) for v in found] if of else found
            if key == "dice" and all(len(v) > 1 for v in values):
                out += averaged("dice-spread", [v.std()[None] for v in values])
        if ("", "dice-together") in seen:
            out += foretold(seen["", "disagreement"], seen["", "dice-together"])
        if self.config.costs:
            out += self._costs(cell, samples[0])
        if cell.dimensions["hider"] == BARE:
            without = dict.fromkeys(("hider", "cover", "wire"))
            return [evolve(v, dimensions={**v.dimensions, **without}) for v in out]
        if cell.dimensions["wire"] == PNG:  # as sent, which needs no word
            return [evolve(v, dimensions={**v.dimensions, "wire": None}) for v in out]
        return out

    def _judged(
        self, cell: Cell, index: int, secret: Tensor, answers: Answers, right: Tensor
    ) -> dict[tuple[str, str], Tensor]:
        """What is found in one image, and how the photographs look, by pair and metric."""
        images = self.context.metrics("images")
        server, client = self.server(cell), self.client(cell)
        if courier := self.courier(cell.dimensions["hider"]):
            return self._carried(cell, courier, index, secret, answers, right)
        if client is None:
            with torch.no_grad():
                found = probabilities(server.segment(secret))
            return {("", name): values for name, values in answers.judged(found, right).items()}
        cover = self.photographs(cell.dimensions["cover"], self.config.size).of(index)
        many = secret.expand(len(cover), -1, -1, -1)
        wire = WIRES[cell.dimensions["wire"]]

        def walk(send: Stage) -> Stage:
            after = [png(), *wire, analyze(server), png(), *wire, recover(client), decode(server)]
            return functools.reduce(operator.or_, after, send)

        run = walk(hide(client))(many, cover)
        with torch.no_grad():
            read = quantise(self.public(client.name, EAVESDROPPER).recover(run.stego))
        rated = answers.judged(run.prediction, right)
        if len(cover) > 1:
            rated |= answers.together(run.prediction, right)
        out = {("", name): values for name, values in rated.items()}
        if self.config.nothing:
            out |= {("", name): values for name, values in refusals(server, run, walk(bare())(many, cover)).items()}
        pairs = {
            "stego-cover": (run.stego, run.cover),
            "response-cover": (run.response, run.cover),
            "secret-public": (read, many),
        }
        for count, one in self.eavesdroppers(cell).items():
            pairs[f"secret-leaked of {count}"] = quantise(one.read(run.stego)), many
            pairs[f"secret-mean of {count}"] = quantise(one.mean).expand_as(many), many
        return out | {(pair, m.name): m(*both) for pair, both in pairs.items() for m in images}

    def _carried(
        self, cell: Cell, courier: FileHider, index: int, secret: Tensor, answers: Answers, right: Tensor
    ) -> dict[tuple[str, str], Tensor]:
        """The same of a scan that is sent as a file, and analysed by who took it out."""
        cover = self.photographs(cell.dimensions["cover"], self.config.room).of(index)
        stego, arrived = as_file(courier, secret, cover, cell.seed)
        with torch.no_grad():
            found = probabilities(self.server(cell).segment(arrived))
        out = {("", name): values for name, values in answers.judged(found, right).items()}
        out["", "identical"] = (arrived == secret).flatten(1).all(1).float()
        images = self.context.metrics("images")
        return out | {("stego-cover", m.name): m(stego, cover) for m in images}

    def _costs(self, cell: Cell, sample: Sample) -> list[Value]:
        """Parameters of both sides, and what each step costs; on one image, since nothing depends on what is in it."""
        server, client, device = self.server(cell), self.client(cell), self.context.device
        secret = secret_of(sample, self.config.size)
        if client is None:
            return [
                _millions(server, side="server"),
                *cost(lambda: server.segment(secret), device).values(side="server", step="analyze"),
            ]
        cover = self.photographs(cell.dimensions["cover"], self.config.size).of(0)[:1]
        stego = quantise(client.hide(secret, cover))
        response = quantise(server.analyze(stego))
        steps = {
            "hide": ("client", lambda: client.hide(secret, cover)),
            "analyze": ("server", lambda: server.analyze(stego)),
            "recover": ("client", lambda: server.decode(client.recover(response, clamp=False))),
        }
        out = [_millions(client, side="client"), _millions(server, side="server")]
        for step, (who, work) in steps.items():
            out += cost(work, device).values(side=who, step=step)
        return out

    def weights(self) -> dict[str, str]:
        ready = {
            (cell.entry.label, cell.data): self.server(cell)
            for cell in self.cells()
            if self.training(cell.entry.label, cell.data, cell.dimensions["hider"], cell.seed) is None
        }
        return {f"{label} {data}": s.card["sha256"][:12] for (label, data), s in ready.items() if s.card}


def _millions(method: Hider | Analyzer, side: str) -> Value:
    """Parameters of a method."""
    return Value(
        metric="parameters", value=sum(p.numel() for p in method.parameters()) / 1e6, dimensions={"side": side}
    )


def refusals(server: Analyzer, hidden: Run, nothing: Run) -> dict[str, Tensor]:
    """Where the client is told that nothing was hidden, (covers,) each: rightly (or nothing is marked there), and wrongly."""
    told, wrongly = (
        torch.tensor([float(no_stego(server, one)) for one in run.recovered.split(1)]) for run in (nothing, hidden)
    )
    marked = nothing.prediction.ndim == 4 and silent(nothing.prediction).cpu()
    return {"nothing-refused": torch.maximum(told, torch.as_tensor(marked).float()), "hidden-refused": wrongly}


def learns(name: str, settings: dict[str, Any]) -> bool:
    """Whether an analyzer has parameters."""
    return any(True for _ in registry.create("analyzer", name, None, **settings).parameters())


@hookimpl
def privmed_register(register):
    register(Covert)
