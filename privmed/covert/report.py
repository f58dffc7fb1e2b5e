"""A self-contained HTML page of pictures and figures: no file beside it, no request to anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from privmed.covert.case import CovertResult
from privmed.covert.fidelity import GAIN
from privmed.files import whole_file
from privmed.imaging.raster import encode_png
from privmed.imaging.wire import to_bytes

LESION = (0.98, 0.75, 0.14)  # what was found
TRUTH = (0.20, 0.85, 0.60)  # ground truth


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


def picture(image: Tensor, title: str, text: str = "") -> str:
    """One picture with its caption; a click shows it large."""
    alt = html.escape(f"{title} {text}".strip())
    return (
        f'<figure><a href="#" onclick="zoom(this);return false"><img src="{data_uri(image)}" alt="{alt}"></a>'
        f"<figcaption><b>{html.escape(title)}</b><span>{html.escape(text)}</span></figcaption></figure>"
    )


def case_section(result: CovertResult) -> str:
    """The pictures of one case, in the order in which they are made and sent."""
    i, f, case = result.images, result.figures, result.case
    client = [
        picture(i["secret"], "secret", "the scan, known to the clinic"),
        picture(i["cover"], "cover", "an ordinary photograph"),
    ]
    wire = [
        picture(i["stego"], "stego", f"{f['stego_psnr']:.1f} dB, SSIM {f['stego_ssim']:.3f}"),
        picture(i["difference"], "stego − cover, ×10", "what hiding changed"),
    ]
    if "response" in i:
        wire.append(picture(i["response"], "response", f"{f['response_psnr']:.1f} dB, SSIM {f['response_ssim']:.3f}"))
    back = [
        picture(i["recovered"], "recovered", f"{f['recovered_psnr']:.1f} dB"),
        picture(
            i["error"],
            f"its error, ×{GAIN:g}",
            f"worst patch {f['recovered_worst_patch']:.1f} dB, worst pixel {f['recovered_worst_pixel']:.0f} levels",
        ),
    ]
    if "mask" in i:
        note = f"Dice {f['dice']:.3f}" if "dice" in f else f"{f['foreground']:.1%} of the image"
        back += [
            picture(i["output"], "answer", "read out of the response"),
            picture(overlay(i["secret"], i["foreground"], case.mask), "result", note),
        ]
    if "classes" in i:
        back.append(picture(i["classes"], "classes", "a colour for each"))
    strips = (("At the clinic", client), ("On the wire and at the server", wire), ("Back at the clinic", back))
    body = "".join(
        f'<div class="strip"><h3>{name}</h3><div class="row">{"".join(pictures)}</div></div>'
        for name, pictures in strips
    )
    found = f"<p>{html.escape(result.outcome.words)}</p>" if result.outcome else ""
    warnings = "".join(f'<p class="warning">{html.escape(words)}</p>' for words in result.warnings)
    return f'<section><h2>{html.escape(case.title)}</h2>{found}{warnings}<div class="strips">{body}</div></section>'


def summary(results: Sequence[CovertResult]) -> str:
    """The figures of all cases as a table."""
    head = (
        "hidden",
        "stego / cover",
        "luma",
        "SSIM",
        "scan recovered",
        "worst patch",
        "worst pixel",
        "response / cover",
        "SSIM",
        "Dice",
    )
    rows = []
    for r in results:
        f = r.figures
        response = (f"{f['response_psnr']:.2f} dB", f"{f['response_ssim']:.3f}") if "response_psnr" in f else ("–", "–")
        values = (
            r.case.title,
            f"{f['stego_psnr']:.2f} dB",
            f"{f['stego_psnr_y']:.2f} dB",
            f"{f['stego_ssim']:.3f}",
            f"{f['recovered_psnr']:.2f} dB",
            f"{f['recovered_worst_patch']:.1f} dB",
            f"{f['recovered_worst_pixel']:.0f} levels",
            *response,
            f"{f['dice']:.3f}" if "dice" in f else "–",
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(v)}</td>" for v in values) + "</tr>")
    return (
        f"<table><thead><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def to_html(title: str, results: Sequence[CovertResult], weights: str, lead: str = "") -> str:
    """The whole page; ``weights`` names those in use, ``lead`` is a section before the cases."""
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(title),
        "weights": html.escape(weights),
        "summary": summary(results),
        "cases": lead + "".join(map(case_section, results)),
    }
    for name, text in parts.items():
        template = template.replace(f"{{{{ {name} }}}}", text)
    return template


def write_report(
    path: Path, title: str, results: Sequence[CovertResult], weights: str, *, lead: str = "", overwrite: bool = False
) -> Path:
    """Write the page, whole or not at all."""
    text = to_html(title, results, weights, lead)
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
