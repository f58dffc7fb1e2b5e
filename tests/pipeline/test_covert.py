"""Pipelines: stages in any order that makes sense, and a sentence for those that do not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.errors import InputError, SettingsError, VerificationError
from privmed.imaging import read_wire
from privmed.pipeline import Pipeline, Stage, analyze, bare, blur, decode, hide, jpeg, noise, png, recover, resize
from privmed.refine import AUTO, Refinement
from privmed.testing import sample_images


@pytest.fixture
def images():
    return sample_images(2, size=(40, 48))


def test_a_protocol_is_a_line(images, toy_hider, toy_analyzer):
    protocol = hide(toy_hider) | png() | analyze(toy_analyzer) | png() | recover(toy_hider) | decode(toy_analyzer)
    run = protocol(*images)
    assert repr(protocol) == "hide(toy) | png() | analyze(toy) | png() | recover(toy) | decode(toy)"
    assert run.stego.shape == run.response.shape == (2, 3, 40, 48)
    assert run.prediction.shape == (2, 1, 40, 48)
    levels = run.stego * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert {"stego_psnr", "stego_psnr_y", "stego_ssim", "response_psnr"} <= run.metrics.keys()


def test_covert_is_that_line(images, toy_hider, toy_analyzer):
    covert = Pipeline.covert(toy_hider, toy_analyzer)
    whole = hide(toy_hider) | png() | analyze(toy_analyzer) | png() | recover(toy_hider) | decode(toy_analyzer)
    assert torch.equal(covert(*images).prediction, whole(*images).prediction)


def test_recovered_is_measured_against_the_secret(images, toy_hider):
    run = (hide(toy_hider) | png() | recover(toy_hider))(*images)
    expected = -10 * torch.log10((run.recovered.clamp(0, 1) - images[0]).double().square().flatten(1).mean(1)).mean()
    assert run.metrics["recovered_psnr"] == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("effect", [png(), jpeg(80), blur(0.7), noise(0.02), resize(0.5)], ids=repr)
def test_effects_keep_shape_and_range_and_are_reproducible(images, toy_hider, effect):
    once = (hide(toy_hider) | effect)(*images, seed=3)
    again = (hide(toy_hider) | effect)(*images, seed=3)
    assert torch.equal(once.image, again.image)
    assert torch.equal(once.stego, once.image)
    change = (once.image - hide(toy_hider)(Pipeline()(*images)).image).abs().max()
    assert (change <= 0.51 / 255) if effect.name == "png()" else (change > 1 / 255)
    assert once.image.shape == (2, 3, 40, 48)
    assert once.image.min() >= -1e-6
    assert once.image.max() <= 1 + 1e-6


def test_jpeg_is_a_true_jpeg(images, toy_hider):
    run = (hide(toy_hider) | jpeg(75))(*images)
    stego = hide(toy_hider)(Pipeline()(*images)).image
    pixels = (stego[1] * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    np.testing.assert_array_equal((run.image[1] * 255).round().permute(1, 2, 0).numpy(), np.array(Image.open(buffer)))


def test_blur_keeps_flat_images():
    flat = torch.full((1, 3, 40, 40), 0.3)
    torch.testing.assert_close((Stage.of(lambda x: x) | blur(2))(flat, flat).image, flat)


def test_noise_follows_the_seed(images, toy_hider):
    noisy = hide(toy_hider) | noise(0.1)
    assert not torch.equal(noisy(*images, seed=1).image, noisy(*images, seed=2).image)


def test_any_function_is_a_stage(images, toy_hider):
    run = (hide(toy_hider) | (lambda x: x.flip(3)))(*images)
    assert torch.equal(run.image, hide(toy_hider)(Pipeline()(*images)).image.flip(3))


def test_an_order_that_makes_no_sense_is_told(images, toy_hider, toy_analyzer):
    with pytest.raises(InputError, match=r"stage analyze\(toy\) needs a stego"):
        Pipeline(analyze(toy_analyzer))(*images)
    with pytest.raises(InputError, match="needs a recovered"):
        (hide(toy_hider) | decode(toy_analyzer))(*images)


def test_a_stage_that_changes_the_shape_is_told(images, toy_hider):
    with pytest.raises(InputError, match="must keep the shape"):
        (hide(toy_hider) | (lambda x: x[..., :-1]))(*images)


@pytest.mark.parametrize("make", [lambda: jpeg(0), lambda: blur(0), lambda: noise(-1), lambda: resize(0)])
def test_bad_strengths_are_told(make):
    with pytest.raises(SettingsError):
        make()


def test_through_the_file_it_is_what_the_file_holds(images, toy_hider, tmp_path):
    secret, cover = (x[:1] for x in images)
    seen = []
    sent = hide(toy_hider) | png(tmp_path / "stego.png", check=seen.append)
    run = (sent | recover(toy_hider))(secret, cover)
    assert repr(sent) == "hide(toy) | png(stego.png)"
    assert torch.equal(run.stego, read_wire(tmp_path / "stego.png"))
    assert torch.equal(run.stego, (hide(toy_hider) | png())(secret, cover).stego)
    assert torch.equal(seen[0].stego, run.stego)
    assert seen[0].recovered is None


def test_a_file_that_fails_its_check_is_not_left(images, toy_hider, tmp_path):
    def refuse(run):
        raise VerificationError("no")

    with pytest.raises(VerificationError):
        (hide(toy_hider) | png(tmp_path / "stego.png", check=refuse))(*(x[:1] for x in images))
    assert not list(tmp_path.iterdir())


def test_an_image_that_arrived_is_read_without_secret_or_cover(images, toy_hider, toy_analyzer):
    sent = Pipeline.covert(toy_hider, toy_analyzer)(*images)
    back = (recover(toy_hider) | decode(toy_analyzer))(sent.response)
    assert torch.equal(back.prediction, sent.prediction)
    assert back.metrics == {}


def test_a_bare_photograph_goes_the_same_way(images, toy_hider, toy_analyzer):
    run = (bare() | png() | analyze(toy_analyzer) | png() | recover(toy_hider))(*images)
    assert torch.equal(run.stego, (images[1] * 255).round() / 255)
    assert torch.equal(run.recovered, run.response)


def test_a_known_truth_gives_dice(images, toy_hider, toy_analyzer):
    run = Pipeline.covert(toy_hider, toy_analyzer)(*images, mask=torch.ones(2, 1, 40, 48))
    found = (run.prediction > 0.5).float().mean((1, 2, 3))
    assert run.metrics["dice"] == pytest.approx(float((2 * found / (1 + found)).mean()), abs=1e-6)


def test_refining_happens_where_it_falls_short(images, toy_hider):
    seen = []

    def falls_short(run):
        seen.append(run)
        return run.seed == 1

    stage = Pipeline(hide(toy_hider, refine=None, falls_short=falls_short))
    assert stage(*images, seed=0).refined == 0
    assert stage(*images, seed=1).refined == AUTO
    few = Pipeline(hide(toy_hider, refine=Refinement(steps=2), falls_short=falls_short))
    assert [few(*images, seed=seed).refined for seed in (0, 1)] == [0, 2]
    levels = seen[0].stego * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    with pytest.raises(SettingsError, match="needs falls_short"):
        hide(toy_hider, refine=None)


def test_two_stages_of_noise_are_not_the_same_noise():
    grey = torch.full((1, 3, 40, 48), 0.5)
    once, twice = ((Stage.of(torch.clone) | noise(0.01)), (noise(0.01) | noise(0.01)))
    first, second = once(grey, grey).image - grey, twice(grey, grey).image - grey
    assert not torch.allclose(second, 2 * Pipeline(noise(0.01))(grey, grey).image - 2 * grey, atol=1e-3)
    assert not torch.allclose(first, Pipeline(noise(0.01))(grey, grey).image - grey, atol=1e-3)
