"""Hide, analyse and recover one file: what the commands do, for one file or for each of a folder."""

from __future__ import annotations

from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from privmed.covert.case import verify
from privmed.covert.fidelity import fidelity, recovery
from privmed.covert.outcome import Outcome, map_picture, read_outcome
from privmed.errors import PrivmedError, SettingsError
from privmed.files import whole_file
from privmed.imaging import read, read_secret, read_wire, write_view, write_wire
from privmed.interfaces import Analyzer, Hider
from privmed.jobs.batches import attempt
from privmed.jobs.contracts import Place, seed_of
from privmed.metrics import psnr, ssim
from privmed.pipeline import Pipeline, decode, hide, png, recover
from privmed.refine import steps_of


@frozen(kw_only=True)
class Hiding:
    """How scans are hidden in photographs; as a task, its units are ``(name, scan, photograph, output)``.

    Attributes:
        method: the hider.
        use: what recovered scans are for.
        refine: steps, or ``"auto"``.
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
        wanted = fidelity(self.use)
        picture = read_secret(secret, frame=self.frame, allow_lossy=self.allow_lossy)
        scan, photograph = picture.tensor(), read(cover, frame=0).tensor()  # of a cover, any picture will do
        figures: dict[str, float] = {}
        warnings: list[str] = []

        def falls_short(run: Any) -> bool:
            recovered = recover(self.method)(run).recovered.clamp(0, 1)
            return bool(wanted.shortfalls(recovery(recovered, run.secret)))

        def check(run: Any) -> None:
            _, found, warning = verify(run, self.method, str(secret), use=self.use, strict=self.strict)
            figures.update(found)
            warnings.extend([warning] if warning else [])

        more = {} if progress is None else {"progress": progress}
        hiding = hide(self.method, refine=steps_of(self.refine), falls_short=falls_short, **more)
        run = (hiding | png(output, overwrite=overwrite, check=check))(scan, photograph, seed=seed)
        about = {"size": list(scan.shape[-2:]), "use": self.use, "refined": run.refined}
        return {**about, "lost": picture.beyond_view or None, **figures, "warnings": warnings}


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
        """The work on batches."""
        work = self.open(place)
        return lambda units: self._together(units, work)

    def _together(self, units: list[tuple[str, Path, Path]], alone: Callable[[tuple], dict[str, Any]]) -> list[Any]:
        """Analyse stegos of one size together; a batch that fails is done one by one, so that none suffers from another."""
        made: list[Any] = [attempt(read_wire, stego) for _, stego, _ in units]
        sizes: dict[tuple[int, ...], list[int]] = {}
        for n, seen in enumerate(made):
            if not isinstance(seen, PrivmedError):
                sizes.setdefault(tuple(seen.shape), []).append(n)
        for some in sizes.values():
            seed = seed_of(self.seed, units[some[0]][0])
            try:
                responses = self.method.analyze(torch.cat([made[n] for n in some]), generator=seed).split(1)
            except Exception:  # whatever a plugin raises, or a lack of memory; alone, it is told of whom
                for n in some:
                    made[n] = attempt(alone, units[n])
                continue
            for n, response in zip(some, responses, strict=True):
                made[n] = attempt(lambda pair, to=units[n][2]: self._write(*pair, to), (made[n], response))
        return made

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

    def __call__(
        self, image: Path, output: Path, *, seed: int, overwrite: bool = True
    ) -> tuple[dict[str, Any], Outcome | None]:
        """Write what is hidden; returns what a result says in figures, and the result."""
        seen = read_wire(image)
        if self.server is None:
            write_view(output, Pipeline(recover(self.method))(seen, seed=seed).recovered, overwrite=overwrite)
            return {"warnings": []}, None
        run = (recover(self.method) | decode(self.server))(seen, seed=seed)
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
