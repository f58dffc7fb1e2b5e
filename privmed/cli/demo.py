"""``privmed demo``: the main job on images that come with dependencies, with a report to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Reporter, Seed, in_words


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.html and the pictures.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide six scans, two of them phantoms, in photographs, have those two analysed there, and write a report."""
    from privmed.covert.case import run_case
    from privmed.covert.report import write_report
    from privmed.data.samples import demo_cases
    from privmed.devices import pick_device
    from privmed.files import whole_folder
    from privmed.weights import identity

    reporter = Reporter(json, quiet)
    methods = _Methods(pick_device(device))
    results = []
    with whole_folder(output, overwrite=True) as folder:
        for case in demo_cases(seed):
            reporter.say(f"… {case.title}")
            client, server = methods.pair(case.weights)
            results.append(run_case(case, client, server, folder, seed=seed))
        write_report(folder / "report.html", "privmed demo", results, in_words(*methods.all()))
    report = output / "report.html"
    _table(reporter, results)
    reporter.say(f"\nweights: {in_words(*methods.all())}")
    for words in (words for result in results for words in result.warnings):
        reporter.warn(words)
    reporter.say(f"Look at {report}")
    cases = [{"name": r.case.name, **r.figures, "warnings": r.warnings} for r in results]
    reporter.finish({"report": str(report), "weights": [identity(m) for m in methods.all()], "cases": cases})


class _Methods:
    """Hiders and analyzers, made once each."""

    def __init__(self, device: str) -> None:
        self.device, self.made = device, {}

    def pair(self, weights: str | None):
        """The hider for a case, and the analyzer if one is asked for."""
        from privmed import registry
        from privmed.pipeline import tuned_hider

        if weights not in self.made:
            server = registry.create("analyzer", "hidemia", weights, self.device) if weights else None
            client = (
                tuned_hider(server).to(self.device)
                if server
                else registry.create("hider", "lightih", device=self.device)
            )
            self.made[weights] = client, server
        return self.made[weights]

    def all(self) -> list:
        """All methods in use; the hider is the same everywhere as long as the analyzers were tuned to the same."""
        from privmed.weights import spoken

        return list({spoken(m): m for pair in self.made.values() for m in pair if m is not None}.values())


def _table(reporter: Reporter, results: list) -> None:
    if reporter.quiet:
        return
    from rich.console import Console
    from rich.table import Table

    head = ("hidden", "stego", "SSIM", "recovered", "patch", "pixel", "response", "Dice")
    caption = "stego, response: against the cover; patch, pixel: the worst of what is recovered, pixel in levels of 255"
    table = Table(*head, box=None, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    for r in results:
        f = r.figures
        table.add_row(
            r.case.title,
            f"{f['stego_psnr']:.1f} dB",
            f"{f['stego_ssim']:.3f}",
            f"{f['recovered_psnr']:.1f} dB",
            f"{f['recovered_worst_patch']:.1f} dB",
            f"{f['recovered_worst_pixel']:.0f}",
            f"{f['response_psnr']:.1f} dB" if "response_psnr" in f else "",
            f"{f['dice']:.2f}" if "dice" in f else "",
        )
    Console(stderr=reporter.json).print(table)
