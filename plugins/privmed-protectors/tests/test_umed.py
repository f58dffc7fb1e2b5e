"""UMed is the paper's unless it is told otherwise, and says when it is not."""

import pytest
import torch
from privmed_protectors.texture import texture_map
from privmed_protectors.umed import UMed, UMedConfig

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.errors import SettingsError
from privmed.settings import structure, unstructure


def made(**settings):
    """A protector whose weights take no memory."""
    with torch.device("meta"):
        return UMed(UMedConfig(**settings))


def test_defaults_are_the_papers():
    """Algorithm 1: 400 epochs of the generators and 100 of the surrogate, both at 1e-4, batch 16, four grey levels, LBP and CDC."""
    paper = {
        "epsilon": 4 / 255,
        "width": 64,
        "cycles": 100,
        "batch": 16,
        "learning_rate": 1e-4,
        "generator_learning_rate": 1e-4,
    }
    ours = {"robust": False, "quick": False}
    settings = unstructure(UMedConfig())
    assert settings == {**settings, **paper, **ours, "contour": "cdc", "texture": "code", "size": 224}
    assert made().note == ""


def test_a_quick_fit_says_what_is_short_of_the_paper():
    quick = made(quick=True)
    assert (quick.config.width, quick.config.cycles, quick.config.batch, quick.config.learning_rate) == (8, 10, 8, 1e-3)
    assert quick.note == (
        "umed: the fit is shortened: width 8 instead of 64, cycles 10 instead of 100, batch 8 instead of 16, "
        "learning_rate 0.001 instead of 0.0001, generator_learning_rate 0.001 instead of 0.0001."
    )
    assert made(cycles=99).note == "umed: the fit is shortened: cycles 99 instead of 100."
    assert made(batch=8).note == "umed: the fit is not the paper's: batch 8 instead of 16."
    assert made(size=128).note == "umed: the fit is not the paper's: size 128 instead of 224."
    assert (
        made(robust=True).note
        == "umed: the fit is not the paper's: through random filters (robust), which is beyond it."
    )


def test_quick_is_a_set_of_defaults():
    """What is given beside it holds, and what is written down says what was run."""
    config = structure(UMedConfig, {"quick": True, "cycles": 3}, "umed")
    assert (config.cycles, config.width) == (3, 8)
    assert structure(UMedConfig, unstructure(config), "umed") == config
    assert unstructure(config)["batch"] == 8


@pytest.mark.parametrize("carrier", ["blue", "none"])
def test_the_carrier_is_refused_with_the_name_of_what_took_its_place(carrier):
    with pytest.raises(SettingsError, match=r"^umed: no setting 'carrier' any more; .* tint") as caught:
        privmed.protector("umed", carrier=carrier)
    assert "\n" not in str(caught.value)


def test_the_warm_up_is_refused():
    with pytest.raises(SettingsError, match="no setting 'warm_up' any more"):
        privmed.protector("umed", warm_up=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_channels_of_the_image(channels):
    """And in colour they are not the same noise three times."""
    torch.manual_seed(0)
    protector = UMed(UMedConfig(width=4)).eval()
    image, mask = torch.rand(2, channels, 32, 32), torch.ones(2, 1, 32, 32)
    noise = (protector.perturb(image, mask) - image).detach()
    assert noise.shape[1] == channels
    assert channels == 1 or not torch.allclose(noise[:, 0], noise[:, 1], atol=1e-4)
    assert float(noise.abs().max()) <= 4 / 255 + 1e-6


@pytest.mark.parametrize("texture", ["code", "count"])
def test_its_control_has_the_same_bound_everywhere(texture):
    """Random noise with that texture: all that UMed may change, by a coin, and nothing else; less than a whole epsilon inside."""
    image, mask = ultrasound_phantom(0, side=64)
    bound = sum(UMed(UMedConfig(width=1, texture=texture)).bounds(image, mask).values())
    noise = privmed.protector("noise", where="both", texture=texture)
    change = noise.protect(image, mask, levels=None) - image
    room = (image + bound <= 1) & (image - bound >= 0)
    torch.testing.assert_close(change.abs()[room], bound[room], atol=1e-6, rtol=0)
    assert noise.support(image, mask).equal(bound > 0)
    assert 0 < float((change > 0).sum()) / float((change != 0).sum()) < 0.7
    assert float(bound[mask > 0].mean()) < 0.7 * 4 / 255


def test_noise_follows_the_texture_where_there_is_no_outline():
    """Over whole images, of class numbers or of masks: what the texture hides, and no word of where an outline is."""
    image, mask = ultrasound_phantom(0, side=64)
    noise = privmed.protector("noise", texture="count")
    bound = 4 / 255 * texture_map(image, "count")
    room = (image + bound <= 1) & (image - bound >= 0)
    for truth in (torch.zeros(1, dtype=torch.long), mask):
        change = noise.protect(image, truth, levels=None) - image
        torch.testing.assert_close(change.abs()[room], bound[room], atol=1e-6, rtol=0)
