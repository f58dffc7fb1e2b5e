"""
A robustness study in one line
==============================

Stages compose with ``|``, and what happens to a stego on its way is an ordinary stage. So the question what JPEG, blur
or noise does to a hidden scan is a line, not a script.
"""

from matplotlib import pyplot as plt

import privmed
from privmed.data.samples import photograph, ultrasound_phantom
from privmed.pipeline import blur, hide, jpeg, noise, png, recover, resize

scan, _ = ultrasound_phantom(seed=2)
cover = photograph("astronaut")
hider = privmed.hider("lightih")

# %%
# The line
# --------

run = (hide(hider) | png() | jpeg(quality=95) | recover(hider))(scan, cover)
run.metrics

# %%
# Many of them
# ------------
# As a PNG the scan comes back, and faint noise costs it a few decibels. Blur, scaling and JPEG leave next to
# nothing: a hider of this kind is not robust, and
# ``privmed recover`` refuses JPEG files. Send the PNG.

channels = [
    png(),
    noise(std=0.002),
    noise(std=0.01),
    blur(sigma=0.5),
    resize(scale=0.9),
    jpeg(quality=98),
    jpeg(quality=90),
]
runs = {
    str(channel): (hide(hider) | png() | channel | recover(hider))(scan, cover)
    for channel in channels
}
for name, run in runs.items():
    print(f"{name:20} {run.metrics['recovered_psnr']:5.1f} dB")

# %%
_, axes = plt.subplots(2, len(runs), figsize=(1.9 * len(runs), 4.2), layout="constrained")
for (top, bottom), (name, run) in zip(axes.T, runs.items()):
    for axis, image in ((top, run.stego), (bottom, run.recovered)):
        axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0))
        axis.axis("off")
    top.set_title(name, fontsize=8)

# %%
# A channel of your own
# ---------------------
# Any function from an image batch to an image batch is a stage.


def two_levels_brighter(image):
    return (image + 2 / 255).clamp(0, 1)


(hide(hider) | png() | two_levels_brighter | recover(hider))(scan, cover).metrics
