"""Figures of merit against hand computation, scikit-image and MONAI."""

import math
import sys

import numpy as np
import pytest
import torch

from privmed import metrics as ours
from privmed.bench.metrics import ColourDifference
from privmed.errors import InputError, MissingDependencyError
from privmed.imaging.labels import one_hot
from privmed.metrics import (
    auc,
    class_dice,
    colour_difference,
    dice,
    iou,
    luma,
    marked_area,
    outline_correlation,
    psnr,
    silent,
    ssim,
    surface_distance,
    task_score,
    worst_patch,
    worst_pixel,
)


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 40, 52, generator=g)
    return a, (a + 0.1 * torch.randn(a.shape, generator=g)).clamp(0, 1)


def test_psnr_of_no_images():
    assert psnr(torch.zeros(0, 3, 32, 32), torch.zeros(0, 3, 32, 32)).shape == (0,)


def test_psnr_by_hand_and_per_item():
    a = torch.zeros(2, 3, 32, 32)
    b = a.clone()
    b[0] += 0.1
    assert psnr(a, b)[0] == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, b)[1] == torch.inf
    assert float(psnr(a, a + 1 / 255)[0]) == pytest.approx(48.13, abs=0.005)


def test_psnr_of_luma_by_hand():
    """0.1 on every channel is 21.9 of 255 levels of Y; a grey image is its own luma."""
    a = torch.zeros(1, 3, 32, 32)
    assert psnr(a, a + 0.1, channel="y")[0] == pytest.approx(-20 * math.log10(21.9 / 255), abs=1e-3)
    assert psnr(a[:, :1], a[:, :1] + 0.1, channel="y")[0] == pytest.approx(20, abs=1e-3)


def test_psnr_and_ssim_equal_scikit_image(pair):
    metrics = pytest.importorskip("skimage.metrics")
    for i, (a, b) in enumerate(zip(*pair)):
        x, y = (t.permute(1, 2, 0).numpy() for t in (a, b))
        assert psnr(*pair)[i] == pytest.approx(metrics.peak_signal_noise_ratio(x, y, data_range=1), abs=1e-3)
        s = metrics.structural_similarity(
            x, y, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
        )
        assert ssim(*pair)[i] == pytest.approx(s, abs=1e-5)


def test_colour_difference_is_scikit_images_over_what_changed():
    color = pytest.importorskip("skimage.color")
    a = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    b = a.clone()
    b[0, 2, :4] = (b[0, 2, :4] + 4 / 255).clamp(0, 1)
    b[1] = (b[1] - 0.1).clamp(0, 1)
    whole = [
        color.deltaE_ciede2000(*(color.rgb2lab(x[i].permute(1, 2, 0).double().numpy()) for x in (a, b)))
        for i in range(3)
    ]
    found = colour_difference(a, b)
    assert found[0] == pytest.approx(whole[0][:4].mean(), rel=1e-5)
    assert found[1] == pytest.approx(whole[1].mean(), rel=1e-5)
    assert found[2] == 0
    grey = colour_difference(a[:, :1], b[:, :1])
    assert grey[1] == pytest.approx(
        float(colour_difference(a[1:2, :1].expand(-1, 3, -1, -1), b[1:2, :1].expand(-1, 3, -1, -1)))
    )
    with pytest.raises(InputError, match="one shape"):
        colour_difference(a, b[:2])


def test_images_that_nothing_changed_do_not_make_a_change_less_visible():
    pytest.importorskip("skimage.color")
    a = torch.rand(2, 3, 8, 8)
    seen = ColourDifference()(torch.stack([a[0], 1 - a[1]]), a)
    assert seen[0] == torch.inf
    assert torch.isfinite(seen[1])


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    with pytest.raises(MissingDependencyError, match="pip install scikit-image"):
        colour_difference(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))


def test_ssim_equals_monai(pair):
    metrics = pytest.importorskip("monai.metrics", reason="needs privmed[monai]")
    theirs = metrics.SSIMMetric(spatial_dims=2, data_range=1.0)(*pair)
    assert torch.allclose(ssim(*pair), theirs.flatten(), atol=1e-5)


def test_worst_pixel_and_patch_by_hand():
    """One pixel is off by 51 levels in one of three channels: 0.2 squared, over 3 x 64 values."""
    a = torch.full((2, 3, 32, 40), 0.5)
    b = a.clone()
    b[0, 1, 31, 39] += 0.2
    assert worst_pixel(a, b).tolist() == pytest.approx([51, 0], abs=1e-4)
    patch, at = worst_patch(a, b)
    assert patch[0] == pytest.approx(-10 * np.log10(0.04 / 192), abs=1e-3)
    assert patch[1] == torch.inf
    assert at[0].tolist() == [24, 32]  # the last window


