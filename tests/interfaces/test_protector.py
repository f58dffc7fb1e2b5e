"""What the contract of protectors enforces whatever a method returns: bound, range and support, before and after rounding."""

import pytest
import torch
from attrs import frozen

from privmed import Protector
from privmed.settings import setting


@frozen(kw_only=True)
class WildConfig:
    """Settings of :class:`Wild`."""

    epsilon: float = setting(4 / 255, "what it promises")
    seed: int = setting(0, "unused")


class Wild(Protector):
    """Promises a bound inside the mask, and paints everything white or black."""

    name = "wild"
    Config = WildConfig
    level = 1.0

    def _protect(self, image, mask, generators):
        return torch.full_like(image, self.level)

    def _support(self, image, mask):
        return mask > 0


@pytest.mark.parametrize("levels", [255, 65535, None])
@pytest.mark.parametrize("level", [0.0, 1.0, -3.0, 7.0])
@pytest.mark.parametrize("bound", [4 / 255, 3.6 / 255])
def test_a_wild_method_is_held_to_its_promise(levels, level, bound):
    """Inside its support it goes to the bound, or to the end of the range, and no further; elsewhere nothing changes."""
    steps = levels or 255
    image = (torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0)) * steps).round() / steps
    mask = torch.zeros(2, 1, 33, 40)
    mask[..., 5:20, 10:30] = 1
    protector = Wild(WildConfig(epsilon=bound))
    protector.level = level
    protected = protector.protect(image, mask, levels=levels)
    inside = mask.bool().expand_as(image)
    assert torch.equal(protected[~inside], image[~inside])
    reached = int(bound * steps + 1e-6) / steps if levels else bound
    wanted = (image + reached if level > 0.5 else image - reached).clamp(0, 1)
    assert float((protected - image).abs().max()) <= bound + 1e-6
    # float32 cannot tell all ends of the bound in 16 bits: it may stop one level short.
    torch.testing.assert_close(protected[inside], wanted[inside], atol=1.01 / 65535, rtol=0)
