"""How far a command is: a bar on a terminal, else one plain line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 60.0  # seconds between two plain lines
ENOUGH = 10.0  # seconds of a count that say how fast it is


@contextmanager
def bar(reporter: object, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show how far it is on stderr; yields ``tick(done, total, words)``."""
    from rich.console import Console

    console = Console(stderr=True)
    if reporter.quiet:
        yield lambda *_: None
    elif not console.is_terminal:
        yield Lines(what).tick
    else:
        with _on_terminal(console, what) as tick:
            yield tick


@contextmanager
def _on_terminal(console: object, what: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, rate="")

        def tick(done: int, total: int, words: str = "") -> None:
            seen = progress.tasks[0]
            if seen.total is not None and (total != seen.total or done < seen.completed):
                progress.reset(task, total=total)  # another count begins, with a rate of its own
            speed = progress.tasks[0].speed
            rate = f"{speed:.3g}/s" if speed else ""
            progress.update(task, completed=done, total=total, description=words, rate=rate)

        yield tick


class Lines:
    """One line a minute, with the rate since the last and the time left at it; nothing of what takes less.

    Args:
        what: is done.
        clock: gives seconds.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.clock = what, clock
        self._said = self._since = clock()
        self._from = self._done = self._total = 0

    def tick(self, done: int, total: int, words: str = "") -> None:
        """Say it, if it is time. A rate is that of one count: where another begins, so does it."""
        now = self.clock()
        if not self._total or total != self._total or done < self._done:
            self._since, self._from = (now, done) if self._total or done > 1 else (self._since, 0)
        self._done, self._total = done, total
        if now - self._said < EVERY:
            return
        passed = now - self._since
        rate = (done - self._from) / passed if passed >= ENOUGH else 0.0
        left = (
            f", {rate:.3g} a second, about {in_time((total - done) / rate)} left" if rate > 0 and done < total else ""
        )
        print(f"{self.what}: {f'{words}: ' if words else ''}{done:,} of {total:,}{left}", file=sys.stderr, flush=True)
        self._said = self._since = now
        self._from = done


def in_time(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> from privmed.cli.progress import in_time
        >>> in_time(30), in_time(600), in_time(7200)
        ('1 minute', '10 minutes', '2.0 hours')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"
