"""What goes through a pipeline: the images so far, and what is measured on them."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from torch import Tensor

from privmed.metrics import dice, foreground_dice, psnr, ssim, worst_pixel

HIDDEN = ("stego", "response")  # compared with the cover
PUBLISHED = ("protected", "marked", "unlocked")  # compared with the original
ARRIVING = (*HIDDEN, *PUBLISHED)  # what the channel changes


@frozen(eq=False, kw_only=True)
class Run:
    """What a pipeline has made so far; every image is (B, C, H, W), and what is not there is None.

    Attributes:
        image: what the last stage put out.
        seed: where stages draw their randomness from.
        secret: what went in to be hidden, with three channels.
        cover: the photograph, already filled to the secret's size, with three channels.
        original: what went in to be published (or read), in a pipeline that was called without a cover.
        mask: the truth, (B, 1, H, W) with values 0 and 1 or numbers of classes.
        label: the truth, (B,).
        stego: the hidden scan as the channel delivered it.
        refined: gradient steps that the stego was refined by.
        response: the server's output as the channel delivered it.
        recovered: what the hider read out of ``image``, unclamped.
        prediction: probabilities, (B, 1, H, W), (B, mask classes, H, W) or (B, classes).
        presence: probabilities that a scan was hidden at all, (B,), of analyzers that tell.
        protected: the unlearnable image as the channel delivered it.
        marked: the watermarked image as the channel delivered it.
        records: of each watermark, all that lifting it takes.
        queries: how often the oracle was asked about each image.
        fooled: whether the oracle no longer found the label in each image when it was marked.
        unlocked: the image with its watermark lifted.
        index: which stage is at work, from 0.
        last: which of these ``image`` is.

    Example:
        >>> from privmed.pipeline import hide, png
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> run = (hide("lightih") | png())(secret, cover)
        >>> run.last, run.stego.shape, sorted(run.metrics)
        ('stego', torch.Size([1, 3, 48, 64]), ['stego_psnr', 'stego_psnr_y', 'stego_ssim'])
    """

    image: Tensor
    seed: int = 0
    secret: Tensor | None = None
    cover: Tensor | None = None
    original: Tensor | None = None
    mask: Tensor | None = None
    label: Tensor | None = None
    stego: Tensor | None = None
    refined: int = 0
    response: Tensor | None = None
    recovered: Tensor | None = None
    prediction: Tensor | None = None
    presence: Tensor | None = None
    protected: Tensor | None = None
    marked: Tensor | None = None
    records: tuple[dict[str, Any], ...] | None = None
    queries: tuple[int, ...] | None = None
    fooled: tuple[bool, ...] | None = None
    unlocked: Tensor | None = None
    index: int = 0
    last: str = ""

    @property
    def truth(self) -> Tensor | None:
        """What a model would be trained on: the mask, or else the label."""
        return self.label if self.mask is None else self.mask

    def similarity(self, name: str) -> dict[str, float]:
        """How one image of the run looks beside its reference, means over the batch.

        Stego and response are compared with the cover: PSNR (RGB and Y) and SSIM. Protected, marked and unlocked images are compared with
        the original: PSNR, SSIM and the largest change of any pixel, on the [0, 1] scale.
        """
        image, reference = getattr(self, name), self.cover if name in HIDDEN else self.original
        out = {f"{name}_psnr": float(psnr(image, reference).mean())}
        if name in HIDDEN:
            out[f"{name}_psnr_y"] = float(psnr(image, reference, channel="y").mean())
        out[f"{name}_ssim"] = float(ssim(image, reference).mean())
        if name in PUBLISHED:
            out[f"{name}_largest_change"] = float(worst_pixel(image, reference).max()) / 255
        return out

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of all that the run has; counts and shares are means over the batch.

        Besides :meth:`similarity`: the PSNR of what was recovered from the stego, the Dice coefficient of a predicted mask or the
        accuracy of predicted classes where the truth is known, queries, and the share of fooled oracles.
        """
        out: dict[str, float] = {}
        for name in ARRIVING:
            if getattr(self, name) is not None:
                out |= self.similarity(name)
        if self.recovered is not None and self.secret is not None and self.response is None:
            out["recovered_psnr"] = float(psnr(self.recovered.clamp(0, 1), self.secret).mean())
        if self.queries is not None and self.fooled is not None:
            out["queries"] = sum(self.queries) / len(self.queries)
            out["fooled"] = sum(self.fooled) / len(self.fooled)
        return out | self.correctness()

    def correctness(self) -> dict[str, float]:
        """Dice coefficient of a predicted mask, or accuracy of predicted classes, where the truth is known."""
        found = self.prediction
        if found is not None and found.ndim == 4 and self.mask is not None:
            of = dice if found.shape[1] == 1 else foreground_dice
            return {"dice": float(of(found, self.mask).mean())}
        if found is not None and found.ndim == 2 and self.label is not None:
            return {"accuracy": float((found.argmax(1) == self.label.to(found.device)).float().mean())}
        return {}
