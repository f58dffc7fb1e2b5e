"""The exploiters, defences and metrics of the core pass the kit, as those of plugins do."""

import pytest

from privmed import registry
from privmed.bench.builtin import BUILT_IN
from privmed.testing import checks_for
from privmed.testing.kit import expected_of

KINDS = ("defence", "metric")
ROWS = [(kind, name, check) for kind in KINDS for name in BUILT_IN[kind] for check in checks_for(kind)]
ROWS += [
    ("exploiter", name, check)
    for name in ("unet", "resnet18", "vit")
    for check in checks_for("exploiter")
    if check.__name__ not in expected_of(f"exploiter:{name}")
]


@pytest.mark.parametrize(("kind", "name", "check"), ROWS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_conforms(kind, name, check):
    if name in ("resnet18", "vit"):
        pytest.importorskip("monai")
    check(registry.part(kind, name))
