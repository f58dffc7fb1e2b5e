"""A recovered scan with one wrong region: said, or refused, however good the mean is."""

import pytest
import torch

from privmed.covert.fidelity import OUTLINE, USABLE, USES, error_map, fidelity, judge, recovery
from privmed.errors import SettingsError, VerificationError


@pytest.fixture
def patched():
    """A scan of 224 x 224 that came back with one colour patch of 8 x 8 that is 150 levels off, and its figures."""
    secret = torch.full((1, 3, 224, 224), 0.2)
    recovered = secret.clone()
    recovered[0, 0, 96:104, 16:24] += 150 / 255
    return recovered, secret, recovery(recovered, secret)


def test_a_wrong_region_that_the_mean_hides_is_warned_of(patched, toy_hider):
    figures = patched[2]
    assert figures["recovered_psnr"] > 38
    assert figures["recovered_worst_pixel"] == pytest.approx(150, abs=0.01)
    assert (figures["recovered_worst_top"], figures["recovered_worst_left"]) == (96, 16)
    for use in USES:
        words = judge(toy_hider, figures, "scan.png", use=use)
        assert "scan.png" in words
        assert "worst patch 9.4 dB" in words
        assert "150 levels" in words
        assert "mean" not in words
        with pytest.raises(VerificationError, match=r"worst patch .* Nothing was written"):
            judge(toy_hider, figures, "scan.png", use=use, strict=True)


def test_what_comes_back_well_is_not_warned_of(patched, toy_hider):
    secret = patched[1]
    assert judge(toy_hider, recovery(secret + 2 / 255, secret), "scan.png", strict=True) == ""


def test_below_the_floor_nothing_is_written_whatever_the_use(patched, toy_hider):
    secret = patched[1]
    figures = recovery(secret + 0.06, secret)
    assert figures["recovered_psnr"] < USABLE
    with pytest.raises(VerificationError, match="nothing was written"):
        judge(toy_hider, figures, "scan.png", use="view")


def test_measuring_asks_for_more_than_viewing(patched, toy_hider):
    secret = patched[1]
    figures = recovery(secret + 6 / 255, secret)
    assert "its mean is 32.6 dB, expected 35 or more" in judge(toy_hider, figures, "scan.png")
    assert judge(toy_hider, figures, "scan.png", use="view") == ""
    with pytest.raises(SettingsError, match="measure or view"):
        fidelity("print")


def test_the_error_map_outlines_the_worst_patch_and_leaves_it_to_see(patched):
    recovered, secret, figures = patched
    picture = error_map(recovered, secret, figures)
    assert picture.shape == (1, 3, 224, 224)
    assert torch.equal(picture[0, :, 96:104, 16:24], torch.ones(3, 8, 8))  # 4 x 150 levels are white
    assert picture[0, :, 92, 20].tolist() == pytest.approx(OUTLINE)
    assert picture[0, :, 94, 20].tolist() == [0, 0, 0]  # between patch and outline
    assert float(picture[0, :, 120:].max()) == 0


def test_the_outline_of_a_patch_in_the_corner_stays_in_the_picture():
    secret = torch.zeros(1, 3, 32, 32)
    recovered = secret.clone()
    recovered[..., :8, :8] = 1
    picture = error_map(recovered, secret, recovery(recovered, secret))
    assert picture[0, :, 4, 12].tolist() == pytest.approx(OUTLINE)
    assert torch.equal(picture[0, :, :8, :8], torch.ones(3, 8, 8))


def test_the_old_name_works_and_says_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"now privmed\.covert\.fidelity"):
        from privmed.evaluation import fidelity as old
    assert old.fidelity is fidelity
    assert old.USES is USES
