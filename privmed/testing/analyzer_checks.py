"""Checks of analyzers."""

from __future__ import annotations

import torch

from privmed.interfaces import Analyzer
from privmed.interfaces.abilities import abilities
from privmed.interfaces.analyzer import probabilities
from privmed.testing import shared
from privmed.testing.samples import sample_images


def _analyze(analyzer: Analyzer):
    return lambda stego, _other, **more: analyzer.analyze(stego, **more)


def check_analyze_keeps_shape_dtype_and_range(analyzer: Analyzer) -> None:
    """analyze() gives float32 (B, 3, H, W) in [0, 1] for grey and colour, at any size of at least 32."""
    shared.image_to_image(_analyze(analyzer))


def check_decode_gives_probabilities(analyzer: Analyzer) -> None:
    """decode() gives (B, 1, H, W) in [0, 1], or (B, K, H, W) or (B, classes) that sum to one, also beyond an image's range."""
    for size, channels in (((48, 64), 3), ((33, 47), 1)):
        recovered, _ = sample_images(2, size=size, channels=channels)
        found = analyzer.decode(recovered * 4 - 2)
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.shape[0] == 2
        assert found.ndim == 2 or found.shape[2:] == size
        if found.ndim == 2 or found.shape[1] > 1:
            torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))


def check_decode_gives_as_many_classes_as_its_settings_say(analyzer: Analyzer) -> None:
    """``classes`` or ``mask_classes`` of the settings, where there are such, is how many decode() gives; else one foreground."""
    classes, masks = (getattr(analyzer.config, name, 0) for name in ("classes", "mask_classes"))
    found = analyzer.decode(sample_images(2)[0])
    assert found.ndim == (2 if classes else 4)
    assert found.shape[1] == (classes or masks or 1)


def check_presence_is_a_probability_of_each_image(analyzer: Analyzer) -> None:
    """presence() gives (B,) in [0, 1], with its logits behind it, where the settings say that it tells, else None."""
    recovered, _ = sample_images(2)
    found = analyzer.presence(recovered * 4 - 2)
    if not getattr(analyzer.config, "presence", found is not None):
        assert found is None
        return
    assert found.shape == (2,)
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(analyzer.presence(recovered * 4 - 2, logits=True).sigmoid(), found)


def check_inputs_are_left_alone(analyzer: Analyzer) -> None:
    """analyze() and decode() do not write into the tensors they are given."""
    shared.inputs_untouched(_analyze(analyzer))
    shared.inputs_untouched(lambda recovered, _other: analyzer.decode(recovered))


def check_same_seed_same_bytes(analyzer: Analyzer) -> None:
    """The same seed gives the same bytes; the global generator is left alone."""
    shared.deterministic(_analyze(analyzer))


def check_batch_equals_items(analyzer: Analyzer) -> None:
    """A batch gives what its items give one by one, up to the rounding of other kernels."""
    shared.batch_equals_items(_analyze(analyzer))


def check_gradients_on_request(analyzer: Analyzer) -> None:
    """Gradients flow to a stego that asks for them, and nothing is recorded otherwise."""
    shared.gradients_on_request(_analyze(analyzer))


def check_bad_stegos_are_refused(analyzer: Analyzer) -> None:
    """Every bad stego is answered by one sentence that names it."""
    shared.bad_inputs_refused(_analyze(analyzer), "stego")


def check_bad_recovered_images_are_refused(analyzer: Analyzer) -> None:
    """Every bad recovered image is answered by one sentence; values beyond [0, 1] are allowed."""
    unbounded = ("a range of 255", "negative values")
    shared.bad_inputs_refused(lambda x, _other: analyzer.decode(x), "recovered", unbounded)


def check_training_mode_records_gradients(analyzer: Analyzer) -> None:
    """In training mode the public methods give gradients to the parameters, so that a training calls nothing private."""
    shared.trainable(analyzer, lambda: analyzer.analyze(sample_images(1)[0], clamp=False))


def check_logits_are_behind_the_probabilities(analyzer: Analyzer) -> None:
    """decode(logits=True) gives the unbounded values whose sigmoid (or softmax) decode() returns."""
    recovered, _ = sample_images(2)
    logits, found = analyzer.decode(recovered, logits=True), analyzer.decode(recovered)
    torch.testing.assert_close(probabilities(logits), found)


def check_unclamped_response_agrees(analyzer: Analyzer) -> None:
    """analyze(clamp=False) clamps to analyze()."""
    stego, _ = sample_images(1)
    assert torch.equal(analyzer.analyze(stego, clamp=False).clamp(0, 1), analyzer.analyze(stego))


def check_segment_answers_bare_images(analyzer: Analyzer) -> None:
    """Ability ``segment``: logits shaped as those of decode(), of images of any size, grey or colour."""
    if "segment" not in abilities(analyzer):
        return
    for size, channels in (((48, 64), 3), ((33, 47), 1)):
        image, _ = sample_images(2, size=size, channels=channels)
        with torch.no_grad():
            logits = analyzer.segment(image)
        assert logits.shape[:1] == (2,)
        assert logits.ndim == 2 or logits.shape[2:] == size
        assert logits.shape[1] == analyzer.decode(image).shape[1]
        assert torch.isfinite(logits).all()
