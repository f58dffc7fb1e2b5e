"""How far a plan is."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

Progress = Callable[[int, int, str], None]


@define
class Told:
    """Who is told how far a plan is: by its runs, and within one by what its suite counts."""

    progress: Progress
    total: int = 0
    done: int = 0

    def runs(self, more: int, words: str) -> None:
        """So many more are there."""
        self.done += more
        self.progress(self.done, self.total, words)

    def within(self, done: int, total: int, words: str) -> None:
        """A suite tells how far it is in the run at hand."""
        at = f"run {min(self.done + 1, self.total)} of {self.total}, " if self.total else ""
        self.progress(done, total, f"{at}{words}")
