"""Counts in the format of Prometheus."""

from privmed.server.metrics import Histogram, Metrics


def test_a_histogram_counts_what_lies_below():
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 7):
        histogram.add(value)
    assert list(histogram.lines("x")) == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 10.000000",
        "x_count 4",
    ]


def test_every_series_is_declared_once():
    metrics = Metrics()
    metrics.requests[200] += 2
    lines = metrics.text().splitlines()
    declared = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared)) == 7
    series = [line for line in lines if not line.startswith("#")]
    assert 'privmed_requests_total{status="200"} 2' in series
    assert all(any(line.startswith(name) for name in declared) for line in series)
