"""Stages and their composition: a robustness study or a new protocol is a line, not a script.

    protocol = hide("lightih") | png() | jpeg(quality=90) | analyze("hidemia") | png() | recover("lightih") | decode("hidemia")
    run = protocol(secret, cover)
    run.image, run.stego, run.response, run.recovered, run.prediction, run.metrics

    together = Pipeline.covert("lightih", "hidemia", covers=3)(secret, [cover, another, third])
    together.prediction, together.together.uncertainty, together.metrics["disagreement"]

    published = (protect("tint") | jpeg(quality=75))(image, mask=mask)
    marked = (watermark("medlocker", oracle=model) | unlock("medlocker"))(image, label=2)

A stage takes a :class:`Run` and returns a new one. Channel effects are ordinary stages, and so is any function from an image batch to
an image batch (``Stage.of(function)``).
"""

from privmed.pipeline.analysis import analyze, bare, decode, fits, hide, of_images, recover, tuned_hider
from privmed.pipeline.channel import blur, jpeg, noise, png, resize
from privmed.pipeline.covers import average, best_covers
from privmed.pipeline.publishing import classify, protect, unlock, watermark
from privmed.pipeline.run import Run
from privmed.pipeline.stage import Pipeline, Stage

__all__ = [
    "Pipeline",
    "Run",
    "Stage",
    "analyze",
    "average",
    "bare",
    "best_covers",
    "blur",
    "classify",
    "decode",
    "fits",
    "hide",
    "jpeg",
    "noise",
    "of_images",
    "png",
    "protect",
    "recover",
    "resize",
    "tuned_hider",
    "unlock",
    "watermark",
]
