"""A quick judgement of what was published: what small exploiters learn from it, told beside what they learn from the originals.

A hint, not a proof: the networks are small, train for a few minutes and have two defences. ``privmed bench protection`` judges at length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attrs import evolve
from torch import Tensor

from privmed import registry
from privmed.bench.data import Sample, picture, truth
from privmed.bench.exploiters import Protocol, constant_baseline, exploit
from privmed.data.folders import Item, cut_validation
from privmed.data.protect import read_mask, truth_of
from privmed.errors import PluginError, SettingsError
from privmed.imaging import read
from privmed.interfaces.fitting import Fitting, Report
from privmed.metrics import dice

SIDE, FEWEST, MOST = 128, 8, 200  # of images; how many of them are needed, and how many are looked at
HELD = 0.25  # of the groups, which are judged on
DEFENCES = {
    1: ("blur", "jpeg60"),
    3: ("grey", "blur"),
}  # cheap ones that undo most, by the channels of what is published; each is one more training
PROTOCOL = Protocol(epochs=25, learning_rate=1e-3, batch=8, width=8)
UNJUDGED = "no: what models learn from these images was not measured (privmed protect --judge quick)"


class Sides(NamedTuple):
    """What exploiters train on and what they are judged on."""

    train: list[Item]
    judged: list[Item]


def sides_of(items: list[Item], judged: list[Item]) -> Sides:
    """Cut a set in two, along groups; or take what is judged on from its test part.

    Args:
        items: what is published.
        judged: clean images of a test part that is not published; a part of ``items`` where there is none.

    Raises:
        SettingsError: when either side has too few images to tell anything.
    """
    train, held = (items, judged) if judged else cut_validation(items, HELD)
    if len(train) < FEWEST or len(held) < 2:
        raise SettingsError(
            f"--judge quick: trains on {len(train)} images and judges on {len(held)}, expected at least {FEWEST} and 2. "
            "Protect more images, or leave it out."
        )
    return Sides(spread(train), spread(held))


def spread(items: list[Item]) -> list[Item]:
    """At most ``MOST`` of them, from all over the list."""
    count = min(len(items), MOST)
    return [items[n * len(items) // count] for n in range(count)]


def judge(
    sides: Sides,
    published: Callable[[Item], Path],
    classes: list[str],
    *,
    undone_by: Sequence[str] = (),
    folder: Path | None = None,
    device: str = "cpu",
    report: Report | None = None,
    protocol: Protocol = PROTOCOL,
) -> dict[str, Any]:
    """Train small exploiters and say what they reach on clean images that were not trained on.

    Args:
        sides: from :func:`sides_of`.
        published: where the protected copy of an image lies.
        classes: names of classes, in the order of their numbers; none with masks.
        undone_by: defences to try, where the protector names its own.
        folder: keeps what an interrupted run has done.
        device: where networks compute.
        report: told how far it is.
        protocol: how they train.

    Returns:
        Dice of masks or accuracy of classes: of the constant baseline, of exploiters of the originals (``unprotected``) and of what is
        published: ``undefended``, and ``defended`` by the ``defence`` after which most is learnt; ``defences`` has each by name.

    Raises:
        InputError: for an image or mask that cannot be read.
    """
    judged = loaded(sides.judged, lambda i: i.image, classes)
    clean, protected = (loaded(sides.train, where, classes) for where in (lambda i: i.image, published))
    network, metric = ("resnet18", "accuracy") if classes else ("unet", "dice")
    tried = able(undone_by, protected[1]) or DEFENCES[protected[0].shape[1]]
    runs = {"unprotected": (clean, "none"), "undefended": (protected, "none")}
    runs |= {f"after {name}": (protected, name) for name in tried}
    found: dict[str, Any] = {"metric": metric, "network": network, "images": [len(clean[0]), len(judged[0])]}
    found |= {"width": protocol.width, "epochs": protocol.epochs, "size": SIDE}
    found["constant"] = round(baseline(clean[1], judged[1]), 4)
    reached: dict[str, float] = {}
    for n, (name, (train, change)) in enumerate(runs.items()):

        def tell(_: str, done: int, total: int, figures: dict[str, float], n: int = n, name: str = name) -> None:
            if report is not None:
                report(f"judging: {name}", n * total + done, len(runs) * total, figures)

        fitting = Fitting(tell, kept(folder, name) if folder else None)
        fitting.of = f"{name} {change} {protocol} {digest(train)} {digest(judged)}"
        outcome = exploit(network, train, judged, evolve(protocol), change, device=device, fitting=fitting)
        reached[name] = round(outcome.last[metric], 4)
    for name in runs if folder else ():
        kept(folder, name).unlink(missing_ok=True)
    after = {name: reached.pop(f"after {name}") for name in tried}
    worse = max(after, key=after.__getitem__)  # for the publisher
    return found | reached | {"defence": worse, "defended": after[worse], "defences": after}


def check_defences(names: Sequence[str], protector: str) -> None:
    """Whether the defences that a protector names can be tried here, where no clean images and no other data set are.

    Raises:
        PluginError: naming the one that cannot.
    """
    for name in names:
        defence = registry.part("defence", name)
        if defence.clean or defence.pretrained:
            raise PluginError(
                f"protector {protector}: undone_by names {name}, which needs clean images or another data set. --judge quick has neither."
            )


def able(defences: Sequence[str], truth: Tensor) -> list[str]:
    """Those that can do anything about masks, or about classes."""
    task = "segmentation" if truth.ndim == 4 else "classification"
    return [name for name in defences if task in registry.part("defence", name).tasks]


def kept(folder: Path, name: str) -> Path:
    """Where an interrupted run leaves a training."""
    return folder / f"judge-{re.sub(r'[^a-z0-9]+', '-', name)}.pt"


def loaded(items: list[Item], where: Callable[[Item], Path], classes: list[str]) -> tuple[Tensor, Tensor]:
    """Images and truth as exploiters take them: one channel where all are grey."""
    images, truths = [], []
    for item in items:
        path = where(item)
        view = read(path)
        sample = Sample(name=str(path), image=view.tensor, mask=lambda i=item, v=view: read_mask(i.mask, v.size))
        images.append(picture(sample, SIDE))
        truths.append(truth_of(item, classes, view.size)[0] if classes else truth(sample, SIDE).byte())
    stacked = torch.stack(images)
    if bool((stacked == stacked[:, :1]).all()):
        stacked = stacked[:, :1]
    return stacked, torch.stack(truths)


def baseline(train: Tensor, judged: Tensor) -> float:
    """What is reached by who looks at no image."""
    found = constant_baseline(train, judged)
    if judged.ndim == 1:
        return float((found.argmax(1) == judged).float().mean())
    return float(dice(found, judged.float()).mean())


def digest(data: tuple[Tensor, Tensor]) -> str:
    """Of images and truth."""
    import hashlib

    whole = hashlib.sha256()
    for part in data:
        whole.update(part.contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


def sentences(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What people are told: names and values."""
    what = "Dice" if found["metric"] == "dice" else "accuracy"
    others = [f"after {n} {v:.2f}" for n, v in found.get("defences", {}).items() if n != found["defence"]]
    values = f"{found['unprotected']:.2f} from the originals, {found['undefended']:.2f} from what is published"
    return [
        (f"a small {found['network']} learns", f"{what} {values}"),
        (f"after the defence {found['defence']}", "; ".join([f"{found['defended']:.2f}", *others])),
        ("who looks at no image", f"{found['constant']:.2f}"),
    ]
