"""Where methods compute."""

from __future__ import annotations

from privmed.errors import SettingsError


def pick_device(device: str) -> str:
    """Resolve ``"auto"``, and check that another device can really compute.

    Raises:
        SettingsError: when it cannot.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).cpu()  # a device without values, such as "meta", fails when it is read from
    except (RuntimeError, AssertionError, ValueError, ImportError) as error:
        raise SettingsError(f"device {device!r} cannot be used on this machine. Choose auto, cpu or cuda.") from error
    return device
