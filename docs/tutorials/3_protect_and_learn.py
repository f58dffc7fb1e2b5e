"""
Protect a data set, then try to learn from it
=============================================

A tiny study on phantoms: protect training images, train a segmenter on them as a stranger would, and test it on clean
images. It shows the mechanics, and one lesson that the full tables repeat: what protects in one hand may be undone in
another.
"""

import torch
from matplotlib import pyplot as plt
from torch.nn import functional as F

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.nn.unet import UNet

SIDE = 64


def phantoms(seeds):
    """Faint phantoms in colour, (N, 3, SIDE, SIDE), their lesions anywhere, and their masks."""
    draw = torch.Generator().manual_seed(seeds[0])
    images, masks = [], []
    for seed in seeds:
        image, mask = ultrasound_phantom(seed, 96)
        row, column = torch.randint(0, 96 - SIDE, (2,), generator=draw).tolist()
        window = (..., slice(row, row + SIDE), slice(column, column + SIDE))
        images.append((0.45 + 0.25 * (image - 0.45)).expand(-1, 3, -1, -1)[window])
        masks.append(mask[window])
    return torch.cat(images), torch.cat(masks)


images, masks = phantoms(range(24))
test_images, test_masks = phantoms(range(100, 112))

# %%
# Protect
# -------
# ``tint`` is a fixed pattern, no method of a paper (on grey images in colour: a little blue where the lesion is). It
# takes no fit, and is easily undone. ``umed``, ``em``, ``tap``, ``sep`` and the others
# are called alike, with a ``fit`` before.

protector = privmed.protector("tint", epsilon=8 / 255)
protected = protector.protect(images, masks)
print(f"largest change {float((protected - images).abs().max()) * 255:.1f} levels of 255")

pictures = {
    "clean": images,
    "protected": protected,
    "difference, 10 times": 0.5 + 10 * (protected - images),
}
_, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), layout="constrained")
for axis, (name, image) in zip(axes, pictures.items()):
    axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0))
    axis.set_title(name, fontsize=9)
    axis.axis("off")


# %%
# Try to learn
# ------------
# A stranger's training, the same each time; only the images differ. The last stranger averages the channels first.


def dice_of_a_stranger(train, test, steps=60):
    """Train a small U-Net, and give its mean Dice on clean test images."""
    torch.manual_seed(0)
    model, draw = UNet(width=8), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        batch = torch.randint(0, len(train), (8,), generator=draw)
        logits = model(train[batch])[:, :1]
        loss = F.binary_cross_entropy_with_logits(logits, masks[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = (model.eval()(test)[:, :1] > 0).float()
    shared, both = ((found * test_masks).sum((1, 2, 3)), (found + test_masks).sum((1, 2, 3)))
    return float((2 * shared / both).mean())


def grey(x):
    """All channels averaged."""
    return x.mean(1, keepdim=True).expand(-1, 3, -1, -1)


learnt = {
    "clean": dice_of_a_stranger(images, test_images),
    "protected": dice_of_a_stranger(protected, test_images),
    "protected, made grey": dice_of_a_stranger(grey(protected), grey(test_images)),
}
for name, dice in learnt.items():
    print(f"{name:22} Dice {dice:.3f}")

# %%
_, axis = plt.subplots(figsize=(5, 2), layout="constrained")
axis.barh(list(learnt)[::-1], list(learnt.values())[::-1])
axis.set_xlim(0, 1)
_ = axis.set_xlabel("Dice on clean test images")

# %%
# What to make of it
# ------------------
# Never judge a protector by one exploiter: ``privmed bench protection`` holds it against several, with and without
# defences, beside random noise of
# the same support. The leaderboards show where each method stands, and where it does not.
