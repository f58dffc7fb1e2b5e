"""What a method learns from, and whom it tells how far it is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import InputError, WeightsError
from privmed.interfaces import validation
from privmed.weights import load_checkpoint

Report = Callable[[str, int, int, dict[str, float]], None]


class Fitting:
    """The surroundings of a fit: progress, checkpoints.

    Args:
        report: called as ``report(stage, done, total, figures)``.
        checkpoint: file that keeps the state; a fit that finds it there goes on from it and gives what an uninterrupted one
            would have given.

    Attributes:
        of: what is fitted to what (method, settings, data), as plain data; a checkpoint of anything else is refused.
            ``Protector.fit`` sets it.
        resumed: whether it goes on with what an interrupted run kept.
        afresh: the way out where a checkpoint cannot be gone on with, a sentence.
    """

    afresh = "Delete it to start afresh."

    def __init__(self, report: Report | None = None, checkpoint: str | os.PathLike[str] | None = None) -> None:
        self._report = report
        self._checkpoint = Path(checkpoint) if checkpoint else None
        self.of: Any = ""
        self.resumed = False

    def tell(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Say how far a stage is."""
        if self._report is not None:
            self._report(stage, done, total, figures)

    def restore(self) -> dict[str, Any] | None:
        """What :meth:`keep` was last given by an interrupted run, or None.

        Raises:
            WeightsError: when the checkpoint cannot be read, or belongs to another method, other settings or other images.
        """
        if self._checkpoint is None or not self._checkpoint.is_file():
            return None
        try:
            kept = load_checkpoint(self._checkpoint)
        except WeightsError:
            raise
        except Exception as error:  # a damaged archive can fail in any way
            raise WeightsError(f"checkpoint {self._checkpoint}: cannot be read. {self.afresh}") from error
        if not isinstance(kept, dict) or kept.keys() != {"of", "state"}:
            raise WeightsError(self.of_another_version())
        if kept["of"] != self.of:
            raise self.of_something_else(kept["of"])
        self.resumed = True
        return kept["state"]

    def of_something_else(self, of: Any) -> Exception:
        """What is raised for a checkpoint of another fit."""
        return WeightsError(
            f"checkpoint {self._checkpoint}: was made with another method, other settings or other images. Go on with those, "
            "or delete it to start afresh."
        )

    def of_another_version(self) -> str:
        """What is said of a checkpoint that holds other things than this version keeps."""
        return f"checkpoint {self._checkpoint}: was made by another version of privmed, which alone can go on with it. {self.afresh}"

    def keep(self, state: dict[str, Any]) -> None:
        """Keep plain data and tensors for a resumed run."""
        if self._checkpoint is not None:
            from privmed.files import write_tensors

            write_tensors(self._checkpoint, {"of": self.of, "state": state})

    def forget(self) -> None:
        """Remove the checkpoint, once what was fitted is kept elsewhere."""
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)


class TrainingPairs:
    """Images and their truth at one size, as 8-bit integers in a temporary file, so that a set may be larger than memory.

    Args:
        dataset: pairs of an image and a mask or class number, see :meth:`Protector.fit`.
        size: side that images and masks are squashed to.

    Raises:
        InputError: for a pair that cannot be used, or none at all.
    """

    def __init__(self, dataset: Iterable[tuple[Tensor, Tensor | int]], size: int) -> None:
        self.size = size
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        masks: set[bool] = set()
        grey: list[bool] = []
        contents = hashlib.sha256()
        labels: list[int] = []
        count = 0
        for image, target in dataset:
            x, truth = self._pair(count, image, target)
            grey.append(image.shape[-3] == 1)
            masks.add(truth.ndim == 4)
            if len(masks) > 1:
                raise InputError(f"pair {count}: some pairs have a mask and some a class; expected one kind.")
            plane = truth.expand(-1, 1, -1, -1) if truth.ndim == 4 else torch.zeros(1, 1, size, size)
            labels.append(0 if truth.ndim == 4 else int(truth))
            pixels = torch.cat([x, plane], 1).mul(255).round().byte().numpy().tobytes()
            contents.update(pixels + bytes(str((labels[-1], grey[-1])), "ascii"))
            self._file.write(pixels)
            count += 1
        if not count:
            raise InputError("dataset: there is no pair in it.")
        self.task = "segmentation" if masks == {True} else "classification"
        self.labels = torch.tensor(labels)
        self.grey = torch.tensor(grey)  # which of them are published in grey, where noise in colour would be lost
        self.channels = 1 if all(grey) else 3
        self.digest = contents.hexdigest()[:16]
        self._file.flush()
        self._data = np.memmap(self._file, np.uint8, "r", shape=(count, 4, size, size))

    def _pair(self, index: int, image: Tensor, target: Tensor | int) -> tuple[Tensor, Tensor]:
        name = f"image of pair {index}"
        if isinstance(image, Tensor) and image.ndim == 3:
            image = image[None]
        x = validation.image(name, image)
        given = target if isinstance(target, Tensor) else torch.tensor(target)
        given = given[None] if given.ndim in (0, 3) else given
        truth = validation.truth(f"mask of pair {index}", given, like=x)
        x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        return x, F.interpolate(truth, (self.size, self.size), mode="nearest") if truth.ndim == 4 else truth

    def __len__(self) -> int:
        return len(self._data)

    def __enter__(self) -> TrainingPairs:
        return self

    def __exit__(self, *_: object) -> None:
        del self._data
        self._file.close()

    def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
        """Images (B, 1 or 3, size, size) in [0, 1], grey if all of the set are, and masks (B, 1, size, size) or class numbers (B,)."""
        rows = torch.from_numpy(np.ascontiguousarray(self._data[np.asarray(indices)])).float().div_(255)
        if self.task == "classification":
            return rows[:, : self.channels], self.labels[np.asarray(indices)]
        return rows[:, : self.channels], rows[:, 3:]

    def epoch(self, batch: int, *seed: int) -> Iterator[np.ndarray]:
        """Indices of all pairs in batches of at most ``batch``, in an order drawn from the seed."""
        order = np.random.default_rng(seed).permutation(len(self))
        for start in range(0, len(order), batch):
            yield order[start : start + batch]
