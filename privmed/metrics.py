"""Every metric, once: figures of merit of each item of a batch, for images in [0, 1], masks and outputs of models."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from privmed.errors import InputError, MissingDependencyError
from privmed.imaging.labels import label_map, one_hot

STRIP = 2**18  # pixels
HALO = 5  # half the window of SSIM
PATCH = 8  # side of the window that the worst patch is looked for with
WINDOW = 5  # of the local mean that outlines stand out from
FLAT = 1e-12  # product of variances below which nothing stands out
SILENT = 0.005  # share of an image; less is nothing
STUDIO = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # ITU-R BT.601 luma in studio range (16 to 235)


def luma(x: Tensor) -> Tensor:
    """Y of YCbCr in studio range, (B, 1, H, W), as HiNet's published PSNR measures it; grey passes as it is."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor(STUDIO, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True) + 16 / 255


def psnr(a: Tensor, b: Tensor, *, channel: str = "rgb") -> Tensor:
    """Peak signal-to-noise ratio in dB with data range 1, (B,).

    Args:
        a, b: (B, C, H, W) in [0, 1].
        channel: ``"rgb"`` over all channels, ``"y"`` over the luma. The luma figure is higher: always say which.

    Returns:
        dB per item; infinite for equal images.

    Raises:
        InputError: for different shapes or another channel.
    """
    _alike(a, b)
    if channel not in ("rgb", "y"):
        raise InputError(f"psnr: channel must be 'rgb' or 'y', got {channel!r}.")
    total = torch.zeros(len(a), dtype=torch.float64)
    for rows in _strips(a):  # in double precision a large image would take gigabytes
        x, y = (luma(i[..., rows, :]) if channel == "y" else i[..., rows, :] for i in (a, b))
        total += (x.double() - y.double()).square().flatten(1).sum(1).cpu()
    values = a.shape[1:].numel() // (a.shape[1] if channel == "y" else 1)
    return decibels(total / values).to(a.device)


def decibels(error: Tensor) -> Tensor:
    """A mean squared error of images in [0, 1] as a PSNR in dB; infinite for 0."""
    return -10 * torch.log10(error).float()


def worst_pixel(a: Tensor, b: Tensor) -> Tensor:
    """Largest absolute difference over pixels and channels, in grey levels (0 to 255), (B,)."""
    _alike(a, b)
    each = [(a[..., rows, :] - b[..., rows, :]).abs().flatten(1).amax(1) for rows in _strips(a)]
    return 255 * torch.stack(each).amax(0)


