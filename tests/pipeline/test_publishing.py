"""Pipelines of protectors, watermarkers and models: what they carry, what they measure, and sentences for orders without sense."""

import numpy as np
import pytest
import torch
from attrs import field, frozen

from privmed import Protector, Watermarker
from privmed.errors import InputError, KeyFileError, SettingsError
from privmed.interfaces.configs import ProtectorConfig
from privmed.interfaces.search import Proposals
from privmed.pipeline import Pipeline, blur, classify, hide, jpeg, noise, png, protect, recover, unlock, watermark
from privmed.testing import sample_images

SIZE = (40, 52)


@frozen(kw_only=True)
class LightConfig(ProtectorConfig):
    """Settings of the toy."""

    epsilon: float = field(default=8 / 255)


class Light(Protector):
    """Brighten what the mask covers, and draw noise beside it."""

    name = "light"
    Config = LightConfig

    def _protect(self, image, mask, generators):
        drawn = torch.stack([torch.rand(image.shape[1:], generator=g) for g in generators])
        truth = mask if mask.ndim == 4 else mask.view(-1, 1, 1, 1).to(image)
        return image + self.config.epsilon * torch.where(truth > 0, 1.0, 2 * drawn - 1)


class Tile(Watermarker):
    """Tries every tenth opacity in the first admissible corner."""

    name = "tile"

    def _search(self, problem, rng):
        logo = problem.fitted_logo()
        y, x = np.argwhere(problem.positions(logo.opacity.shape))[0]
        return Proposals(logo.at(int(x), int(y), limit) for limit in range(15, 256, 30))


def model(images):
    """Class 1 for what is bright in its upper left."""
    bright = images[..., :20, :20].mean((1, 2, 3))
    share = torch.sigmoid(200 * (bright - 0.16))
    return torch.stack([1 - share, share], 1)


@pytest.fixture
def image():
    return (sample_images(2, size=SIZE)[0] * 0.3).mean(1, keepdim=True)


@pytest.fixture
def mask():
    mask = torch.zeros(2, 1, *SIZE)
    mask[..., 24:36, 30:48] = 1
    return mask


def test_a_protected_image_goes_its_way_and_is_measured(image, mask):
    pipeline = protect(Light()) | png() | jpeg(75)
    run = pipeline(image, mask=mask)
    assert repr(pipeline) == "protect(light) | png() | jpeg(quality=75)"
    assert run.protected is run.image
    assert run.image.shape == image.shape
    sent = protect(Light())
    before = Pipeline(sent)(image, mask=mask)
    assert before.metrics["protected_largest_change"] == pytest.approx(8 / 255, abs=0.51 / 255)
    assert run.metrics["protected_psnr"] != before.metrics["protected_psnr"]
    expected = -10 * (before.protected - image).square().flatten(1).mean(1).log10().mean()
    assert before.metrics["protected_psnr"] == pytest.approx(float(expected), abs=1e-3)
    assert set(before.metrics) == {"protected_psnr", "protected_ssim", "protected_largest_change"}


def test_a_batch_gives_what_its_images_give_and_the_seed_decides(image, mask):
    pipeline = protect(Light()) | watermark(Tile(), oracle=model)
    both = pipeline(image, mask=mask, label=torch.tensor([0, 1]), seed=3)
    for n in range(2):
        alone = pipeline(image[n : n + 1], mask=mask[n : n + 1], label=n, seed=3)
        assert torch.equal(alone.protected[0], both.protected[n])
        assert torch.equal(alone.marked[0], both.marked[n])
        assert alone.queries[0] == both.queries[n]
    assert torch.equal(pipeline(image, mask=mask, label=torch.tensor([0, 1]), seed=3).marked, both.marked)
    assert not torch.equal(pipeline(image, mask=mask, label=0, seed=4).protected, both.protected)


def test_classes_are_protected_by_their_label(image, mask):
    light = Light()
    light.tasks = ("classification",)
    for given in ({"label": torch.tensor([0, 1])}, {"label": torch.tensor([0, 1]), "mask": mask}):
        run = Pipeline(protect(light))(image, **given)
        assert torch.equal(run.protected[1:] > image[1:], torch.ones_like(image[1:], dtype=torch.bool))
        assert (run.protected[0] < image[0]).any()


