"""Stages of covert analysis (HideMIA): hide, analyze, recover, decode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PureWindowsPath
from typing import Any

from attrs import evolve

from privmed import registry
from privmed.errors import InputError, SettingsError, WeightsError
from privmed.files import local_name
from privmed.interfaces import Analyzer, BareAnalyzer, FileHider, Hider
from privmed.pipeline.run import PUBLISHED, Run
from privmed.pipeline.stage import Stage, arrive
from privmed.refine import Refinement, hide_well
from privmed.settings import structure
from privmed.weights import bundled, read_card


def hide(
    hider: str | Hider,
    *,
    refine: int | Refinement | None = 0,
    falls_short: Callable[[Run], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Stage:
    """Hide the secret in the cover, and refine the stego.

    Args:
        hider: a name or a hider.
        refine: by so many steps, or as it says (see :meth:`Hider.hide`); None for as many as :mod:`privmed.refine` finds useful.
        falls_short: whether the run, as an 8-bit file would deliver it, is not good enough: it is refined only then. None: always.
        progress: see :meth:`Hider.hide`.

    Raises:
        MethodNotFoundError: when no installed hider has that name.
        SettingsError: for ``refine=None`` without ``falls_short``, and for a hider of files.

    Example:
        >>> from privmed.pipeline import hide, png, recover
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> run = (hide("lightih") | png() | recover("lightih"))(secret, cover)
        >>> run.metrics["stego_psnr"] > 30 and run.metrics["recovered_psnr"] > 30
        True
    """
    method = _hider(hider)
    if refine is None and falls_short is None:
        raise SettingsError(f"stage hide({method.name}): refine=None needs falls_short, which says when to refine.")
    how = (
        refine
        if isinstance(refine, Refinement)
        else structure(Refinement, {} if refine is None else {"steps": refine}, "refine")
    )

    def step(run: Run) -> Run:
        call = partial(method.hide, run.secret, run.cover, generator=run.seed)
        made = evolve(run, last="stego")
        short = None if falls_short is None else lambda held: falls_short(arrive("hide", made, held))
        stego, steps = hide_well(call, how, short, progress)
        return evolve(made, image=stego, stego=stego, refined=steps)

    return Stage(f"hide({method.name})", step, "secret", "cover")


def bare() -> Stage:
    """Send the cover as it is, with nothing hidden in it: what an analyzer makes of that is to be told from what it finds in a scan.

    Example:
        >>> from privmed.pipeline import bare, png, recover
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> run = (bare() | png() | recover("lightih"))(secret, cover)
        >>> run.metrics["recovered_psnr"] < 20  # nothing was hidden, so the secret does not come back
        True
    """
    return Stage("bare()", lambda run: evolve(run, image=run.cover, stego=run.cover, last="stego"), "cover")


def analyze(analyzer: str | Analyzer) -> Stage:
    """Have the server analyse the stego.

    Args:
        analyzer: a name or an analyzer; the run then has ``response``, (B, 3, H, W) in [0, 1].

    Raises:
        MethodNotFoundError: when no installed analyzer has that name.

    Example:
        >>> from privmed.pipeline import analyze, decode, hide, png, recover
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> steps = hide("lightih") | png() | analyze("hidemia") | png() | recover("lightih") | decode("hidemia")
        >>> steps(secret, cover).response.shape
        torch.Size([1, 3, 48, 64])
    """
    method = _analyzer(analyzer)

    def step(run: Run) -> Run:
        response = method.analyze(run.image, generator=run.seed)
        return evolve(run, image=response, response=response, last="response")

    return Stage(f"analyze({method.name})", step, "stego")


def recover(hider: str | Hider, *, progress: Callable[[int, int], None] | None = None) -> Stage:
    """Read the hidden image out of whatever came last.

    Args:
        hider: a name or a hider; the run then has ``recovered``, (B, 3, H, W), unclamped.
        progress: see :meth:`Hider.recover`.

    Raises:
        MethodNotFoundError: when no installed hider has that name.
        SettingsError: for a hider of files.
        InputError: when the stage is run on an image that was published, and hides nothing.

    Example:
        >>> from privmed.pipeline import hide, jpeg, recover
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> (hide("lightih") | jpeg(quality=95) | recover("lightih"))(secret, cover).recovered.shape
        torch.Size([1, 3, 48, 64])
    """
    method = _hider(hider)
    name = f"recover({method.name})"

    def step(run: Run) -> Run:
        if run.last in PUBLISHED:
            raise InputError(f"stage {name} reads what a hider hid, but the image is {run.last} and hides nothing.")
        found = method.recover(run.image, clamp=False, progress=progress, generator=run.seed)
        return evolve(run, recovered=found, last="recovered")

    return Stage(name, step)


def decode(analyzer: str | Analyzer) -> Stage:
    """Turn what was recovered from the response into probabilities.

    Args:
        analyzer: a name or an analyzer; the run then has ``prediction``, (B, 1, H, W), (B, K, H, W) or (B, classes) in [0, 1].

    Raises:
        MethodNotFoundError: when no installed analyzer has that name.

    Example:
        >>> from privmed.pipeline import Pipeline
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> Pipeline.covert(analyzer="hidemia")  # ends with this stage
        hide(lightih) | png() | analyze(hidemia) | png() | recover(lightih) | decode(hidemia)
        >>> Pipeline.covert(analyzer="hidemia")(secret, cover).prediction.shape
        torch.Size([1, 1, 48, 64])
    """
    method = _analyzer(analyzer)

    def step(run: Run) -> Run:
        return evolve(run, prediction=method.decode(run.recovered), presence=method.presence(run.recovered))

    return Stage(f"decode({method.name})", step, "recovered")


def fits(analyzer: Analyzer, hider: Hider) -> bool:
    """Whether these are the very weights of a hider that an analyzer was tuned to; True if its card does not say to which.

    Example:
        >>> import privmed
        >>> from privmed.pipeline import fits
        >>> analyzer = privmed.analyzer("hidemia", weights="busi")
        >>> fits(analyzer, privmed.hider("lightih", weights="broad"))
        True
        >>> fits(analyzer, privmed.hider("lightih", weights="general"))
        False
    """
    tuned = (analyzer.card or {}).get("hider") or {}
    return not tuned or (hider.card or {}).get("sha256") == tuned["sha256"]


def tuned_hider(analyzer: Analyzer, **settings: Any) -> Hider:
    """The hider an analyzer's weights were tuned to, as their model card says; LightIH if they do not say.

    Weights that are not bundled are looked for beside the analyzer's own file, under the name in the card; a card leads nowhere else.

    Raises:
        WeightsError: when the hider's weights are not there, or not the very ones the analyzer was tuned to.

    Example:
        >>> import privmed
        >>> from privmed.pipeline import tuned_hider
        >>> tuned_hider(privmed.analyzer("hidemia", weights="busi")).source.name
        'lightih-broad.safetensors'
    """
    tuned = (analyzer.card or {}).get("hider") or {}
    name, said = str(tuned.get("name", "lightih")), str(tuned.get("weights", registry.BUNDLED))
    known = bundled(registry.load("hider", name))
    if said == registry.BUNDLED:  # the default of the day it was trained, which may be another one now
        said = next((n for n, p in known.items() if read_card(p).get("sha256") == tuned.get("sha256")), said)
    chosen = said
    if tuned and analyzer.source is not None:
        stem = PureWindowsPath(said).stem  # knows both separators
        names = [local_name(f"{n}.safetensors", analyzer.source) for n in (f"{name}-{stem}", stem)]
        near = [analyzer.source.with_name(n) for n in names]
        chosen = next((path for path in near if path.is_file()), said)
    if chosen is said and said not in (registry.BUNDLED, *known):
        raise WeightsError(
            f"{analyzer.name} was tuned to the weights {said!r} of {name}, which are neither bundled nor beside {analyzer.source}. "
            "Put them there, or name the hider."
        )
    hider = registry.hider(name, weights=chosen, **settings)
    if not fits(analyzer, hider):
        raise WeightsError(
            f"{analyzer.name} was tuned to other weights of {hider.name} than those installed (sha256 {tuned['sha256'][:12]}, "
            f"not {hider.card['sha256'][:12]}). Install versions that belong together, or name the hider."
        )
    return hider


def of_images(hider: Hider) -> Hider:
    """The hider, if it hides images.

    Raises:
        SettingsError: when it carries files, in which nothing can be analysed.

    Example:
        >>> import privmed
        >>> from privmed.pipeline import of_images
        >>> of_images(privmed.hider("lightih")).name
        'lightih'
        >>> of_images(privmed.hider("lsbm"))
        Traceback (most recent call last):
        privmed.errors.SettingsError: lsbm carries files under a key; ...
    """
    return hider.refuse() if isinstance(hider, FileHider) else hider


def _hider(hider: str | Hider) -> Hider:
    return of_images(registry.hider(hider) if isinstance(hider, str) else hider)


def _analyzer(analyzer: str | Analyzer) -> Analyzer:
    found = registry.analyzer(analyzer) if isinstance(analyzer, str) else analyzer
    return found.refuse() if isinstance(found, BareAnalyzer) else found
