"""Weights: a ``.safetensors`` file in half precision, and a JSON model card of the same name beside it.

The card says what the weights are (architecture, settings, data, recipe, figures) and holds the sha256 of the file. Nothing is ever
unpickled. Bundled weights live in the folder ``weights`` of a plugin's package, as ``METHOD-NAME.safetensors``.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from privmed.errors import WeightsError, did_you_mean
from privmed.files import make_folder, whole_file
from privmed.limits import check_file, limits, raise_it, read_bytes, read_json
from privmed.settings import unstructure

if TYPE_CHECKING:
    from privmed.interfaces import Method

CARD_VERSION = 1


def bundled(cls: type[Method]) -> dict[str, Path]:
    """Return the weights that ship with a method, by name.

    Example:
        >>> from privmed import registry
        >>> from privmed.weights import bundled
        >>> sorted(bundled(registry.load("hider", "lightih")))
        ['broad', 'general']
    """
    package = sys.modules[cls.__module__].__package__ or ""
    if not package:
        return {}
    folder = Path(str(importlib.resources.files(package.partition(".")[0]))) / "weights"
    prefix = f"{cls.name}-"
    found = {p.stem.removeprefix(prefix): p for p in sorted(folder.glob(f"{prefix}*.safetensors"))}
    return {name: p for name, p in found.items() if "-" not in name or _belongs(p, cls)}


def _belongs(path: Path, cls: type[Method]) -> bool:
    """Whether weights are of a method, or of another one whose name begins like its own; those without a card are taken for its own."""
    try:
        return read_json(card_path(path), error=WeightsError, name=str(path)).get("method") == f"{cls.kind}:{cls.name}"
    except (OSError, ValueError, WeightsError):
        return True


def locate(cls: type[Method], weights: str | os.PathLike[str] | None) -> Path | None:
    """Turn what a user gave (a bundled name, a path, None) into a path.

    Raises:
        WeightsError: when there is no such name or file.

    Example:
        >>> from privmed import registry
        >>> from privmed.weights import locate
        >>> locate(registry.load("hider", "lightih"), "general").name
        'lightih-general.safetensors'
    """
    if weights is None:
        return None
    known = bundled(cls)
    if isinstance(weights, str) and weights in known:
        return known[weights]
    path = Path(weights)
    if os.path.exists(path):  # False also for a name that is too long
        check_file(path, error=WeightsError, name=f"weights {path}")
        return path
    names = ", ".join(known) or "none"
    raise WeightsError(
        f"weights {os.fspath(weights)!r}: no such file, and no bundled weights of {cls.name!r} "
        f"(there are: {names}).{did_you_mean(os.fspath(weights), known)}"
    )


def identity(method: Method) -> dict[str, str | None]:
    """Which weights a method works with: its name, theirs (a bundled name or a file), and the sha256 of the file; None for random ones.

    Example:
        >>> import privmed
        >>> from privmed.weights import identity
        >>> identity(privmed.hider("lightih", weights=None))
        {'method': 'lightih', 'weights': None, 'sha256': None}
        >>> identity(privmed.hider("lightih", weights="general"))["weights"]
        'general'
    """
    if method.source is None:
        return {"method": method.name, "weights": None, "sha256": None}
    owner = getattr(method, "local", method)  # a privmed.client.RemoteAnalyzer is no class of any plugin
    known = {path: name for name, path in bundled(type(owner)).items()}
    digest = (method.card or {}).get("sha256") or hashlib.sha256(read_bytes(method.source)).hexdigest()
    return {"method": method.name, "weights": known.get(method.source, str(method.source)), "sha256": digest}


def spoken(method: Method) -> str:
    """Which weights a method works with, for people: ``lightih general (10ad6c5a)``.

    Example:
        >>> import privmed
        >>> from privmed.weights import spoken
        >>> spoken(privmed.hider("lightih", weights=None))
        'lightih without weights'
    """
    mine = identity(method)
    return (
        f"{method.name} {mine['weights']} ({mine['sha256'][:8]})"
        if mine["sha256"]
        else f"{method.name} without weights"
    )


def card_path(path: Path) -> Path:
    """The model card beside a weights file.

    Example:
        >>> from pathlib import Path
        >>> from privmed.weights import card_path
        >>> card_path(Path("mine.safetensors")).name
        'mine.json'
    """
    return path.with_suffix(".json")


def read_card(path: Path, cls: type[Method] | None = None) -> dict[str, Any]:
    """Read the model card of a weights file, and check that it describes ``cls``.

    Raises:
        WeightsError: when the card is missing, unreadable, or belongs to another method.

    Example:
        >>> from privmed import registry
        >>> from privmed.weights import bundled, read_card
        >>> cls = registry.load("hider", "lightih")
        >>> read_card(bundled(cls)["general"], cls)["method"]
        'hider:lightih'
    """
    beside = card_path(path)
    try:
        card = read_json(beside, error=WeightsError, name=f"weights {path}: the model card {beside.name}")
        method, config = card["method"], card["config"]
        if not isinstance(config, dict):
            raise ValueError("its config holds no settings")
    except FileNotFoundError as error:
        raise WeightsError(f"weights {path}: the model card {beside.name} is missing beside them.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"weights {path}: the model card {beside.name} cannot be read ({error}).") from error
    if cls is not None and method != f"{cls.kind}:{cls.name}":
        raise WeightsError(f"weights {path} are for {method}, not for {cls.kind}:{cls.name}.")
    return card


def load_into(method: Method, path: Path, card: dict[str, Any]) -> None:
    """Load weights into a method and remember their card.

    Args:
        method: made with the settings of the card.
        path: a ``.safetensors`` file.
        card: what :func:`read_card` gives.

    Raises:
        WeightsError: when the file is truncated, altered, or does not fit the method's settings.

    Example:
        >>> import privmed
        >>> from pathlib import Path
        >>> from privmed.weights import load_into, read_card, save
        >>> card = save(privmed.hider("lightih"), "mine.safetensors")
        >>> hider = privmed.hider("lightih", weights=None)
        >>> load_into(hider, Path("mine.safetensors"), read_card(Path("mine.safetensors")))
        >>> hider.source.name
        'mine.safetensors'
    """
    try:
        data = read_bytes(path, error=WeightsError, name=f"weights {path}")
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror}).") from error
    promised = card.get("sha256")
    if promised and hashlib.sha256(data).hexdigest() != promised:
        raise WeightsError(f"weights {path}: the file is damaged or was altered (its sha256 is not that of its card).")
    try:
        state = load_tensors(data)
    except SafetensorError as error:
        raise WeightsError(f"weights {path}: not a whole safetensors file ({error}).") from error
    mine = method.state_dict()
    wrong = sorted(
        k for k in mine.keys() | state.keys() if k not in mine or k not in state or mine[k].shape != state[k].shape
    )
    if wrong:
        raise WeightsError(
            f"weights {path} do not fit {method.name} with these settings: {len(wrong)} of {len(mine)} tensors differ "
            f"(first: {wrong[0]}). They were made with {card['config']}."
        )
    method.load_state_dict({k: v.to(mine[k].dtype) for k, v in state.items()})
    method.card, method.source = card, path


def _compact(tensor: Tensor) -> Tensor:
    """Floating-point values in half precision, but for tensors with values beyond its range, such as variances above 65504."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(torch.isfinite(half), torch.isfinite(tensor)) else tensor.float()


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> Any:
    """Plain data and tensors of a ``.pt`` or ``.pth`` file; nothing in it is run.

    Raises:
        WeightsError: when it is too large once unpacked, or a program rather than data.
        Exception: whatever torch raises on a damaged archive.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from privmed.weights import load_checkpoint
        >>> torch.save({"step": 3, "net": torch.zeros(2)}, "last.pt")
        >>> load_checkpoint(Path("last.pt"))["step"]
        3
    """
    check_file(path, error=WeightsError, name=f"checkpoint {path}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(m.filename.endswith("/constants.pkl") for m in members):  # which some versions of torch would run
            raise WeightsError(f"checkpoint {path}: is a TorchScript program, expected weights alone.")
        if sum(m.file_size for m in members) > limits().file_bytes:
            raise WeightsError(f"checkpoint {path}: unpacks to {raise_it('file_bytes')}")
    return torch.load(path, map_location=device, weights_only=True)


def save(method: Method, path: str | os.PathLike[str], **card: Any) -> dict[str, Any]:
    """Write a method's weights in half precision, where it has the range, with a model card beside them; returns the card.

    Args:
        method: what to save.
        path: a ``.safetensors`` file; the card gets the same name with ``.json``.
        card: further entries of the card: ``data``, ``recipe``, ``metrics``, ``license`` and so on.

    Example:
        >>> import privmed
        >>> from privmed.weights import save
        >>> card = save(privmed.hider("lightih"), "mine.safetensors", data="scans of our own", license="CC0-1.0")
        >>> card["method"], privmed.hider("lightih", weights="mine.safetensors").card["data"]
        ('hider:lightih', 'scans of our own')
    """
    path = Path(path)
    data = save_tensors({k: _compact(v).cpu().contiguous() for k, v in method.state_dict().items()})
    full = {
        "card_version": CARD_VERSION,
        "method": f"{method.kind}:{method.name}",
        "config": unstructure(method.config),
        "parameters": sum(p.numel() for p in method.parameters()),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **card,
    }
    make_folder(path.parent)
    for target, content in ((path, data), (card_path(path), (json.dumps(full, indent=2) + "\n").encode())):
        with whole_file(target, overwrite=True) as temporary:
            temporary.write_bytes(content)
    return full
