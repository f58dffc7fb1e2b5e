"""
Hide, analyse, recover
======================

A clinic hides a scan in a photograph, a server analyses the photograph without extracting anything, and the clinic
reads the answer out of what comes back. Each step in turn, with its picture.
"""

import torch
from matplotlib import pyplot as plt

import privmed
from privmed.data.samples import photograph, ultrasound_phantom
from privmed.pipeline import tuned_hider


def show(**pictures):
    """Pictures (1, C, H, W) side by side."""
    size = (2.4 * len(pictures), 2.8)
    _, axes = plt.subplots(1, len(pictures), figsize=size, layout="constrained")
    for axis, (name, image) in zip(axes, pictures.items()):
        axis.imshow(image[0].clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0))
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.axis("off")


# %%
# At the clinic
# -------------
# The analyzer's model card names the very weights of the hider that it was tuned to.

analyzer = privmed.analyzer("hidemia", weights="busi")
hider = tuned_hider(analyzer)

scan, lesion = ultrasound_phantom(seed=1)
cover = photograph("coffee")
stego = hider.hide(scan, cover)
stego = (stego * 255).round() / 255  # what an 8-bit PNG holds

show(secret=scan, stego=stego)

# %%
# On the wire and at the server
# -----------------------------
# The response is a photograph again. What the server added is visible only in the difference, here twenty times
# enlarged.

response = analyzer.analyze(stego)
response = (response * 255).round() / 255

show(stego=stego, response=response, difference_20_times=0.5 + 20 * (response - stego))

# %%
# Back at the clinic
# ------------------
# The answer is kept unclamped, because values beyond the range of an image are stronger evidence.

answer = hider.recover(response, clamp=False)
probability = analyzer.decode(answer)
found = (probability > 0.5).float()

show(answer=answer, found=found, truth=lesion)
print(f"Dice {float(2 * (found * lesion).sum() / (found.sum() + lesion.sum())):.3f}")

# %%
# The scan itself comes back too
# ------------------------------
# To the clinic, and **to whoever else has the hider's weights**: they are the key, and those in the wheels are
# public. An error of the size of a lesion
# would matter, a mean would not show it; so look at the worst patch.

recovered = hider.recover(stego)
error = (recovered - scan).abs()
patch = torch.nn.functional.avg_pool2d(error.square().mean(1, keepdim=True), 8, 1).max()

show(secret=scan, recovered=recovered, error_10_times=10 * error)
mean, worst = (-10 * float(x.log10()) for x in (error.square().mean(), patch))
print(f"mean {mean:.1f} dB, worst patch {worst:.1f} dB")
