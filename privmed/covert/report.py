"""A self-contained HTML page of pictures and figures: no file beside it, no request to anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from privmed.covert.case import CovertResult
from privmed.covert.fidelity import GAIN, OUTLINE
from privmed.covert.outcome import NO_STEGO
from privmed.files import whole_file
from privmed.imaging.raster import encode_png
from privmed.imaging.wire import to_bytes

LESION = (0.98, 0.75, 0.14)  # what was found
TRUTH = (0.20, 0.85, 0.60)  # ground truth
NOT_ANALYSED = (
    "Hidden and read back only, not analysed: no bundled weights of an analyzer were trained on scans of this kind."
)


def overlay(image: Tensor, found: Tensor, truth: Tensor | None = None) -> Tensor:
    """Draw the outline of a mask, and of the truth, on an image (1, 3, H, W)."""
    out = image.expand(-1, 3, -1, -1).clone() * 0.92
    for mask, colour in ((truth, TRUTH), (found, LESION)):
        if mask is not None:
            line = outline(mask)
            out = torch.where(line, torch.tensor(colour).view(1, 3, 1, 1), out)
    return out


def outline(mask: Tensor, width: int = 2) -> Tensor:
    """The inner border of a binary mask (1, 1, H, W), as bool."""
    size = 2 * width + 1
    eroded = -torch.nn.functional.max_pool2d(-mask.float(), size, 1, width)
    return (mask > 0.5) & (eroded < 0.5)


def data_uri(image: Tensor) -> str:
    """A picture (1, C, H, W) as a PNG inside the page."""
    return "data:image/png;base64," + base64.b64encode(encode_png(to_bytes(image))).decode()


def picture(
    image: Tensor, title: str, words: str, figure: str = "", keys: dict[str, tuple[float, ...]] | None = None
) -> dict[str, Any]:
    """One picture with its figure, a sentence on what it shows, and what its colours mean (name to RGB in [0, 1])."""
    colours = {name: f"rgb({', '.join(f'{255 * c:.0f}' for c in rgb)})" for name, rgb in (keys or {}).items()}
    return {"src": data_uri(image), "title": title, "words": words, "figure": figure, "colours": colours}


def case_view(result: CovertResult) -> dict[str, Any]:
    """The pictures of one case, by who sees them."""
    i, f = result.images, result.figures
    return {
        "title": result.case.title,
        "outcome": _outcome(result),
        "warnings": [_without(w, result.case.title) for w in result.warnings],
        "cover": data_uri(i["cover"]),
        "stego": data_uri(i["stego"]),
        "stego_figure": f"{f['stego_psnr']:.1f} dB, SSIM {f['stego_ssim']:.3f}{_refined(f)}",
        "strips": _strips(result),
        "eavesdropper": [
            picture(
                i["difference"],
                "with the same photograph",
                "Stego minus photograph, ten times enlarged: outlines of the scan may show.",
            ),
            picture(
                i["recovered"], "with the public weights", "The scan, as the clinic gets it: hiding is no encryption."
            ),
        ],
    }


def _refined(figures: dict[str, float]) -> str:
    """By how many steps a stego was refined, if it was."""
    return f", refined by {figures['refined']} steps" if figures.get("refined") else ""


def _outcome(result: CovertResult) -> str:
    """What was read out of the response, beside the truth where it is known; or why nothing was."""
    outcome, truth = result.outcome, result.case.mask
    if outcome is None:
        return NOT_ANALYSED
    if outcome.kind == NO_STEGO or truth is None:
        return f"Read out of the server's response: {outcome.words}."
    return (
        f"Read out of the server's response: {outcome.words}; the ground truth {float((truth > 0).float().mean()):.1%}."
    )


def _without(words: str, title: str) -> str:
    """A warning as it stands below a heading that names the scan already."""
    rest = words.removeprefix(f"{title}: ")
    return rest[:1].upper() + rest[1:] if rest != words else words


def _strips(result: CovertResult) -> list[dict[str, Any]]:
    i, f, case = result.images, result.figures, result.case
    worst = f"worst patch {f['recovered_worst_patch']:.1f} dB, worst pixel {f['recovered_worst_pixel']:.0f} levels"
    sent = [picture(i["secret"], "secret", "The scan that is to be hidden.")]
    back = [
        picture(i["recovered"], "recovered", "The scan, read out of the stego again.", f"{f['recovered_psnr']:.1f} dB"),
        picture(i["error"], f"its error, ×{GAIN:g}", "Where it differs.", worst, {"worst patch": OUTLINE}),
    ]
    if "response" in i:
        likeness = f"{f['response_psnr']:.1f} dB, SSIM {f['response_ssim']:.3f}"
        sent.append(picture(i["response"], "response", "What the server sends back, a photograph still.", likeness))
    if "mask" in i:
        figure = f"Dice {f['dice']:.3f}" if "dice" in f else f"{f['foreground']:.1%} of the image"
        found = overlay(i["secret"], i["foreground"], case.mask)
        keys = {"found": LESION} | ({"ground truth": TRUTH} if case.mask is not None else {})
        back += [
            picture(i["output"], "output", "Read out of the response; bright means lesion."),
            picture(found, "result", "The output as an outline on the scan.", figure, keys),
        ]
    if "classes" in i:
        back.append(picture(i["classes"], "classes", "What was found, a colour for each class."))
    name = "At the clinic, and from the server" if "response" in i else "At the clinic"
    return [{"title": name, "pictures": sent}, {"title": "Back at the clinic", "pictures": back}]


COLUMNS = (
    (
        "stego / photograph",
        "{stego_psnr:.2f} dB",
        "PSNR over RGB of the stego against the photograph: how little hiding changed. More is better.",
    ),
    ("luma", "{stego_psnr_y:.2f} dB", "The same over brightness alone, as some papers report it; it is always higher."),
    ("SSIM", "{stego_ssim:.3f}", "How alike their local structure is, 1 where it is the same."),
    ("scan recovered", "{recovered_psnr:.2f} dB", "PSNR of the scan that comes back, a mean over the whole image."),
    (
        "worst patch",
        "{recovered_worst_patch:.1f} dB",
        "The same over the window of 8 × 8 pixels that differs most: a mean hides a wrong region.",
    ),
    ("worst pixel", "{recovered_worst_pixel:.0f} levels", "The largest difference of any pixel, of 255 levels."),
    ("response / photograph", "{response_psnr:.2f} dB", "How little the server's answer changed the photograph."),
    ("response SSIM", "{response_ssim:.3f}", "How alike their local structure is."),
    ("Dice", "{dice:.3f}", "Overlap of what was found with the ground truth, 1 where they are the same."),
)  # heading, value, meaning


def summary(results: Sequence[CovertResult]) -> dict[str, Any]:
    """The figures of all cases as a table, and a sentence on each."""
    return {
        "head": ["hidden", *(name for name, _, _ in COLUMNS)],
        "rows": [[r.case.title, *(_value(value, r.figures) for _, value, _ in COLUMNS)] for r in results],
        "meanings": [(name, words) for name, _, words in COLUMNS],
    }


def _value(template: str, figures: dict[str, float]) -> str:
    try:
        return template.format(**figures)
    except KeyError:  # nothing was analysed, or there is no ground truth
        return "–"


def to_html(title: str, results: Sequence[CovertResult], weights: str, lead: dict[str, Any] | None = None) -> str:
    """The whole page; ``weights`` names those in use, ``lead`` is a section (title, words, pictures) before the cases."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "report.html"
    )
    cases = list(map(case_view, results))
    return template.render(title=title, weights=weights, summary=summary(results), cases=cases, lead=lead)


def write_report(
    path: Path,
    title: str,
    results: Sequence[CovertResult],
    weights: str,
    *,
    lead: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page, whole or not at all."""
    text = to_html(title, results, weights, lead)
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
