"""Checks of analyzers that take bare images alone."""

from __future__ import annotations

import torch

from privmed.errors import InputError, PrivmedError, SettingsError
from privmed.interfaces import BareAnalyzer
from privmed.interfaces.analyzer import probabilities
from privmed.testing import shared
from privmed.testing.samples import sample_images


def _segment(analyzer: BareAnalyzer):
    return lambda image, _other, **more: analyzer.segment(image, **more)


def check_segment_answers_images_of_any_size(analyzer: BareAnalyzer) -> None:
    """segment() gives finite float32 logits, (B, K, H, W) or (B, classes), for grey and colour, at any size of at least 32."""
    for size, channels in (((48, 64), 3), ((33, 47), 1), ((32, 32), 3)):
        image, _ = sample_images(2, size=size, channels=channels)
        found = analyzer.segment(image)
        assert found.dtype == torch.float32
        assert found.shape[0] == 2
        assert found.ndim == 2 or found.shape[2:] == size
        assert torch.isfinite(found).all()


def check_segment_gives_as_many_classes_as_its_settings_say(analyzer: BareAnalyzer) -> None:
    """``classes`` or ``mask_classes`` of the settings, where there are such, is how many segment() gives; else one foreground."""
    classes, masks = (getattr(analyzer.config, name, 0) for name in ("classes", "mask_classes"))
    found = analyzer.segment(sample_images(2)[0])
    assert found.ndim == (2 if classes else 4)
    assert found.shape[1] == (classes or masks or 1)


def check_inputs_are_left_alone(analyzer: BareAnalyzer) -> None:
    """segment() does not write into the tensor it is given."""
    shared.inputs_untouched(_segment(analyzer))


def check_same_image_same_bytes(analyzer: BareAnalyzer) -> None:
    """The same image gives the same bytes; the global generator is left alone."""
    image, _ = sample_images(1)
    state = torch.get_rng_state()
    once = analyzer.segment(image)
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"
    torch.rand(3)
    assert torch.equal(once, analyzer.segment(image)), "the same image gave another result"


def check_batch_equals_items(analyzer: BareAnalyzer) -> None:
    """A batch gives what its items give one by one, up to the rounding of other kernels."""
    images, _ = sample_images(3)
    whole = probabilities(analyzer.segment(images))
    items = torch.cat([probabilities(analyzer.segment(one[None])) for one in images])
    assert (whole - items).abs().max() <= shared.BATCH_TOLERANCE


def check_gradients_on_request(analyzer: BareAnalyzer) -> None:
    """Gradients flow to an image that asks for them, and nothing is recorded otherwise."""
    shared.gradients_on_request(_segment(analyzer))


def check_training_mode_records_gradients(analyzer: BareAnalyzer) -> None:
    """In training mode segment() gives gradients to the parameters, so that a training calls nothing private."""
    shared.trainable(analyzer, lambda: analyzer.segment(sample_images(2)[0]))


def check_bad_images_are_refused(analyzer: BareAnalyzer) -> None:
    """Every bad image is answered by one sentence that names it."""
    shared.bad_inputs_refused(_segment(analyzer), "image")


def check_hidden_images_are_refused_with_the_way_out(analyzer: BareAnalyzer) -> None:
    """analyze(), decode() and presence() say that it takes bare images alone, by name."""
    image, _ = sample_images(1)
    for call, error in (
        (lambda: analyzer.analyze(image), InputError),
        (lambda: analyzer.decode(image), InputError),
        (lambda: analyzer.presence(image), InputError),
        (analyzer.refuse, SettingsError),
    ):
        try:
            call()
        except error as refused:
            assert analyzer.name in str(refused)
        except PrivmedError as other:
            raise AssertionError(f"expected {error.__name__}, got {type(other).__name__}") from other
        else:
            raise AssertionError("a hidden image was taken")
