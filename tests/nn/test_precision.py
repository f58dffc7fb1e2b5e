"""Where bfloat16 pays."""

import pytest
import torch

from privmed.precision import bf16_is_fast


@pytest.mark.parametrize(
    ("name", "features", "fast"),
    [
        ("Intel Xeon", {"avx512_bf16": True, "amx_bf16": True, "amx_tile": True}, True),
        ("Intel Xeon", {"avx512_bf16": True, "amx_bf16": False}, False),
        ("AMD EPYC", {"avx512_bf16": True, "amx_bf16": False}, True),
        ("AMD EPYC", {"avx512_bf16": False}, False),
    ],
)
def test_bf16_is_chosen_where_the_processor_gains_by_it(monkeypatch, name, features, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, **features}, raising=False)
    bf16_is_fast.cache_clear()
    try:
        assert bf16_is_fast("cpu") is fast
    finally:
        bf16_is_fast.cache_clear()
