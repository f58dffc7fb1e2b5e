"""What all commands share: their common options, what they say and where, and the sentence for every error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import frozen

from privmed.cli.progress import bar as bar
from privmed.settings import LARGEST_SEED

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, ...")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Where all randomness comes from.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite outputs that exist.")]
Frame = Annotated[int | None, typer.Option(help="Which frame of a multi-frame file, from 0.")]
TrustModel = Annotated[
    bool,
    typer.Option(
        "--trust-model", help="Run models that are programs (.pt, .pt2), in a process that gets tensors alone."
    ),
]
AllowLossy = Annotated[
    bool, typer.Option("--allow-lossy", help="Hide what an 8-bit view shows of a scan that holds more.")
]
Use = Annotated[str, typer.Option(help="What the recovered scan is for: measure (strict) or view. Warns below it.")]
Refine = Annotated[
    str,
    typer.Option(
        help="Steps that make a stego give the scan back better; auto: 20 where it would fall short of --use. "
        "auto\\[bound=2] changes no value by more than two grey levels."
    ),
]
Peak = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Mark only regions as probable as this somewhere: fewer false alarms, more misses."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse (exit code 6) what --use would warn of.")]
TokenFile = Annotated[
    Path | None, typer.Option(help="A file of bearer tokens, one a line; without it PRIVMED_TOKEN is looked for.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the method, name=value; may be repeated.")]


NAMED = 20  # failures that are named


@frozen
class Reporter:
    """Where a command speaks: people read stderr or a terminal, programs read one JSON object on stdout."""

    json: bool
    quiet: bool

    def say(self, text: str = "") -> None:
        """Tell people something."""
        if not self.quiet:
            print(text, file=sys.stderr if self.json else sys.stdout)

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Show names and values."""
        if self.quiet:
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(title), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in rows:
            table.add_row(f"[dim]{escape(name)}[/dim]", escape(value))
        Console(stderr=self.json).print(table)

    def left_out(self, failed: list[tuple[str, str]]) -> None:
        """Name what could not be used: the first ones, of many."""
        for name, why in failed[:NAMED]:
            self.say(f"left out {name}: {why}")
        if len(failed) > NAMED:
            self.say(f"and {len(failed) - NAMED} more, which --json names.")

    def unlisted(self, source: Any) -> None:
        """Say which files of a data set are left out because nothing names them, so that nobody takes them for published."""
        from privmed.errors import InputError

        try:
            there = {item.image for item in source.present()}
        except InputError:  # nothing is there at all, which is said elsewhere
            return
        count = len(there - {item.image for item in source.items()})
        if count:
            self.say(f"{count} pictures are not named in split.csv and are left out.")
        if strays := source.strays():
            first = strays[0].relative_to(source.path)
            self.say(f"{len(strays)} masks belong to no image and are left out, the first of them {first}.")

    def other_hider(self, analyzer: Any, hider: Any) -> None:
        """Warn of a hider that the analyzer was not tuned to, whose stegos it may not understand."""
        from privmed.pipeline import fits

        if not fits(analyzer, hider):
            tuned = analyzer.card["hider"]["name"]
            self.warn(
                f"{analyzer.name} was tuned to {tuned}, and not to these weights of {hider.name}; its results may mean nothing."
            )

    def warn(self, text: str) -> None:
        """Say what nobody may miss, also where nothing else is said."""
        print(f"warning: {text}", file=sys.stderr)

    def finish(self, result: dict[str, Any]) -> None:
        """Hand the result to programs."""
        if self.json:
            print(json.dumps(finite(result), allow_nan=False, default=str))


def finite(value: Any) -> Any:
    """Plain data without infinite numbers and NaN, which JSON does not know: they become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def settings(pairs: list[str] | None) -> dict[str, Any]:
    """Settings given as ``--set name=value``."""
    from privmed.settings import parse_assignments

    return parse_assignments(pairs or [])


def make(kind: str, name: str, weights: str | None, device: str, pairs: list[str] | None = None, **more: Any) -> Any:
    """Create a method as the command line names it."""
    from privmed import registry
    from privmed.devices import pick_device
    from privmed.interfaces import BareAnalyzer

    if kind == "analyzer" and issubclass(cls := registry.load(kind, name), BareAnalyzer):
        cls.refuse()
    chosen = registry.BUNDLED if weights is None else weights
    method = registry.create(kind, name, weights=chosen, device=pick_device(device), **{**more, **settings(pairs)})
    if kind in ("hider", "analyzer") and method.card is None and any(True for _ in method.parameters()):
        from privmed.errors import WeightsError

        raise WeightsError(
            f"{name} has no bundled weights and would answer at random. Give it a weights file (privmed train makes one)."
        )
    return method


def reading(peak: float | None) -> dict[str, float]:
    """Settings of an analyzer by which its answer is read."""
    return {} if peak is None else {"peak": peak}


@contextmanager
def resumable(what: object, how: str = "What is written is whole; go on with --resume.") -> Iterator[None]:
    """Say how an interrupted command is gone on with."""
    from privmed.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"{what}: interrupted. {how}") from error


def check_split(reporter: Reporter, source: Any, split: str | None) -> None:
    """Say where a part of a data set comes from that no table names.

    Raises:
        InputError: when there is no such part.
    """
    from privmed.errors import InputError, did_you_mean

    parts = sorted(set(source.split.values())) if split is not None else []
    if parts and split not in parts:
        raise InputError(
            f"data set {source.path}: has no part {split!r}; there are {', '.join(parts)}.{did_you_mean(split, parts)}"
        )
    if split is not None and not source.has_split:
        reporter.say(
            f"{source.path} has no split.csv: train and test are its folders of those names, or else drawn 8:2 along groups."
        )


def check_outputs(paths: list[Path], force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Say before any work that an output cannot be written, or is an input."""
    from privmed.files import check_not_input, check_writable

    for path in paths:
        check_not_input(path, inputs)
        check_writable(path, overwrite=force)


def decibels(value: float) -> str:
    """A PSNR as people read it."""
    return f"{value:.2f} dB"


def recovered_words(figures: dict[str, float]) -> str:
    """How faithfully a scan came back, as people read it."""
    patch, pixel = figures["recovered_worst_patch"], figures["recovered_worst_pixel"]
    return (
        f"{decibels(figures['recovered_psnr'])}; worst patch {decibels(patch)}, worst pixel {pixel:.0f} of 255 levels"
    )


def in_use(**methods: Any) -> dict[str, dict[str, Any]]:
    """Which weights are in use, and how an answer is read, for programs: ``in_use(hider=..., analyzer=...)``."""
    from privmed.weights import identity

    used = {kind: method for kind, method in methods.items() if method is not None}
    read = {kind: {"peak": peak} if (peak := _peak(method)) else {} for kind, method in used.items()}
    return {kind: {**identity(method), **read[kind]} for kind, method in used.items()}


def in_words(*methods: Any) -> str:
    """Which weights are in use, and how an answer is read, for people."""
    from privmed.weights import spoken

    used = [method for method in methods if method is not None]
    return ", ".join(spoken(m) + (f" (regions that reach {_peak(m):g})" if _peak(m) else "") for m in used)


def _peak(method: Any) -> float:
    """What regions of an analyzer's answer have to reach; 0 for nothing."""
    return getattr(getattr(method, "config", None), "peak", 0.0)