def worst_patch(a: Tensor, b: Tensor, side: int = PATCH, stride: int = 1) -> tuple[Tensor, Tensor]:
    """PSNR of the window that differs most, and where it lies: a mean over the image hides one that came back wrong.

    Every window of ``side`` x ``side`` pixels that lies in the image is looked at, or every one on a grid of ``stride`` pixels; its
    error is the mean square over its pixels and all channels.

    Args:
        a, b: (B, C, H, W) in [0, 1], sides at least ``side``.
        side: of the window.
        stride: pixels between two windows.

    Returns:
        dB of the worst window of each item with data range 1, (B,), infinite for equal images; its top and left, (B, 2).

    Raises:
        InputError: for different shapes, or images smaller than the window.
    """
    _alike(a, b)
    height, width = a.shape[-2:]
    if min(height, width) < side:
        raise InputError(f"worst_patch: expected sides of at least {side}, got {height} x {width}.")
    found, places = [], []
    for rows in _strips(a[..., : height - side + 1, :], stride):  # where a window begins
        reach = slice(rows.start, rows.stop + side - 1)
        error = (a[..., reach, :] - b[..., reach, :]).float().square().mean(1, keepdim=True)
        windows = torch.nn.functional.avg_pool2d(error, side, stride)
        worst, at = windows.flatten(1).max(1)
        columns = windows.shape[-1]
        found.append(worst)
        places.append(torch.stack([rows.start + stride * (at // columns), stride * (at % columns)], 1))
    worst, strip = torch.stack(found).max(0)
    return decibels(worst), torch.stack(places)[strip, torch.arange(len(a), device=a.device)]


def outline_correlation(a: Tensor, b: Tensor) -> Tensor:
    """How far one image shows the outlines of another, in whatever tones, a negative included, (B,).

    SSIM is low, or below 0, for a picture of the scan in other tones, in which everybody sees the scan. This is the absolute
    correlation over the pixels of what is left of both without their local mean (5 x 5 pixels), averaged
    over the channels: 0 for nothing in common, 1 for equal images and for negatives.

    Args:
        a, b: (B, C, H, W) in [0, 1]; an image without any outline has nothing in common with another.

    Raises:
        InputError: for different shapes.
    """
    _alike(a, b)
    x, y = (high_pass(i.double()).flatten(2) for i in (a, b))
    x, y = (i - i.mean(2, keepdim=True) for i in (x, y))
    together = (x * y).mean(2).square()
    return (together / (x.square().mean(2) * y.square().mean(2) + FLAT)).sqrt().mean(1).float()


def high_pass(image: Tensor) -> Tensor:
    """An image without its local mean, (B, C, H, W): outlines and grain, which a picture shows even where its tones are wrong."""
    return image - torch.nn.functional.avg_pool2d(image, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (11x11 Gaussian window, sigma 1.5, data range 1), averaged over channels, (B,).

    Only windows that lie in the image count, as in the paper, in MONAI and in scikit-image; sides must be at least 11.

    Reference:
        Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004.
    """
    _alike(a, b)
    from torchmetrics.functional.image import structural_similarity_index_measure

    height, width = a.shape[-2:]
    rows = max(2 * HALO, STRIP // width)
    total = torch.zeros(len(a), dtype=torch.float64)
    for top in range(HALO, height - HALO, rows):  # a large image in strips: its filtered copies would take gigabytes
        bottom = min(top + rows, height - HALO)
        strips = (x[..., top - HALO : bottom + HALO, :].float() for x in (a, b))
        _, quality = structural_similarity_index_measure(
            *strips, data_range=1.0, reduction="none", return_full_image=True
        )
        inside = quality[..., HALO:-HALO, HALO:-HALO]
        total += inside.double().mean(1).sum((1, 2)).cpu()
    return (total / ((height - 2 * HALO) * (width - 2 * HALO))).float().to(a.device)


def colour_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean CIEDE2000 over the pixels that differ, (B,); 1 is about what a trained eye just sees side by side. Equal images have 0.

    The arithmetic is scikit-image's (``deltaE_ciede2000``, sRGB under D65); grey images are looked at as colours without chroma.

    Args:
        a, b: (B, 1 or 3, H, W) in [0, 1], alike in shape.

    Raises:
        InputError: when shapes differ.
        MissingDependencyError: without scikit-image.
    """
    try:
        from skimage.color import deltaE_ciede2000, rgb2lab
    except ImportError as error:
        raise MissingDependencyError("CIEDE2000 needs scikit-image: pip install scikit-image.") from error
    _alike(a, b)
    out = []
    for x, y in zip(a, b):
        lab = [rgb2lab(i.expand(3, -1, -1).permute(1, 2, 0).double().cpu().numpy()) for i in (x, y)]
        seen = torch.from_numpy(deltaE_ciede2000(*lab))[(x != y).any(0).cpu()]
        out.append(seen.mean() if len(seen) else torch.zeros(()))
    return torch.stack(out).float()


def _strips(images: Tensor, multiple: int = 1) -> list[slice]:
    """The rows of images in parts of at most ``STRIP`` pixels, or of ``multiple`` rows, of which each part but the last is a multiple."""
    height, width = images.shape[-2:]
    rows = max(1, STRIP // (width * multiple)) * multiple
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def dice(found: Tensor, mask: Tensor, threshold: float = 0.5) -> Tensor:
    """Dice coefficient of probabilities (or a mask) thresholded at 0.5, or of logits at 0, (B,); 1 when both are empty."""
    overlap, total = _overlap(found, mask, threshold)
    return torch.where(total > 0, 2 * overlap / total.clamp_min(1), torch.ones_like(total))


def iou(found: Tensor, mask: Tensor) -> Tensor:
    """Jaccard index of probabilities (or a mask) thresholded at 0.5, (B,); 1 when both are empty."""
    overlap, total = _overlap(found, mask, 0.5)
    union = total - overlap
    return torch.where(union > 0, overlap / union.clamp_min(1), torch.ones_like(union))


def surface_distance(found: Tensor, mask: Tensor) -> Tensor:
    """Average symmetric distance of two outlines in pixels, (B,), of probabilities thresholded at 0.5 and a mask, (B, 1, H, W).

    The mean, over the border pixels of both, of the distance to the nearest border pixel of the other; at the edge of the image a mask
    has a border too. 0 where both are empty, the diagonal of the image where one is: worse than any outline that is there.

    Raises:
        InputError: for different shapes, or several channels.
    """
    from scipy import ndimage

    _alike(found, mask)
    if found.shape[1] != 1:
        raise InputError(f"surface_distance: expected masks (B, 1, H, W), got {tuple(found.shape)}.")
    out = []
    for pair in zip(*((x[:, 0] > 0.5).cpu().numpy() for x in (found, mask)), strict=True):
        if not all(m.any() for m in pair):
            out.append(math.hypot(*mask.shape[-2:]) if any(m.any() for m in pair) else 0.0)
            continue
        one, other = (m & ~ndimage.binary_erosion(m) for m in pair)
        ways = (ndimage.distance_transform_edt(~b)[a] for a, b in ((one, other), (other, one)))
        out.append(float(np.concatenate(list(ways)).mean()))
    return torch.tensor(out, device=found.device)


def task_score(logits: Tensor, truth: Tensor) -> Tensor:
    """How right each output is, (B,) float32: Dice of logits (B, 1, H, W) or (B, K, H, W), or 1 and 0 for logits (B, classes)."""
    if truth.ndim == 1:
        return accuracy(logits, truth)
    return dice(logits, truth, threshold=0.0).float() if logits.shape[1] == 1 else foreground_dice(logits, truth)


def class_dice(found: Tensor, labels: Tensor) -> Tensor:
    """Dice coefficient of each class, (B, K), of probabilities or logits (B, K, H, W), the largest of which counts.

    The truth is a map of class numbers, (B, 1, H, W).
    NaN for a class that neither the output nor the truth of an image has: it is left out of means, and says nothing.
    """
    if labels.shape != (len(found), 1, *found.shape[2:]):
        raise InputError(
            f"class_dice: expected class numbers {(len(found), 1, *found.shape[2:])}, got {tuple(labels.shape)}."
        )
    p, y = (one_hot(x, found.shape[1]).flatten(2).double() for x in (label_map(found), labels))
    return (2 * (p * y).sum(2) / (p.sum(2) + y.sum(2))).float()


def foreground_dice(found: Tensor, labels: Tensor) -> Tensor:
    """The mean Dice of the classes but the background that an image has or shows, (B,); 1 where there are none."""
    return class_dice(found, labels)[:, 1:].nanmean(1).nan_to_num(1.0)


def marked_area(found: Tensor) -> Tensor:
    """Share of the image that probabilities mark as anything but background, (B,); on an image without a lesion all of it is false."""
    return (label_map(found) > 0).flatten(1).double().mean(1).float()


def silent(found: Tensor) -> Tensor:
    """Whether so little is marked that it counts as nothing, (B,) bool: less than half a percent of the image."""
    return marked_area(found) < SILENT


def accuracy(found: Tensor, truth: Tensor) -> Tensor:
    """1 where the most probable of (B, classes) is the right one of (B,), else 0."""
    return (found.argmax(1) == truth).float()


def auc(found: Tensor, truth: Tensor) -> float:
    """Area under the ROC curve of probabilities (N, classes), each class against the rest, the mean of those that can be judged.

    The share of pairs of one image of a class and one of another in which the first has the higher probability, ties counting half.
    A class that no image has, or all have, cannot be judged.

    Raises:
        InputError: when all images are of one class.
    """
    areas = []
    for k in range(found.shape[1]):
        of, others = found[truth == k, k].double(), found[truth != k, k].double()
        if len(of) and len(others):
            above = (of[:, None] > others).double() + 0.5 * (of[:, None] == others).double()
            areas.append(float(above.mean()))
    if not areas:
        raise InputError("auc: expected images of two classes at least, got those of one.")
    return sum(areas) / len(areas)


def _overlap(found: Tensor, mask: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    _alike(found, mask)
    p, y = (found > threshold).flatten(1).double(), (mask > 0.5).flatten(1).double()
    return (p * y).sum(1), p.sum(1) + y.sum(1)


def _alike(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise InputError(f"expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