def test_the_worst_patch_on_a_grid_by_hand():
    image = torch.zeros(1, 3, 64, 64)
    changed = image.clone()
    changed[..., 16:48, 32:64] = 0.1
    value, at = worst_patch(changed, image, 32, 16)
    assert float(value) == pytest.approx(20, abs=1e-4)
    assert at.tolist() == [[16, 32]]
    assert float(worst_patch(changed, image, 32, 32)[0]) == pytest.approx(20 + 10 * math.log10(2), abs=1e-4)


def test_the_worst_patch_lies_on_no_grid(pair):
    """Found between the windows of a grid, in the right item of a batch, as a search by hand finds it."""
    a, b = pair[0].double(), pair[1].double()
    b[1, :, 13:21, 27:35] = 1 - a[1, :, 13:21, 27:35].round()
    windows = np.lib.stride_tricks.sliding_window_view(((a - b) ** 2).numpy(), (8, 8), (2, 3)).mean((1, 4, 5))
    patch, at = worst_patch(a, b)
    for i in range(2):
        assert patch[i] == pytest.approx(-10 * np.log10(windows[i].max()), abs=1e-3)
        assert tuple(at[i].tolist()) == np.unravel_index(windows[i].argmax(), windows[i].shape)
    assert at[1].tolist() == [13, 27]
    with pytest.raises(InputError, match="at least 8"):
        worst_patch(a[..., :7], b[..., :7])


def test_luma_equals_scikit_image(pair):
    color = pytest.importorskip("skimage.color")
    theirs = color.rgb2ycbcr(pair[0][0].permute(1, 2, 0).numpy())[..., 0] / 255
    np.testing.assert_allclose(luma(pair[0])[0, 0], theirs, atol=1e-5)


def test_luma_figure_is_named_and_higher(pair):
    assert (psnr(*pair, channel="y") > psnr(*pair)).all()
    with pytest.raises(InputError, match="'rgb' or 'y'"):
        psnr(*pair, channel="u")


def test_overlap_by_hand():
    """Found 2 of 3 pixels and one wrong one: Dice 4/6, Jaccard 2/4; two empty masks agree."""
    mask, found = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[0, 0, 0, :3] = 1
    found[0, 0, 0, 1:4] = 0.9
    assert dice(found, mask).tolist() == pytest.approx([2 / 3, 1])
    assert iou(found, mask).tolist() == pytest.approx([1 / 2, 1])
    assert dice(found, torch.zeros_like(mask))[0] == 0


def test_scores_of_logits_by_hand():
    """A mask is cut at 0: 1 of 2 found and one wrong, two empty ones agree; a class is right or wrong."""
    logits = torch.tensor([[1.0, 0.3, -1.0], [-1.0, -1.0, -1.0]]).view(2, 1, 1, 3)
    truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).view(2, 1, 1, 3)
    assert task_score(logits, truth).tolist() == [0.5, 1]
    assert task_score(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])).tolist() == [1, 0]


def test_dice_equals_monai():
    metrics = pytest.importorskip("monai.metrics", reason="needs privmed[monai]")
    g = torch.Generator().manual_seed(1)
    a, b = ((torch.rand(5, 1, 16, 16, generator=g) > 0.6).float() for _ in range(2))
    theirs = metrics.DiceMetric(include_background=True, ignore_empty=False)(a, b).flatten()
    torch.testing.assert_close(dice(a, b).float(), theirs.float())


def test_surface_distance_by_hand():
    """Two squares of 4 x 4, one 3 pixels to the right of the other: the columns of 12 border pixels lie 3, 2, 1 and 0 pixels away."""
    a = torch.zeros(1, 1, 20, 20)
    b, line = a.clone(), a.clone()
    a[..., 8:12, 8:12] = 1
    b[..., 8:12, 11:15] = 1
    assert surface_distance(a, b)[0] == pytest.approx((4 * 3 + 2 * 2 + 2 * 1 + 4 * 0) / 12)
    assert surface_distance(a, a).tolist() == [0]
    line[..., 8, :] = 1
    assert surface_distance(line, line.roll(5, 2))[0] == 5


def test_surface_distance_where_nothing_is():
    a, b = torch.zeros(3, 1, 30, 40), torch.zeros(3, 1, 30, 40)
    a[1, :, 5, 5], b[2, :, 5, 5] = 1, 1
    assert surface_distance(a, b).tolist() == [0, 50, 50]
    assert surface_distance(a.bfloat16(), b.bfloat16().requires_grad_()).tolist() == [0, 50, 50]
    with pytest.raises(InputError, match="one shape"):
        surface_distance(a, b[:1])
    with pytest.raises(InputError, match="expected masks"):
        surface_distance(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))


