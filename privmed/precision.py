"""Where sub-networks may run in bfloat16, and the one switch that says so.

Coupling arithmetic stays in float32 everywhere; only the convolutions inside a sub-network are handed to ``subnet_precision``.
Hide and recover must use the same precision: the inverse of a coupling block is exact only if its sub-networks return
identical values both times.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import torch

PRECISIONS = ("auto", "float32", "bf16")


@functools.cache
def bf16_is_fast(device_type: str) -> bool:
    """Whether this machine multiplies bfloat16 matrices faster (a CPU with AMX, an AMD one with AVX512-BF16, a GPU from Ampere on).

    On Intel processors AVX512-BF16 without AMX does not count: convolutions were a third slower in it than in float32.
    """
    if device_type == "cpu":
        capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        vectors = capability.get("avx512_bf16") and "Intel" not in str(capability.get("cpu_name", ""))
        return bool(capability.get("amx_bf16") or capability.get("amx_tile") or vectors)
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return False


def safe_layout(device: torch.device | str) -> torch.memory_format:
    """The fastest memory format of images in which networks of any width can be trained.

    Without AVX-512, oneDNN's gradient of a strided 1x1 convolution on fewer than eight channels writes past its buffer in
    ``channels_last`` (oneDNN issue 6035, in torch 2.13): networks as narrow as exploiters may be are trained in the usual order there.
    """
    if torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() not in ("AVX512", "AVX512_256"):
        return torch.contiguous_format
    return torch.channels_last


def uses_bf16(precision: str, device: torch.device | str) -> bool:
    """Resolve ``"auto"``, ``"float32"`` or ``"bf16"`` for a device."""
    return precision == "bf16" or (precision == "auto" and bf16_is_fast(torch.device(device).type))


def subnet_precision(precision: str, device: torch.device | str) -> AbstractContextManager:
    """Context in which convolutions and matrix products run in the precision asked for."""
    device_type = torch.device(device).type
    return torch.autocast(device_type, torch.bfloat16, enabled=uses_bf16(precision, device))
