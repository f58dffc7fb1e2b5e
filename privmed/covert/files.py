"""Hide, analyse and recover one file: what the commands do, for one file or for each of a folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attrs import field, frozen
from torch import Tensor

from privmed.covert.case import verify
from privmed.covert.fidelity import fidelity, recovery
from privmed.covert.outcome import Outcome, map_picture, read_outcome
from privmed.errors import SettingsError
from privmed.files import whole_file
from privmed.imaging import read, read_secret, read_wire, write_view, write_wire
from privmed.imaging.quantise import quantise
from privmed.interfaces import Analyzer, Hider, validation
from privmed.jobs.batches import in_groups
from privmed.jobs.contracts import Place, seed_of
from privmed.metrics import psnr, ssim
from privmed.pipeline import Pipeline, Run, decode, png, recover
from privmed.refine import Refinement, refinement_of


@frozen(kw_only=True)
class Hiding:
    """How scans are hidden in photographs; as a task, its units are ``(name, scan, photograph, output)``.

    Attributes:
        method: the hider.
        use: what recovered scans are for.
        refine: steps, or ``"auto"``, see :func:`privmed.refine.refinement_of`.
        frame, allow_lossy: of the scan, see :func:`privmed.imaging.read_secret`.
        strict: refuse what falls short of the use.
        seed: of the job; each scan has its own, made of this and its name.
    """

    method: Hider = field(repr=False)
    use: str = "measure"
    refine: str = "auto"
    frame: int | None = None
    allow_lossy: bool = False
    strict: bool = False
    seed: int = 0

    def open(self, place: Place) -> Callable[[tuple[str, Path, Path, Path]], dict[str, Any]]:
        """The work."""
        if place.device is not None:
            self.method.to(place.device)
        return lambda unit: self(*unit[1:], seed=seed_of(self.seed, unit[0]))

    def open_batches(self, place: Place) -> Callable[[list[tuple[str, Path, Path, Path]]], list[Any]]:
        """The work on batches: scans of one size are hidden, refined and recovered together."""
        alone = self.open(place)

        def together(units: list[tuple[str, Path, Path, Path]], pairs: list[Pair]) -> list[Hidden]:
            return self._hide(pairs, seed_of(self.seed, units[0][0]))

        return lambda units: in_groups(
            units,
            lambda unit: self._read(*unit[1:3]),
            lambda pair: tuple(pair.secret.shape),
            together,
            lambda unit, pair, hidden: self._write(pair, hidden, *unit[1::2]),
            alone,
        )

    def __call__(
        self,
        secret: Path,
        cover: Path,
        output: Path,
        *,
        seed: int,
        overwrite: bool = True,
        progress: Callable[..., None] | None = None,
    ) -> dict[str, Any]:
        """Hide a scan, and prove on the written file that it comes back; returns figures, warnings and what was lost.

        Raises:
            InputError: for a scan or photograph that cannot be used.
            VerificationError: when it falls short of the use, if ``strict``.
        """
        pair = self._read(secret, cover)
        (hidden,) = self._hide([pair], seed, progress)
        return self._write(pair, hidden, secret, output, overwrite=overwrite)

    def _read(self, secret: Path, cover: Path) -> Pair:
        """A scan, and a photograph that is as large."""
        picture = read_secret(secret, frame=self.frame, allow_lossy=self.allow_lossy)
        scan = validation.image("secret", picture.tensor())
        photograph = validation.image("cover", read(cover, frame=0).tensor())  # of a cover, any picture will do
        return Pair(scan, validation.fill(photograph, scan.shape[-2:]), picture.beyond_view)

    def _hide(self, pairs: list[Pair], seed: int, progress: Callable[..., None] | None = None) -> list[Hidden]:
        """Hide scans of one size, and recover each from what its file will hold; ``auto`` refines those that fall short."""
        wanted, (how, auto) = fidelity(self.use), refinement_of(self.refine)

        def hide(some: list[Pair], how: Refinement | None) -> list[Hidden]:
            secrets, covers = torch.cat([p.secret for p in some]), torch.cat([p.cover for p in some])
            stegos = self.method.hide(secrets, covers, refine=how or 0, progress=progress, generator=seed)
            recovered = self.method.recover(quantise(stegos), progress=progress, generator=seed)
            steps = how.steps if how else 0
            return [Hidden(*one, steps, seed) for one in zip(stegos.split(1), recovered.split(1), strict=True)]

        made = hide(pairs, None if auto else how)
        short = [
            n for n, pair in enumerate(pairs) if auto and wanted.shortfalls(recovery(made[n].recovered, pair.secret))
        ]
        if short:
            with suppress(SettingsError):  # no gradient, and nobody insisted on one
                for n, better in zip(short, hide([pairs[n] for n in short], how), strict=True):
                    made[n] = better
        return made

    def _write(
        self, pair: Pair, hidden: Hidden, source: Path, output: Path, *, overwrite: bool = True
    ) -> dict[str, Any]:
        """Write a stego, and judge what comes back from the file before it gets its name."""
        figures: dict[str, float] = {}
        warnings: list[str] = []

        def check(run: Run) -> None:
            known = (
                hidden.recovered
            )  # of the rounded stego; a file that holds anything else is refused before this is called
            _, found, warning = verify(run, self.method, str(source), use=self.use, strict=self.strict, recovered=known)
            figures.update(found)
            warnings.extend([warning] if warning else [])

        stego = hidden.stego
        sent = Run(secret=pair.secret, cover=pair.cover, image=stego, stego=stego, seed=hidden.seed, last="stego")
        png(output, overwrite=overwrite, check=check)(sent)
        about = {"size": list(pair.secret.shape[-2:]), "use": self.use, "refined": hidden.refined}
        return {**about, "lost": pair.lost or None, **figures, "warnings": warnings}


class Pair(NamedTuple):
    """A scan and a photograph of its size, (1, 3, H, W) both, and what of the scan a picture cannot show."""

    secret: Tensor
    cover: Tensor
    lost: str


class Hidden(NamedTuple):
    """A stego, not yet rounded, and what is recovered from it once it is; the steps it was refined by, and the seed."""

    stego: Tensor
    recovered: Tensor
    refined: int
    seed: int


@frozen(kw_only=True)
class Analysing:
    """How stegos are analysed; as a task, its units are ``(name, stego, output)``."""

    method: Analyzer = field(repr=False)
    seed: int = 0

    def open(self, place: Place) -> Callable[[tuple[str, Path, Path]], dict[str, Any]]:
        """The work."""
        if place.device is not None:
            self.method.to(place.device)
        return lambda unit: self(*unit[1:], seed=seed_of(self.seed, unit[0]))

    def open_batches(self, place: Place) -> Callable[[list[tuple[str, Path, Path]]], list[Any]]:
        """The work on batches: stegos of one size are analysed together."""
        alone = self.open(place)

        def together(units: list[tuple[str, Path, Path]], stegos: list[Tensor]) -> tuple[Tensor, ...]:
            return self.method.analyze(torch.cat(stegos), generator=seed_of(self.seed, units[0][0])).split(1)

        return lambda units: in_groups(
            units,
            lambda unit: read_wire(unit[1]),
            lambda seen: tuple(seen.shape),
            together,
            lambda unit, seen, response: self._write(seen, response, unit[2]),
            alone,
        )

    def __call__(self, stego: Path, output: Path, *, seed: int, overwrite: bool = True) -> dict[str, Any]:
        """Write the response to a stego, and say how far it is from it."""
        seen = read_wire(stego)
        return self._write(seen, self.method.analyze(seen, generator=seed), output, overwrite=overwrite)

    @staticmethod
    def _write(seen: Tensor, response: Tensor, output: Path, *, overwrite: bool = True) -> dict[str, Any]:
        held = write_wire(output, response, overwrite=overwrite)
        return {"response_psnr": float(psnr(held, seen)), "response_ssim": float(ssim(held, seen))}


@frozen(kw_only=True)
class Recovering:
    """How what is hidden is read; as a task, its units are ``(name, image, output)``.

    Attributes:
        method: the hider.
        server: whose result is read; None for the hidden scan.
        as_: ``"image"``, ``"mask"`` or ``"class"``.
        seed: of the job; each image has its own, made of this and its name.
    """

    method: Hider = field(repr=False)
    server: Analyzer | None = field(default=None, repr=False)
    as_: str = "image"
    seed: int = 0

    def open(self, place: Place) -> Callable[[tuple[str, Path, Path]], dict[str, Any]]:
        """The work."""
        if place.device is not None:
            for network in filter(None, (self.method, self.server)):
                network.to(place.device)
        return lambda unit: self(*unit[1:], seed=seed_of(self.seed, unit[0]))[0]

    def open_batches(self, place: Place) -> Callable[[list[tuple[str, Path, Path]]], list[Any]]:
        """The work on batches: images of one size are read together."""
        alone = self.open(place)

        def together(units: list[tuple[str, Path, Path]], images: list[Tensor]) -> list[Run]:
            seed = seed_of(self.seed, units[0][0])
            found = Pipeline(recover(self.method))(torch.cat(images), seed=seed).recovered.split(1)
            return [
                Run(image=one, original=seen, recovered=one, seed=seed) for seen, one in zip(images, found, strict=True)
            ]

        return lambda units: in_groups(
            units,
            lambda unit: read_wire(unit[1]),
            lambda seen: tuple(seen.shape),
            together,
            lambda unit, _, run: self._write(run, unit[1], unit[2])[0],
            alone,
        )

    def __call__(
        self,
        image: Path,
        output: Path,
        *,
        seed: int,
        overwrite: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[dict[str, Any], Outcome | None]:
        """Write what is hidden; returns what a result says in figures, and the result."""
        run = Pipeline(recover(self.method, progress=progress))(read_wire(image), seed=seed)
        return self._write(run, image, output, overwrite=overwrite)

    def _write(
        self, run: Run, image: Path, output: Path, *, overwrite: bool = True
    ) -> tuple[dict[str, Any], Outcome | None]:
        if self.server is None:
            write_view(output, run.recovered.clamp(0, 1), overwrite=overwrite)
            return {"warnings": []}, None
        with torch.no_grad():
            run = decode(self.server)(run)
        outcome = read_outcome(self.server, run, str(image))
        write_result(run.prediction, outcome, output, self.as_, overwrite)
        return {"outcome": outcome.kind, **outcome.figures, "warnings": outcome.warnings}, outcome


def write_result(found: Tensor, outcome: Outcome, output: Path, as_: str, overwrite: bool) -> None:
    """Write a mask as a PNG, or a class with its probabilities as JSON.

    Raises:
        SettingsError: when the analyzer does the other.
    """
    classifies = found.ndim == 2
    if classifies != (as_ == "class"):
        fitting = ("classifies", "class") if classifies else ("segments", "mask")
        raise SettingsError(f"--as {as_}: this analyzer {fitting[0]}. Use --as {fitting[1]}.")
    if not classifies:
        write_view(output, map_picture(found), overwrite=overwrite)
        return
    with whole_file(output, overwrite=overwrite) as temporary:
        temporary.write_text(dumps({"outcome": outcome.kind, **outcome.figures}, indent=2) + "\n", encoding="utf-8")
