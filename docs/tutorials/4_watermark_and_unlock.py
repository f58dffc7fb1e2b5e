"""
Watermark and unlock
====================

A visible logo whose place and opacity are searched so that a diagnostic model errs, and that comes off bit by bit with
a key. The model is asked as a black box: any function from images to probabilities will do.
"""

import torch
from matplotlib import pyplot as plt
from torch import nn

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.imaging.logo import draw_logo

# %%
# A model to mislead
# ------------------
# A toy: it tells phantoms with a large lesion from those with a small one.

SIDE = 96


def phantoms(seeds):
    """Pairs of images: the phantom, and its middle enlarged, which makes the lesion large."""
    wide = torch.cat([ultrasound_phantom(seed, SIDE)[0] for seed in seeds])
    near = nn.functional.interpolate(wide[..., 16:80, 16:80], (SIDE, SIDE), mode="bilinear")
    return torch.cat([wide, near]), torch.tensor([0] * len(seeds) + [1] * len(seeds))


torch.manual_seed(0)
images, labels = phantoms(range(16))
network = nn.Sequential(
    nn.Conv2d(1, 8, 5, 4),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, 2),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(3),
    nn.Flatten(),
    nn.Linear(144, 2),
)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
for _ in range(20):
    loss = nn.functional.cross_entropy(network(images - 0.4), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def model(batch):
    """Probabilities, (B, 2)."""
    return network(batch.mean(1, keepdim=True) - 0.4).softmax(1)


tests, truth = phantoms([50, 51])
print("right on", int((model(tests).argmax(1) == truth).sum()), "of", len(tests), "test images")

# %%
# Mark
# ----
# The images may keep a region free of the mark (``forbidden``): a lesion, for example.

locker = privmed.watermarker("medlocker", search="cma", scale=3)
logo = draw_logo()
marked = [
    locker.embed(x[None], logo, oracle=model, label=int(y), generator=n)
    for n, (x, y) in enumerate(zip(tests, truth))
]

_, axes = plt.subplots(2, len(tests), figsize=(2.3 * len(tests), 5), layout="constrained")
for (top, bottom), image, made in zip(axes.T, tests, marked):
    for axis, x in ((top, image[None]), (bottom, made.image)):
        said = model(x)[0]
        axis.imshow(x[0].expand(3, -1, -1).permute(1, 2, 0))
        answer = ("small", "large")[int(said.argmax())]
        axis.set_title(f"says {answer} ({float(said.max()):.2f})", fontsize=9)
        axis.axis("off")

for made in marked:
    print("misled" if made.success else "not misled", "after", made.queries, "questions")

# %%
# Unlock
# ------
# The record is what a key file keeps of an image. With it every bit comes back; without it, the pixels under an
# opaque mark are gone for whoever did not
# see them before.

for image, made in zip(tests, marked):
    original = locker.remove(made.image, made.record)
    assert torch.equal((original * 255).round(), (image[None] * 255).round())
print("all", len(marked), "originals are back, bit by bit")

# %%
# For a whole data set, with an encrypted key file, use the commands::
#
#     privmed watermark DATASET -o PUBLISHED --key set.key --model m.safetensors
#     privmed unlock PUBLISHED -o ORIGINALS --key set.key
#
# A mark does not hide the picture from people, and can be painted over: what the lock is worth, and what not, is
# measured in *Watermarks with a key*.