def test_surface_distance_equals_monai():
    metrics = pytest.importorskip("monai.metrics", reason="needs privmed[monai]")
    g = torch.Generator().manual_seed(1)
    blurred = torch.nn.functional.avg_pool2d(torch.rand(6, 1, 48, 60, generator=g), 9, 1, 4)
    a, b = (blurred[:3] > 0.5).float(), (blurred[3:] > 0.49).float()
    theirs = metrics.compute_average_surface_distance(a, b, include_background=True, symmetric=True).flatten()
    torch.testing.assert_close(surface_distance(a, b), theirs.float(), rtol=1e-5, atol=1e-5)


def test_shapes_must_match(pair):
    with pytest.raises(InputError, match="one shape"):
        psnr(pair[0], pair[1][:1])


def test_outlines_are_seen_in_a_negative_and_in_other_tones_but_not_in_noise():
    rng = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 64, 48, generator=rng)
    for other in (a, 1 - a, 0.3 * a + 0.5):
        torch.testing.assert_close(outline_correlation(other, a), torch.ones(2))
    assert outline_correlation(torch.rand(2, 3, 64, 48, generator=rng), a).max() < 0.1
    ramp = torch.linspace(0, 1, 48).expand(2, 3, 64, 48)
    assert outline_correlation(a, 0.5 * a + 0.5 * ramp).min() > 0.99  # the local mean does not count
    assert outline_correlation(torch.full_like(a, 0.5), a).max() == 0
    with pytest.raises(InputError):
        outline_correlation(a, a[..., 1:])


@pytest.mark.parametrize("strip", [1, 52 * 13, 52 * 39])
def test_ssim_in_strips_equals_ssim_of_the_whole(pair, monkeypatch, strip):
    whole = ssim(*pair)
    monkeypatch.setattr(ours, "STRIP", strip)
    assert torch.allclose(ssim(*pair), whole, atol=1e-6)


@pytest.mark.parametrize("strip", [1, 52 * 5, 52 * 13, 52 * 39])
@pytest.mark.parametrize(
    "metric",
    [
        psnr,
        lambda a, b: psnr(a, b, channel="y"),
        worst_pixel,
        lambda a, b: torch.cat([x.flatten().float() for x in worst_patch(a, b)]),
        lambda a, b: torch.cat([x.flatten().float() for x in worst_patch(a, b, 12, 4)]),
    ],
    ids=["psnr", "psnr of luma", "worst pixel", "worst patch", "worst patch on a grid"],
)
def test_large_images_in_strips_have_the_figures_of_the_whole(pair, monkeypatch, strip, metric):
    whole = metric(*pair)
    monkeypatch.setattr(ours, "STRIP", strip)
    torch.testing.assert_close(metric(*pair), whole, rtol=1e-6, atol=1e-5)


def test_dice_of_each_class_by_hand():
    """Truth 0 0 1 1 2 2, found 0 1 1 1 2 0: background 2/4, class 1 4/5, class 2 2/3; class 3 is nowhere."""
    labels = torch.tensor([0.0, 0, 1, 1, 2, 2]).view(1, 1, 1, 6)
    found = one_hot(torch.tensor([0.0, 1, 1, 1, 2, 0]).view(1, 1, 1, 6), 4)
    each = class_dice(found, labels)[0].tolist()
    assert each[:3] == pytest.approx([1 / 2, 4 / 5, 2 / 3])
    assert math.isnan(each[3])
    with pytest.raises(InputError, match="class numbers"):
        class_dice(found, found)


def test_what_is_marked_where_there_is_nothing():
    found = torch.zeros(3, 1, 20, 20)
    found[1, :, 0, :1], found[2, :, :10] = 0.9, 0.9
    assert marked_area(found).tolist() == pytest.approx([0, 1 / 400, 0.5])
    assert silent(found).tolist() == [True, True, False]
    several = torch.stack([1 - found[:, 0], found[:, 0] / 2, found[:, 0] / 3], 1)
    assert torch.equal(marked_area(several), marked_area(found))


def test_auc_equals_that_of_torchmetrics():
    from torchmetrics.functional.classification import multiclass_auroc

    g = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (60,), generator=g)
    found = (torch.randn(60, 3, generator=g) + torch.nn.functional.one_hot(truth, 3)).mul(4).round().softmax(1)
    assert auc(found, truth) == pytest.approx(float(multiclass_auroc(found, truth, 3, average="macro")), abs=1e-6)
    assert auc(found[truth < 2], truth[truth < 2]) > 0.5  # a class that nobody has is left out
    with pytest.raises(InputError, match="two classes at least"):
        auc(found[truth == 1], truth[truth == 1])
