"""Covert analysis case by case, each step through the file it is sent in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import Factory, evolve, frozen
from torch import Tensor

from privmed.covert.domain import unfamiliar_secret
from privmed.covert.fidelity import STRICTEST, error_map, fidelity, judge, recovery
from privmed.covert.outcome import Outcome, map_picture, read_outcome
from privmed.imaging import write_view
from privmed.imaging.labels import encode, label_map
from privmed.interfaces import Analyzer, Hider
from privmed.pipeline import Run, analyze, decode, hide, png, recover
from privmed.refine import Refinement


@frozen(eq=False)
class CovertCase:
    """One scan, one photograph.

    Attributes:
        name: for file names.
        title: for people.
        secret: (1, 1 or 3, H, W) in [0, 1].
        cover: (1, 1 or 3, any, any) in [0, 1].
        mask: ground truth, (1, 1, H, W), or None.
        weights: of the analyzer that fits, or None when the scan only travels.
    """

    name: str
    title: str
    secret: Tensor
    cover: Tensor
    mask: Tensor | None = None
    weights: str | None = None


@frozen(eq=False)
class CovertResult:
    """What came out: images as the files hold them, figures, probabilities and what they mean, and what there is to be careful about."""

    case: CovertCase
    images: dict[str, Tensor]
    figures: dict[str, float] = Factory(dict)
    outcome: Outcome | None = None
    prediction: Tensor | None = None
    warnings: list[str] = Factory(list)


def run_case(
    case: CovertCase,
    client: Hider,
    server: Analyzer | None,
    folder: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    prefix: str | None = None,
    use: str = STRICTEST,
    strict: bool = False,
    refine: int | Refinement = 0,
    auto: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CovertResult:
    """Run one case and write its PNG files into ``folder``; every figure is that of the written file.

    Args:
        case: what to hide in what.
        client: the hider.
        server: the analyzer, or None for hiding and recovering alone.
        folder: where ``stego``, ``response``, ``recovered``, ``error-map`` and ``mask`` go.
        seed: where randomness comes from.
        overwrite: whether files may be replaced.
        prefix: of the file names; the case's name by default.
        use: what the recovered scan is for (see :mod:`privmed.covert.fidelity`).
        strict: refuse a recovered scan that falls short of the use, instead of warning.
        refine: steps that the stego is refined by, or how, see :meth:`Hider.hide`.
        auto: refine only where the scan would fall short of the use.
        progress: of hiding, see :meth:`Hider.hide`.

    Raises:
        SettingsError: for steps of a hider whose recovery has no gradient.
        VerificationError: when the scan cannot be read out of the stego again, or falls short of the use, if ``strict``.
    """
    start = f"{case.name}-" if prefix is None else prefix
    result = CovertResult(case, {})

    def path(name: str) -> Path:
        return folder / f"{start}{name}.png"

    def check(run: Run) -> None:
        result.images.update(cover=run.cover, secret=run.secret, stego=run.stego)
        result.images["difference"] = difference(run.stego, run.cover)
        recovered, figures, warning = verify(run, client, case.title, use=use, strict=strict)
        result.images.update(recovered=recovered, error=error_map(recovered, run.secret, figures))
        result.figures.update(figures, refined=run.refined)
        result.warnings.extend([warning] if warning else [])

    sent = hide(client, refine=refine, falls_short=falls_short(client, use) if auto else None, progress=progress)
    steps = sent | png(path("stego"), overwrite=overwrite, check=check)
    if server is not None:
        steps |= analyze(server) | png(path("response"), overwrite=overwrite) | recover(client) | decode(server)
    run = steps(case.secret, case.cover, mask=case.mask, seed=seed)
    if server is not None:
        result = evolve(result, outcome=_read(result, run, server), prediction=run.prediction)
    for name, image in (("recovered", "recovered"), ("error-map", "error"), ("mask", "mask")):
        if image in result.images:
            write_view(path(name), result.images[image], overwrite=overwrite)
    return result


def verify(
    run: Run,
    client: Hider,
    what: str,
    *,
    use: str = STRICTEST,
    strict: bool = False,
    recovered: Tensor | None = None,
) -> tuple[Tensor, dict[str, float], str]:
    """Recover the scan from a stego that arrived, and judge it.

    Args:
        run: with the stego as the file holds it.
        client: the hider.
        what: the scan, for people.
        use, strict: see :func:`privmed.covert.fidelity.judge`.
        recovered: what the hider recovers from this very stego, if that is known, (1, 3, H, W) in [0, 1].

    Returns:
        The recovered scan, figures of the stego and of it, and a warning or an empty string.

    Raises:
        VerificationError: when the scan cannot be read out of the stego again.
    """
    if recovered is None:
        recovered = recover(client)(run).recovered.clamp(0, 1)
    figures = recovery(recovered, run.secret)
    warning = judge(client, figures, what, use=use, strict=strict)
    return recovered, run.similarity("stego") | figures, warning


def falls_short(client: Hider, use: str) -> Callable[[Run], bool]:
    """Whether what a hider recovers from the stego of a run, as a file holds it, is less than a use asks for."""
    wanted, read = fidelity(use), recover(client)
    return lambda run: bool(wanted.shortfalls(recovery(read(run).recovered.clamp(0, 1), run.secret)))


def _read(result: CovertResult, run: Run, server: Analyzer) -> Outcome:
    """Take in the response and what was read out of it; returns what that means."""
    result.images.update(response=run.response, output=run.recovered.clamp(0, 1))
    result.figures.update(run.similarity("response"))
    result.warnings.extend(unfamiliar_secret(server, run.secret, result.case.title))
    outcome = read_outcome(server, run, result.case.title, hidden=True)
    result.warnings.extend(outcome.warnings)
    result.figures.update(run.correctness())
    if run.prediction.ndim == 4:
        labels = label_map(run.prediction)
        result.figures["foreground"] = outcome.figures["foreground"]
        result.images.update(mask=map_picture(run.prediction), foreground=(labels > 0).float())
        if run.prediction.shape[1] > 1:
            result.images["classes"] = encode(labels, run.prediction.shape[1])
    return outcome


def difference(a: Tensor, b: Tensor, gain: float = 10.0) -> Tensor:
    """What the eye does not see: the signed difference, ten times enlarged around mid-grey."""
    return (0.5 + gain * (a - b)).clamp(0, 1)
