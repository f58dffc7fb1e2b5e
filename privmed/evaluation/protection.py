"""The suite that judges protectors: every published set against every exploiter and defence, over several seeds, beside its controls.

Three controls stand in every table: the unprotected set; random noise within epsilon over the whole image, which must not protect; and
random noise within epsilon on the support of the protector. The last one gives the place of the lesion away and protects well all by
itself, so what a protector is worth is how far it beats that one.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from attrs import Factory, asdict, evolve, frozen
from torch import Tensor

from privmed import __version__
from privmed.data.folders import ImageFolder, Item, cut_validation
from privmed.data.pixels import PictureStore, load_mask
from privmed.errors import InputError
from privmed.evaluation.defences import DEFENCES
from privmed.evaluation.exploiters import EXPLOITERS, Protocol, exploit, one_answer
from privmed.evaluation.lineup import Contestant
from privmed.evaluation.pivot import to_pivot_html
from privmed.evaluation.published import Images, Journal, Published, Tick, code_of
from privmed.evaluation.results import Figure, Results, commit, device_name, figure, provenance
from privmed.evaluation.strips import strips_html, write_strip
from privmed.files import make_folder
from privmed.settings import among, between, setting, side

EPSILON = 4 / 255  # of every method, unless set
ONE_ANSWER = "one answer for all images"
JUDGES = (
    "privmed.evaluation.exploiters",
    "privmed.evaluation.defences",
)  # code that figures depend on, beside the method's
DETAILS = ("the same", "Jaccard")  # too many columns for one table; in the JSON and the page


@frozen(kw_only=True)
class Plan:
    """What is run."""

    size: int = setting(128, "side of all images", side())
    seeds: list[int] = setting(Factory(lambda: [0, 1, 2]), "of protector and exploiter")
    exploiters: list[str] = setting(
        Factory(lambda: ["unet"]), "networks that train on what is published", among(*EXPLOITERS)
    )
    defences: list[str] = setting(Factory(lambda: ["none"]), "what they do first", among(*DEFENCES))
    colour: bool = setting(
        False, "publish grey images in colour, where noise has more room; who makes them grey again undoes a part of it"
    )
    holdout: float = setting(
        0.0,
        "judge on this part of the training images instead of the test split: for choosing settings",
        between(0, 0.9),
    )
    protocol: Protocol = setting(Factory(Protocol), "how they train")


def load_sets(folder: ImageFolder, plan: Plan) -> tuple[Images, Images]:
    """What is published and what exploiters are judged on: the train and the test split, or two parts of the train split.

    Raises:
        InputError: when there are no masks, when one of the two is empty, or when both are the same images.
    """
    train = folder.items("train")
    train, judged = cut_validation(train, plan.holdout) if plan.holdout else (train, folder.items("test"))
    if not train or not judged:
        raise InputError(f"data set {folder.path}: holdout {plan.holdout:g} leaves one side empty; take another part.")
    if train == judged:
        raise InputError(
            f"data set {folder.path}: has no split.csv, so models would be tested on what they trained on. Write one, or judge on "
            "a part of the images with --set holdout=0.25."
        )
    return tuple(load_images(part, folder, plan.size, colour=plan.colour) for part in (train, judged))


def load_images(items: list[Item], folder: ImageFolder, size: int, *, colour: bool = False) -> Images:
    """Images and masks at one size; one channel if all are grey, unless ``colour``.

    Raises:
        InputError: when there are no masks, or only empty ones.
    """
    store = PictureStore(size, squash=True)
    if any(i.mask is None for i in items):
        raise InputError(f"data set {folder.path}: has no masks/, which this suite needs.")
    images = torch.stack([store(i.image) for i in items])
    if not colour and bool((images == images[:, :1]).all()):
        images = images[:, :1]
    masks = torch.stack([load_mask(i.mask, size) for i in items]).byte()
    if not masks.any():
        raise InputError(
            f"data set {folder.path}: all masks of {len(items)} images are empty, so there is nothing to learn."
        )
    return images, masks


def run_suite(
    data: Path,
    contestants: list[Contestant],
    plan: Plan,
    out: Path,
    *,
    device: str = "cpu",
    tick: Tick = lambda *_: None,
) -> Results:
    """Run what is not in the journal yet, and write the table.

    Args:
        data: a segmentation set with a train and a test split.
        contestants: what is published; the controls belong among them.
        plan: seeds, exploiters, defences.
        out: folder for the journal, the JSON and the page.
        device: where exploiters train.
        tick: told how far it is.
    """
    folder = ImageFolder(data)
    clean, test = load_sets(folder, plan)
    journal = Journal(make_folder(out) / "journal.jsonl")
    channels = clean[0].shape[1]
    part = folder.digest() + (f", without {plan.holdout:g}" if plan.holdout else "")
    published_sets = Published(out / "published", part, plan.size, channels)
    common = common_of(folder, plan, channels)
    codes = {c.label: code_of(c, *JUDGES) for c in contestants}
    for seed in plan.seeds:
        for contestant in contestants:
            wanted = {
                key_of(common, contestant, codes[contestant.label], network, defence, seed): (network, defence)
                for network in plan.exploiters
                for defence in plan.defences
            }
            journal = Journal(journal.path)  # others may work in this folder, on other methods
            if all(key in journal for key in wanted):
                continue
            published, looks = published_sets.get(contestant, clean, seed, tick)
            if contestant.method and seed == plan.seeds[0]:
                epsilon = contestant.settings.get("epsilon", EPSILON)
                write_strip(out / "pictures", contestant.label, clean[0], published[0], epsilon)
            for key, (network, defence) in wanted.items():
                if key not in journal:
                    protocol = evolve(plan.protocol, seed=seed)
                    verdict = exploit(network, published, test, protocol, defence, device=device, tick=tick)
                    about = {"entry": asdict(contestant), "network": network, "defence": defence, "seed": seed}
                    made = {"code": codes[contestant.label], "commit": commit(), "device": device_name()}
                    journal.add(key, common=common, **made, **about, **asdict(verdict), **looks)
    results = collect(folder, contestants, plan, out)
    labels = [c.label for c in contestants]
    table = to_pivot_html(results, leave_out=DETAILS)
    results.save(out / "protection.json", extra=table + strips_html(out / "pictures", labels) + "<h2>All figures</h2>")
    return results


def common_of(folder: ImageFolder, plan: Plan, channels: int) -> str:
    """What runs must share to stand in one table."""
    about = {"data": folder.digest(), "size": plan.size, "protocol": asdict(plan.protocol), "version": __version__}
    more = {**({"channels": 1} if channels == 1 else {}), **({"holdout": plan.holdout} if plan.holdout else {})}
    return json.dumps({**about, **more}, sort_keys=True)


def key_of(common: str, contestant: Contestant, code: str, network: str, defence: str, seed: int) -> str:
    """What tells one run from all others: data, protocol, method, settings, code, judge and seed."""
    return f"{common} {json.dumps(asdict(contestant), sort_keys=True)} {code} {network} {defence} {seed}"


def collect(folder: ImageFolder, contestants: list[Contestant], plan: Plan, out: Path) -> Results:
    """The table of what the journal in ``out`` holds so far, of all seeds."""
    (images, masks), (_, judged) = load_sets(folder, plan)
    common = common_of(folder, plan, images.shape[1])
    codes = [(asdict(c), code_of(c, *JUDGES)) for c in contestants]
    journal = Journal(out / "journal.jsonl")
    runs = [r for r in journal.runs.values() if r.get("common") == common and (r["entry"], r.get("code")) in codes]
    blind = float(one_answer(masks, judged).mean())
    return tabulate(runs, contestants, plan, folder, images, len(judged), blind)


def tabulate(
    runs: list[dict],
    contestants: list[Contestant],
    plan: Plan,
    folder: ImageFolder,
    images: Tensor,
    judged: int,
    blind: float,
) -> Results:
    """The table: Dice of each cell, the margin over its control, and how the images look.

    Args:
        runs: lines of the journal.
        contestants: in the order of the rows.
        plan: which cells.
        folder: the data set.
        images: the images that are published, before they are protected.
        judged: how many images exploiters are judged on.
        blind: Dice of one answer for all images, the row above all others.
    """
    figures: list[Figure] = []
    name = folder.path.name
    which = "held-out training images" if plan.holdout else "clean test images"
    cells = {(network, defence) for network in plan.exploiters for defence in plan.defences}
    for contestant in contestants:
        mine = [r for r in runs if r["entry"] == asdict(contestant)]
        control = next((asdict(c) for c in contestants if c.label == contestant.control), None)
        for network in plan.exploiters:
            for defence in plan.defences:
                cell = {r["seed"]: r for r in mine if (r["network"], r["defence"]) == (network, defence)}
                if not cell:
                    continue
                where = network if defence == "none" else f"{network} after {defence}"
                common = {"method": contestant.label, "data": name, "over": "seeds", "better": "lower"}
                figures.append(
                    figure(
                        f"Dice on {which}, {where}, last epoch",
                        values=[r["dice"] for r in cell.values()],
                        **common,
                    )
                )
                figures.append(
                    figure(f"the same, best epoch, {where}", values=[r["best_dice"] for r in cell.values()], **common)
                )
                figures += [
                    figure(f"Jaccard index, {where}, {epoch} epoch", values=[r[key] for r in cell.values()], **common)
                    for key, epoch in (("jaccard", "last"), ("best_jaccard", "best"))
                ]
                rival = {
                    r["seed"]: r
                    for r in runs
                    if r["entry"] == control and (r["network"], r["defence"]) == (network, defence)
                }
                margins = [rival[s]["dice"] - cell[s]["dice"] for s in cell if s in rival]
                if margins:
                    label = f"Dice below {contestant.control}, {where}"
                    figures.append(figure(label, values=margins, **{**common, "better": "higher"}))
        for key, label in (("psnr", "PSNR, protected against original"), ("ssim", "SSIM, protected against original")):
            values = list({r["seed"]: r[key] for r in mine if key in r}.values())
            if values and any((r["network"], r["defence"]) in cells for r in mine):
                unit = "dB" if key == "psnr" else ""
                figures.append(figure(label, contestant.label, values, data=name, over="seeds", unit=unit))
    columns = dict.fromkeys(f.name for f in figures if f.name.startswith("Dice on"))
    figures = [
        *(Figure(name=c, method=ONE_ANSWER, data=name, measured=blind, better="lower") for c in columns),
        *figures,
    ]
    labels = {c.label for c in contestants}
    runs = [r for r in runs if r["entry"]["label"] in labels and (r["network"], r["defence"]) in cells]
    notes = [
        set_up(plan, images, judged),
        *(
            [
                f"A part of {plan.holdout:g} of the training images was held out and judged on; the test split was not opened."
            ]
            if plan.holdout
            else []
        ),
        *([made_at(runs)] if runs else []),
    ]
    return Results(
        name="protection",
        title=f"Unlearnable data sets, {name}: what strangers' models learn",
        figures=figures,
        provenance=provenance(data={name: folder.digest()}, seeds=plan.seeds),
        notes=notes,
    )


def set_up(plan: Plan, images: Tensor, judged: int) -> str:
    """How the figures of a table were measured: images, networks and seeds."""
    p, colour = plan.protocol, "grey" if images.shape[1] == 1 else "colour"
    which = "held-out training images" if plan.holdout else "test images"
    return (
        f"{len(images)} training images of {plan.size} x {plan.size} published in {colour}, {judged} clean {which}; exploiters of width "
        f"{p.width} trained from scratch for {p.epochs} epochs, batch {p.batch}, Adam {p.rate:g}; ± is the standard deviation over seeds "
        "of protector and exploiter together. A Dice, PSNR or SSIM without ± is of one seed."
    )


def made_at(runs: list[dict]) -> str:
    """At which commits, and on which machines; rows with runs of which that was not recorded are named."""
    commits, devices = (sorted({r[key] for r in runs if r.get(key)}) for key in ("commit", "device"))
    bare = dict.fromkeys(r["entry"]["label"] for r in runs if not (r.get("commit") and r.get("device")))
    missing = f" Of some runs of {'; '.join(bare)} commit or machine was not recorded." if bare else ""
    made = f"The runs behind the table: commit {', '.join(commits)}; {'; '.join(devices)}."
    return f"{made}{missing} The line below says where it was put together."
