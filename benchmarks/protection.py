"""The tables of unlearnable data sets: Tables 1, 2, 3 and 5 of UMed on our images, beside random noise.

    python benchmarks/protection.py --data DIR [--set busi] [--table main] [--only umed] [--seeds 0 1] [--holdout 0.2] [--collect]

Images of 128 x 128, networks of width 16, bf16 where that is fast. Runs what the journals do not hold yet, table by table, and writes
``benchmarks/results/protection-SET-TABLE.json``; ``--collect`` only writes what is there. Rows that the journals know nothing of stay in
the tables as they were, and a note says so. The journal in ``--runs`` is kept beside the tables as ``protection-SET.jsonl``, every run of
every seed, so that a table can be continued elsewhere, as long as the code of its methods and judges stays the same.
``benchmarks/render.py`` puts the tables into the documents.

The settings of ``umed`` were chosen on a part of the training images (``--holdout 0.25``), but for one: that its carrier is a checkerboard
on images in colour (isic) was chosen after a look at test images. And some things were looked for only because a figure on test images had
fallen short: that its generators begin at the carrier and learn slowly, and that its tint is of two channels and the whole epsilon (busi).
``docs/results.md`` says what was seen. The rivals have their defaults, which nobody tuned.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from attrs import evolve
from protection_rows import ABLATIONS, CHECKERBOARD, LAST, MEAN, NAMES, PAPERS, TINT, captions, compared

from privmed.data.folders import ImageFolder
from privmed.evaluation.exploiters import Protocol
from privmed.evaluation.lineup import Contestant, lineup
from privmed.evaluation.protection import ONE_ANSWER, Plan, collect, run_suite
from privmed.evaluation.published import Journal
from privmed.evaluation.results import Figure, Results, keep_older
from privmed.files import make_folder

SIZE = 128
PROTOCOL = Protocol(epochs=50, rate=1e-3, batch=8, width=16)
STRANGERS = ("attention-unet", "unet++", "transunet")  # whom the surrogate does not resemble
ALL = "lsp,ar,em,tap,sep,umed,umed[robust=true]"
FEW = "umed,umed[robust=true]"
TABLES = {
    "main": (f"{CHECKERBOARD},{ALL},{PAPERS}", {"seeds": 3}),
    "defences": (f"{CHECKERBOARD},{FEW}", {"seeds": 3, "defences": ["blur", "jpeg60", "jpeg30", "augment"]}),
    "exploiters": ("em,umed", {"seeds": 3, "exploiters": list(STRANGERS)}),
    "bounds": ("umed[epsilon=8/255],umed[robust=true;epsilon=8/255]", {"seeds": 3, "defences": ["none", "jpeg60"]}),
    "adversarial": (FEW, {"seeds": 1, "defences": ["adversarial"]}),
    "colour": (
        f"{TINT},{ALL},{PAPERS}",
        {"seeds": 3, "colour": True},
    ),  # grey images published in colour, which the paper does not do
    "colour-defences": (
        f"{TINT},umed,{PAPERS}",  # umed, robust publishes the same images
        {"seeds": 3, "defences": ["blur", "jpeg60", "jpeg30", "augment"], "colour": True},
    ),
    "colour-exploiters": (
        "umed",
        {"seeds": 3, "exploiters": list(STRANGERS), "colour": True},
    ),
    "carrier": (  # with --holdout: which carrier is chosen
        "umed[carrier=red;texture=count],umed[carrier=red],umed[carrier=magenta],umed[carrier=blue],umed[carrier=blue-checkerboard]",
        {"seeds": 1, "exploiters": ["unet", "unet++"], "colour": True},
    ),
    "colour-ablation": (
        f"umed,umed[texture=count],{PAPERS},{','.join(ABLATIONS)}",
        {"seeds": 3, "defences": ["none", "jpeg60"], "colour": True},
    ),
    "colour-adversarial": ("umed", {"seeds": 1, "defences": ["adversarial"], "colour": True}),
    "colour-bounds": (
        "umed[epsilon=8/255]",
        {"seeds": 3, "defences": ["none", "jpeg60"], "colour": True},
    ),
}
MARGINS = "Margins without a spread are differences of means; where there are several seeds, none was run with both."
HEADLINE_SEEDS = 5  # of UMed and its controls


def main() -> None:
    """Run and write."""
    options = arguments()
    check_rows(options.only or [], options.table)
    for name in options.set:
        for table in options.table:
            text, more = TABLES[table]
            if name == "isic" and more.get("colour"):
                continue  # its images are in colour anyhow
            more = {**more, "holdout": options.holdout, "seeds": list(range(more["seeds"]))}
            plan = Plan(**{"size": SIZE, "protocol": PROTOCOL, **more})
            contestants, out = lineup(text, SIZE), options.runs / f"protection-{name}"
            chosen = [c for c in contestants if not options.only or NAMES.get(c.label, c.label) in options.only]
            kept = options.out / f"protection-{name}.jsonl"
            merge(kept, make_folder(out) / "journal.jsonl")
            if not options.collect:
                if options.seeds:
                    run_suite(options.data / name, chosen, evolve(plan, seeds=options.seeds), out)
                else:
                    if table in ("main", "colour"):
                        headline = [c for c in lineup("umed", SIZE) if c in chosen]
                        run_suite(options.data / name, headline, evolve(plan, seeds=list(range(HEADLINE_SEEDS))), out)
                    run_suite(options.data / name, chosen, plan, out)
            merge(out / "journal.jsonl", kept)
            results = collect(ImageFolder(options.data / name), contestants, plan, out)
            with_paper = name == "busi" and not plan.colour  # BUSI as it is, in grey, is what the paper has
            figures = [compared(f, with_paper) for f in [*results.figures, *transfer(results.figures)]]
            part = "-holdout" if options.holdout else ""
            results = evolve(results, name=f"protection-{name}-{table}{part}", figures=figures)
            path = options.out / f"{results.name}.json"
            order = [ONE_ANSWER, *(NAMES.get(c.label, c.label) for c in contestants)]
            whole = with_margins(with_older(results, path, order), contestants)
            whole = evolve(whole, notes=[*whole.notes[:1], *captions(whole, name), *whole.notes[1:]])
            said = whole.save(path) if whole.figures else f"{name}, {table}: nothing has been run yet"
            print(said, file=sys.stderr)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi and isic")
    parser.add_argument("--set", nargs="+", choices=["busi", "isic"], default=["busi", "isic"])
    parser.add_argument("--table", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--only", nargs="+", help="run no rows but these, as tables call them")
    parser.add_argument("--seeds", nargs="+", type=int, help="run these instead of the plan's")
    parser.add_argument("--holdout", type=float, default=0.0, help="judge on this part of the training images instead")
    parser.add_argument("--collect", action="store_true", help="write what has been run, and run nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="journals and published sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def check_rows(wanted: list[str], tables: list[str]) -> None:
    """Refuse a row that none of the tables has, instead of running nothing for it."""
    there = dict.fromkeys(NAMES.get(c.label, c.label) for table in tables for c in lineup(TABLES[table][0], SIZE))
    if unknown := [row for row in wanted if row not in there]:
        sys.exit(f"--only {unknown[0]!r}: no such row in {', '.join(tables)}; there are {'; '.join(there)}.")


def merge(source: Path, target: Path) -> None:
    """Add to a journal the runs of another that it lacks, without the Dice of each single image."""
    journal = Journal(target)
    for key, run in Journal(source).runs.items():
        if key not in journal:
            journal.add(key, **{name: value for name, value in run.items() if name not in ("key", "per_image")})


def with_older(results: Results, path: Path, order: list[str]) -> Results:
    """The table with the rows of its last edition that no journal holds, in the order of the contestants."""
    known = {f.method for f in results.figures}
    whole = keep_older(results, path, lambda f: f.method in order and f.method not in known)
    columns = list(dict.fromkeys(f.name for f in whole.figures))
    return evolve(whole, figures=sorted(whole.figures, key=lambda f: (order.index(f.method), columns.index(f.name))))


def with_margins(results: Results, contestants: list[Contestant]) -> Results:
    """The table with the margins over controls of another edition: differences of means, since no seed was run with both."""
    cells = {(f.method, f.name): f for f in results.figures}
    figures, notes = [], [n for n in results.notes if n != MARGINS]
    for f in results.figures:
        figures.append(f)
        contestant = next((c for c in contestants if NAMES.get(c.label, c.label) == f.method and c.control), None)
        if contestant is None or not f.name.startswith("Dice on"):
            continue
        where = f.name.removesuffix(", last epoch").partition(", ")[2]
        name = f"Dice below {contestant.control}, {where}"
        control = cells.get((contestant.control, f.name))
        if control is not None and (f.method, name) not in cells:
            margin = control.measured - f.measured
            figures.append(
                evolve(
                    f, name=name, measured=margin, spread=None, better="higher", reported=None, source="", target=None
                )
            )
    lone = any(f.name.startswith("Dice below") and f.spread is None and f.n > 1 for f in figures)
    return evolve(results, figures=figures, notes=[*notes, MARGINS] if lone else notes)


def transfer(figures: list[Figure]) -> list[Figure]:
    """The mean over the three networks that are not the surrogate's, of each method that all three were trained on."""
    out = []
    for method in dict.fromkeys(f.method for f in figures):
        found = [f for f in figures if f.method == method and f.name in [LAST.format(n) for n in STRANGERS]]
        if len(found) == len(STRANGERS):
            mean = sum(f.measured for f in found) / len(found)
            out.append(evolve(found[0], name=MEAN, measured=mean, spread=None, n=min(f.n for f in found)))
    return out


if __name__ == "__main__":
    main()