def test_a_mark_misleads_is_counted_and_comes_off(image, mask):
    run = (watermark(Tile(), oracle=model) | classify(model) | unlock(Tile()))(image, label=0)
    rounded = (image * 255).round() / 255
    assert torch.equal(run.unlocked, rounded)
    assert run.fooled == (True, True)
    assert all(q > 1 for q in run.queries)
    assert run.metrics["queries"] == sum(run.queries) / 2
    assert run.metrics["fooled"] == 1
    assert run.metrics["accuracy"] == 0
    assert run.metrics["unlocked_largest_change"] <= 0.51 / 255
    assert run.metrics["marked_largest_change"] > 0.1
    assert Pipeline(classify(model))(image, label=0).metrics == {"accuracy": 1.0}


def test_the_way_may_wash_a_mark_out(image):
    """The model is asked about what arrived: the search was right when it marked, and the accuracy says what is left of it."""
    faint = watermark(Tile(), oracle=model) | (lambda x: 0.3 * x) | classify(model)
    run = faint(image, label=0)
    assert run.metrics["fooled"] == 1
    assert run.metrics["accuracy"] == 1
    assert torch.equal(run.marked, run.image)


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_a_mark_keeps_off_the_lesion_or_touches_it(image, mask, where):
    covered = torch.zeros_like(mask)
    covered[..., :30, :30] = 1
    run = watermark(Tile(), oracle=model, where=where) | png()
    changed = (run(image, mask=covered, label=0).marked - (image * 255).round() / 255).abs() > 1e-6
    assert changed.any()
    assert bool((changed & (covered > 0)).any()) == (where == "inside")


def test_without_a_lesion_outside_is_anywhere_and_inside_nowhere(image, mask):
    empty = torch.zeros_like(mask)
    free, off = (Pipeline(watermark(Tile(), oracle=model, where=w)) for w in ("anywhere", "outside"))
    assert torch.equal(free(image, label=0).marked, off(image, mask=empty, label=0).marked)
    with pytest.raises(InputError, match="no lesion is marked"):
        Pipeline(watermark(Tile(), oracle=model, where="inside"))(image, mask=empty, label=0)


def test_an_altered_mark_does_not_come_off(image):
    with pytest.raises(KeyFileError):
        (watermark(Tile(), oracle=model) | blur() | unlock(Tile()))(image, label=0)


def test_orders_and_calls_without_sense_are_told(image, mask, toy_hider):
    pair = sample_images(1, size=SIZE)
    with pytest.raises(
        InputError, match=r"stage protect\(light\) needs an image that is to be published: .*without a cover"
    ):
        Pipeline(protect(Light()))(*pair, mask=mask[:1])
    with pytest.raises(InputError, match=r"needs what a model would be trained on: .*\(image, mask=\.\.\.\)"):
        Pipeline(protect(Light()))(image)
    with pytest.raises(InputError, match=r"stage watermark\(tile\) needs a label"):
        Pipeline(watermark(Tile(), oracle=model))(image)
    with pytest.raises(InputError, match=r"stage watermark\(tile\) needs a mask"):
        Pipeline(watermark(Tile(), oracle=model, where="outside"))(image, label=0)
    with pytest.raises(InputError, match=r"stage unlock\(tile\) needs a marked image, which no stage before it makes"):
        (protect(Light()) | unlock(Tile()))(image, mask=mask)
    with pytest.raises(InputError, match=r"stage hide\(toy\) needs a secret and a cover"):
        (hide(toy_hider) | png())(image)
    with pytest.raises(InputError, match=r"stage recover\(toy\) reads what a hider hid, but the image is protected"):
        (protect(Light()) | noise(0.01) | recover(toy_hider))(image, mask=mask)
    with pytest.raises(SettingsError, match=r"anywhere, outside, inside, got 'outsid'\. Did you mean 'outside'"):
        watermark(Tile(), oracle=model, where="outsid")


def test_truths_are_checked(image, mask):
    light = Pipeline(protect(Light()))
    with pytest.raises(InputError, match="mask: expected only 0 and 1"):
        light(image, mask=mask * 0.5)
    with pytest.raises(InputError, match="label: expected 2 class numbers"):
        light(image, label=torch.tensor([1]))
    with pytest.raises(InputError, match="oracle: returned values that are no probabilities"):
        Pipeline(classify(lambda x: torch.ones(len(x), 2)))(image)
