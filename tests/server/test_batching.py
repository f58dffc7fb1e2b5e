"""Photographs of one size are analysed together, and nobody suffers from another's."""

import threading

import numpy as np
import pytest
import torch

from privmed.server.batching import Batcher
from privmed.server.settings import ServerSettings


def pixels(value, height=32, width=32):
    return np.full((height, width, 3), value, np.uint8)


class Analyze:
    """Darken by half, remember batches, and wait for ``go`` before the first one."""

    def __init__(self):
        self.shapes, self.values, self.go = [], [], threading.Event()

    def __call__(self, stego):
        self.go.wait(10)
        self.shapes.append((len(stego), *stego.shape[-2:]))
        values = [round(float(x.mean()) * 255) for x in stego]
        self.values.append(values)
        if 13 in values:
            raise RuntimeError("unlucky")
        return stego / 2


@pytest.fixture
def batcher():
    made = []

    def make(analyze, **settings):
        made.append(Batcher(analyze, ServerSettings(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def blocked(batcher, analyze, **settings):
    """A batcher whose thread is at work, so that whatever is handed in waits."""
    made = batcher(analyze, wait=0, **settings)
    first = made.submit(pixels(2, 64, 64))
    while made._waiting:
        pass
    return made, first


def test_one_size_goes_together_and_the_oldest_first(batcher):
    analyze = Analyze()
    made, first = blocked(batcher, analyze)
    answers = [made.submit(pixels(v, side, 32)) for v, side in ((10, 32), (20, 40), (30, 32), (40, 40))]
    analyze.go.set()
    assert [a.result().pixels[0, 0, 0] for a in (first, *answers)] == [1, 5, 10, 15, 20]
    assert analyze.values == [[2], [10, 30], [20, 40]]
    assert [a.result().batch for a in answers] == [2, 2, 2, 2]


@pytest.mark.parametrize("limit", [{"batch": 3}, {"max_pixels": 4 * 32 * 32 - 1}], ids=["images", "pixels"])
def test_a_batch_has_bounds(batcher, limit):
    analyze = Analyze()
    made, _ = blocked(batcher, analyze, **limit)
    answers = [made.submit(pixels(v)) for v in range(20, 27)]
    analyze.go.set()
    for answer in answers:
        answer.result()
    assert [len(v) for v in analyze.values[1:]] == [3, 3, 1]


def test_a_photo_waits_for_others_of_its_size(batcher):
    analyze = Analyze()
    analyze.go.set()
    made = batcher(analyze, wait=1000, batch=3)
    answers = [made.submit(pixels(v)) for v in (10, 20, 30)]
    assert [a.result().batch for a in answers] == [3, 3, 3]  # and none waits out the second: the batch is full


def test_a_photo_alone_is_not_kept_waiting(batcher):
    analyze = Analyze()
    analyze.go.set()
    assert batcher(analyze, wait=5).submit(pixels(10)).result(10).batch == 1


def test_a_photo_that_fails_takes_nobody_down(batcher):
    analyze = Analyze()
    made, _ = blocked(batcher, analyze)
    answers = [made.submit(pixels(v)) for v in (10, 13, 30)]
    analyze.go.set()
    assert answers[0].result().pixels[0, 0, 0] == 5
    assert answers[2].result().pixels[0, 0, 0] == 15
    with pytest.raises(RuntimeError, match="unlucky"):
        answers[1].result()
    assert made.submit(pixels(40)).result().pixels[0, 0, 0] == 20


def test_what_was_cancelled_is_not_computed(batcher):
    analyze = Analyze()
    made, _ = blocked(batcher, analyze)
    answers = [made.submit(pixels(v)) for v in (10, 20)]
    answers[0].cancel()
    analyze.go.set()
    answers[1].result()
    assert analyze.values == [[2], [20]]


def test_closing_finishes_what_was_taken_and_takes_no_more(batcher):
    analyze = Analyze()
    made, first = blocked(batcher, analyze)
    answers = [made.submit(pixels(v, side, 32)) for v, side in ((10, 32), (20, 40))]
    analyze.go.set()
    made.close()
    assert [a.result(0).pixels[0, 0, 0] for a in (first, *answers)] == [1, 5, 10]
    assert not made.ready
    with pytest.raises(RuntimeError, match="stopping"):
        made.submit(pixels(1))


def test_grey_photos_become_colour(batcher):
    analyze = Analyze()
    analyze.go.set()
    answer = batcher(analyze).submit(np.full((32, 32), 100, np.uint8)).result()
    assert answer.pixels.shape == (32, 32, 3)
    assert torch.is_grad_enabled()


def test_a_response_hangs_on_its_batch_by_a_rounding_at_most():
    """Sums in another order may move a value over the edge of one level, and no further."""
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    from privmed import registry

    analyzer = registry.analyzer("hidemia", weights="busi")
    stegos = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([analyzer.analyze(stego) for stego in stegos.split(1)])
    apart = (255 * alone).round() - (255 * analyzer.analyze(stegos)).round()
    assert apart.abs().max() <= 1
