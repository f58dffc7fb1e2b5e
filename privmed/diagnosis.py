"""What this machine and this installation can do: processors, codecs, extras, plugins, room on the disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?")
EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
TRANSFER = {
    "JPEG": "1.2.840.10008.1.2.4.50",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
}


def diagnose() -> dict[str, Any]:
    """All of it, as plain data."""
    from privmed import __version__, registry

    rows = [row for kind in registry.GROUPS for row in registry.plugins(kind, check=True)]
    return {
        "privmed": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **_computing(),
        "codecs": _codecs(),
        "extras": extras(),
        "plugins": sorted({row.origin for row in rows}),
        "broken": [row.reason for row in rows if row.status == "broken"],
        "disk": {str(place): shutil.disk_usage(place).free for place in (Path.cwd(), Path(tempfile.gettempdir()))},
    }


def _computing() -> dict[str, Any]:
    import torch

    from privmed.precision import bf16_is_fast

    devices = {"cpu": platform.processor() or platform.machine()}
    for n in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(n)
        devices[f"cuda:{n}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    kinds = sorted({name.partition(":")[0] for name in devices})
    return {
        "torch": torch.__version__,
        "devices": devices,
        "bf16": {kind: bf16_is_fast(kind) for kind in kinds},
        "threads": {"torch": torch.get_num_threads(), "cores": os.cpu_count()},
    }


def _codecs() -> dict[str, bool]:
    """Which files can be read beside those that every installation reads."""
    found = {"PNG, JPEG, TIFF": True, "DICOM": _installed("pydicom"), "NIfTI": _installed("nibabel")}
    if found["DICOM"]:
        from pydicom.pixels import get_decoder

        found |= {f"DICOM, {name}": get_decoder(uid).is_available for name, uid in TRANSFER.items()}
    return found


def extras(distribution: str = "privmed") -> list[dict[str, Any]]:
    """The optional parts of a distribution: what is missing of each, and the command that installs it."""
    needs: dict[str, list[str]] = {}
    for text in requires(distribution) or []:
        wanted, _, marker = text.partition(";")
        if match := EXTRA.search(marker):
            needs.setdefault(match[1], []).append(wanted.strip())
    rows = []
    for name in sorted(needs):
        missing = sorted(n for n in _names(name, needs, distribution) if not _installed(n))
        rows.append({"name": name, "missing": missing, "install": f"pip install '{distribution}[{name}]'"})
    return rows


def _names(extra: str, needs: dict[str, list[str]], distribution: str) -> set[str]:
    """Distributions that an extra asks for, those of other extras that it names included."""
    found: set[str] = set()
    for text in needs.get(extra, []):
        name, more = REQUIREMENT.match(text).groups()  # type: ignore[union-attr]
        if name == distribution:
            for other in (more or "").split(","):
                found |= _names(other.strip(), needs, distribution)
        else:
            found.add(name)
    return found


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
