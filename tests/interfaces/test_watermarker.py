"""Watermarkers that are nothing like MedLocker, through the same contract."""

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import Watermarker
from privmed.errors import InputError
from privmed.imaging.integers import to_tensor
from privmed.imaging.overlay import Overlay, blend, joined, previews
from privmed.interfaces.search import Problem, Proposals, Search
from privmed.testing import parametrize_with_checks
from privmed.testing.watermarker_checks import sample_image, sample_logo, steady


class Corner(Watermarker):
    """The logo as far up and left as it may lie; no search."""

    name = "corner"
    needs_oracle = False

    def _search(self, problem, rng):
        logo = problem.fitted_logo()
        free = np.argwhere(problem.positions(logo.shape))
        y, x = free[free.sum(1).argmin()]
        return Proposals([logo.at(x, y)])


class TurnedLogos(Search):
    """Two logos, turned, of a size and a tint each: random steps from the best pair so far."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        problem.positions((1, 1))  # or there is no place at all
        self.problem, self.rng, self.turns, self.lowest = problem, rng, 3, np.inf
        self.best = rng.random((2, 6))

    def ask(self):
        self.turns -= 1
        if self.turns < 0:
            return []
        pairs = [np.clip(self.best + step, 0, 1) for step in self.rng.normal(0, 0.4, (40, 2, 6))]
        marks = [joined([self.logo(*numbers) for numbers in pair]) for pair in pairs]
        good = [n for n, mark in enumerate(marks) if not self.problem.fault(mark)]
        self.candidates = [pairs[n] for n in good]
        return [marks[n] for n in good]

    def tell(self, marks, probabilities):
        for candidate, p in zip(self.candidates, probabilities[:, self.problem.label]):
            if p < self.lowest:
                self.lowest, self.best = p, candidate

    def logo(self, x, y, angle, scale, red, opacity) -> Overlay:
        logo = self.problem.fitted_logo(4 + 4 * scale)
        turned = np.asarray(Image.fromarray(logo.opacity).rotate(360 * angle, expand=True))
        rows, columns = (n - m for n, m in zip(self.problem.size, turned.shape))
        colour = np.full((*turned.shape, 3), [255 * red, 200, 40], np.uint8)
        return Overlay(x * columns, y * rows, np.minimum(turned, np.uint8(150 + 105 * opacity)), colour)


class Turned(Watermarker):
    name = "turned"

    def _search(self, problem, rng):
        return TurnedLogos(problem, rng)


@parametrize_with_checks(Corner)
def test_a_fixed_mark_conforms(method, check):
    check(method)


@parametrize_with_checks(Turned)
def test_turned_and_tinted_logos_conform(method, check):
    check(method)


class Given(Watermarker):
    """Proposes what it is given."""

    name = "given"
    needs_oracle = False
    marks = ()

    def _search(self, problem, rng):
        return Proposals(self.marks)


def mark_of(x=0, y=0, size=(8, 10), opacity=200) -> Overlay:
    return Overlay(x, y, np.full(size, opacity, np.uint8), np.full((*size, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (mark_of(x=63), "does not lie inside"),
        (mark_of(y=-1), "does not lie inside"),
        (mark_of(x=20, y=20), "lies where it is forbidden"),
        (Overlay(0, 0, np.ones((4, 4)), np.ones((4, 4, 3), np.uint8)), "both uint8"),
        ((100, 3, 4), "expected an Overlay, got tuple"),
    ],
)
def test_a_mark_that_breaks_the_contract_is_refused(mark, words):
    forbidden = torch.zeros(1, 1, 64, 72)
    forbidden[..., 24:40, 24:40] = 1
    method = Given()
    method.marks = [mark]
    with pytest.raises(InputError, match=f"'given' broke its contract.*{words}"):
        method.embed(sample_image(), sample_logo(), forbidden=forbidden)


def test_a_mark_beside_the_target_is_refused():
    target = torch.zeros(1, 1, 64, 72)
    target[..., 40:, 40:] = 1
    method = Given()
    method.marks = [mark_of()]
    with pytest.raises(InputError, match="does not touch the target"):
        method.embed(sample_image(), sample_logo(), target=target)


def test_a_transparent_part_may_lie_where_it_is_forbidden():
    forbidden = torch.zeros(1, 1, 64, 72)
    forbidden[..., 10:50, 10:50] = 1
    method, image = Given(), sample_image()
    method.marks = [joined([mark_of(), mark_of(60, 55)])]
    made = method.embed(image, sample_logo(), forbidden=forbidden)
    assert made.record["place"] == [0, 0, 70, 63]
    assert torch.equal(made.image[..., 10:50, 10:50], image[..., 10:50, 10:50])


def test_no_proposal_is_one_sentence():
    with pytest.raises(InputError, match="image: given proposes no mark"):
        Given().embed(sample_image(), sample_logo())


def test_equal_marks_are_asked_once_and_the_best_is_kept():
    def oracle(images):
        p = 0.9 - 0.3 * images[..., 40:, 40:].mean((1, 2, 3))
        return torch.stack([p, 1 - p], 1)

    method, image = Given(), sample_image()
    method.marks = [mark_of(), mark_of(50, 50), mark_of(), mark_of(20, 0), mark_of(50, 50)]
    made = method.embed(image, sample_logo(), oracle, 0)
    assert made.queries == 4
    assert made.record["place"] == [50, 50, 10, 8]
    assert method.embed(image, sample_logo()).record["place"] == [0, 0, 10, 8]


def test_one_image_with_a_wrong_label_does_not_stop_the_others():
    from privmed.interfaces.watermarker import Task

    image = sample_image()
    one, two = Corner().place([Task(image=image, label=9), Task(image=image, label=1)], sample_logo(), steady)
    assert "class 9, but the oracle knows 3 classes" in str(one)
    assert two.overlay.x == 0


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_what_the_oracle_is_shown_is_what_is_written(shape):
    rng = np.random.default_rng(0)
    view = rng.integers(0, 256, shape, dtype=np.uint8)
    colours = rng.integers(0, 256, (2, 9, 11, 3), dtype=np.uint8)
    marks = [Overlay(n, 3 * n, rng.integers(0, 256, (9, 11), dtype=np.uint8), colours[n % 2]) for n in range(6)]
    for shown, mark in zip(previews(view, marks), marks):
        assert torch.equal(torch.from_numpy(shown)[None].float() / 255, to_tensor(blend(view, mark, 255)))


def test_joined_marks_cover_each_other_in_order():
    both = joined([mark_of(2, 1, (4, 4), 100), mark_of(4, 3, (4, 4), 200)])
    assert (both.x, both.y, both.opacity.shape) == (2, 1, (6, 6))
    assert both.opacity[0, 0] == 100
    assert both.opacity[2, 2] == 200
    assert both.opacity[0, 5] == 0
