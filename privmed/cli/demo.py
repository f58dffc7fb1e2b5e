"""``privmed demo``: the main job on images that come with dependencies, with a report to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Seed, Voice


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
    """Hide real scans in photographs, have them analysed there, and write a report."""
    from privmed.cli.common import pick_device
    from privmed.data.samples import demo_cases
    from privmed.evaluation.covert import run_case
    from privmed.evaluation.report import write_report
    from privmed.files import make_folder

    make_folder(output)
    voice = Voice(json, quiet)
    methods = _Methods(pick_device(device))
    results = []
    for case in demo_cases(seed):
        voice.say(f"… {case.title}")
        client, server = methods.pair(case.weights)
        results.append(run_case(case, client, server, output, seed=seed, overwrite=True))
    report = write_report(output / "report.html", "privmed demo", results, overwrite=True)
    _table(voice, results)
    voice.say(f"\nLook at {report}")
    voice.finish({"report": str(report), "cases": [{"name": r.case.name, **r.figures} for r in results]})


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


def _table(voice: Voice, results: list) -> None:
    if voice.quiet:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "hidden", "stego / cover", "SSIM", "recovered", "response / cover", "Dice", box=None, padding=(0, 2, 0, 0)
    )
    for r in results:
        f = r.figures
        table.add_row(
            r.case.title,
            f"{f['stego_psnr']:.1f} dB",
            f"{f['stego_ssim']:.3f}",
            f"{f['recovered_psnr']:.1f} dB",
            f"{f['response_psnr']:.1f} dB" if "response_psnr" in f else "",
            f"{f['dice']:.2f}" if "dice" in f else "",
        )
    Console(stderr=voice.json).print(table)
