"""What happens to images on their way: stages that change whatever is being sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import SettingsError
from privmed.imaging.effects import check_quality, gaussian_blur, jpeg_file
from privmed.imaging.quantise import quantise
from privmed.imaging.wire import write_wire
from privmed.pipeline.run import Run
from privmed.pipeline.stage import Stage, arrive, effect


def png(
    path: str | Path | None = None, *, overwrite: bool = False, check: Callable[[Run], None] | None = None
) -> Stage:
    """Eight bits: clamp and round; with a path, through the very file.

    Args:
        path: where the PNG goes that is sent; the run goes on with what the file holds.
        overwrite: whether an existing file may be replaced.
        check: called with the run as the file delivers it, before the file gets its name; if it raises, nothing is left.

    Raises:
        OutputError: when the stage is run, for a name that is not that of a PNG, or a file that exists or cannot be written.

    Example:
        >>> from privmed.pipeline import hide, png
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> run = (hide("lightih") | png("stego.png"))(secret, cover)  # the file holds what the run goes on with
        >>> bool((run.stego * 255 == (run.stego * 255).round()).all())
        True
    """
    if path is None:
        return effect("png()", lambda image, _seed: quantise(image.detach()))

    def step(run: Run) -> Run:
        def inspect(held: Tensor) -> None:
            if check is not None:
                check(arrive(name, run, held.to(run.image)))

        held = write_wire(path, run.image.clamp(0, 1), overwrite=overwrite, check=inspect)
        return arrive(name, run, held.to(run.image))

    name = f"png({Path(path).name})"
    return Stage(name, step)


def jpeg(quality: int = 90) -> Stage:
    """A true JPEG encoder and decoder (Pillow's, 4:2:0).

    Args:
        quality: Pillow's, 1 to 100.

    Raises:
        SettingsError: for any other.

    Example:
        >>> from privmed.pipeline import hide, jpeg, recover
        >>> hide("lightih") | jpeg(quality=75) | recover("lightih")
        hide(lightih) | jpeg(quality=75) | recover(lightih)
    """
    check_quality(quality)
    return effect(f"jpeg(quality={quality})", lambda image, _seed: jpeg_file(image, quality))


def blur(sigma: float = 1.0) -> Stage:
    """A Gaussian blur, ``sigma`` in pixels.

    Args:
        sigma: above 0.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> import torch
        >>> from privmed.pipeline import Pipeline, blur
        >>> image = torch.rand(1, 3, 64, 64)
        >>> bool(Pipeline(blur(sigma=1.5))(image).image.std() < image.std())
        True
    """
    if not sigma > 0:
        raise SettingsError(f"blur: sigma must be greater than 0, got {sigma}.")
    side = 2 * max(1, round(3 * sigma)) + 1
    return effect(f"blur(sigma={sigma:g})", lambda image, _seed: gaussian_blur(image, sigma, side))


def noise(std: float = 0.01) -> Stage:
    """Gaussian noise of standard deviation ``std`` on the [0, 1] scale, clamped.

    Args:
        std: 0 or more; what is drawn depends on the run's seed and on the place in the pipeline.

    Raises:
        SettingsError: when it is negative.

    Example:
        >>> import torch
        >>> from privmed.pipeline import Pipeline, noise
        >>> noisy, image = Pipeline(noise(std=0.02)), torch.full((1, 3, 64, 64), 0.5)
        >>> torch.equal(noisy(image, seed=1).image, noisy(image, seed=1).image)
        True
        >>> torch.equal(noisy(image, seed=1).image, noisy(image, seed=2).image)
        False
    """
    if not std >= 0:
        raise SettingsError(f"noise: std must be at least 0, got {std}.")

    def apply(image: Tensor, seed: int) -> Tensor:
        drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return (image + std * drawn).clamp(0, 1)

    return effect(f"noise(std={std:g})", apply)


def resize(scale: float = 0.5) -> Stage:
    """Scale down or up and back again (bilinear, antialiased).

    Args:
        scale: of each side, above 0; the shape of the images stays.

    Raises:
        SettingsError: when it is not above 0.

    Example:
        >>> from privmed.pipeline import Pipeline, protect, resize
        >>> protect("tint") | resize(scale=0.5)
        protect(tint) | resize(scale=0.5)
    """
    if not scale > 0:
        raise SettingsError(f"resize: scale must be greater than 0, got {scale}.")

    def apply(image: Tensor, _seed: int) -> Tensor:
        size = [max(1, round(s * scale)) for s in image.shape[-2:]]
        small = F.interpolate(image, size, mode="bilinear", antialias=True)
        return F.interpolate(small, image.shape[-2:], mode="bilinear", antialias=True)

    return effect(f"resize(scale={scale:g})", apply)
