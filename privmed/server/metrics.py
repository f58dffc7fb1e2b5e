"""What is counted, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32)


class Histogram:
    """How many values lie below each of some bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """As Prometheus reads them."""
        below = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {below}"


class Metrics:
    """Counts of one server; used by the event loop alone."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.bytes: Counter[str] = Counter()
        self.at_work = 0
        self.histograms = {
            "request_seconds": (Histogram(SECONDS), "From a request's headers to the end of its answer."),
            "wait_seconds": (Histogram(SECONDS), "That photographs waited for their batch."),
            "batch_seconds": (Histogram(SECONDS), "That batches took, once for each of their photographs."),
            "batch_images": (Histogram(IMAGES), "Photographs in a batch, once for each of them."),
        }

    def add(self, name: str, value: float) -> None:
        """Put a value into a histogram."""
        self.histograms[name][0].add(value)

    def text(self) -> str:
        """Everything."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests by status.")
        for status, count in sorted(self.requests.items()):
            yield f'privmed_requests_total{{status="{status}"}} {count}'
        yield from _head("bytes_total", "counter", "Bytes of bodies.")
        for direction in ("in", "out"):
            yield f'privmed_bytes_total{{direction="{direction}"}} {self.bytes[direction]}'
        yield from _head("requests_at_work", "gauge", "Photographs taken and not yet answered.")
        yield f"privmed_requests_at_work {self.at_work}"
        for name, (histogram, about) in self.histograms.items():
            yield from _head(name, "histogram", about)
            yield from histogram.lines(f"privmed_{name}")


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP privmed_{name} {about}"
    yield f"# TYPE privmed_{name} {kind}"
