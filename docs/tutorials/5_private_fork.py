"""
A private fork of a hider
=========================

Bundled weights are public: whoever installs privmed reads every scan that was hidden with them. A *fork* is weights of
your own, kept apart from the public ones and from everybody else's forks. ``recipes/fork.yaml`` makes one in 1500 steps
on thousands of scans; this page takes the same recipe **through a few steps on phantoms**, which shows the way and what
to look at, and makes no fork to rely on.
"""

import tempfile
from pathlib import Path

import torch
import yaml
from matplotlib import pyplot as plt

import privmed
from privmed.data.samples import centre, photograph, ultrasound_phantom
from privmed.imaging import write_view
from privmed.metrics import ssim
from privmed.training import run

SIDE = 96


def show(**pictures):
    """Pictures (1, C, H, W) side by side."""
    size = (2.2 * len(pictures), 2.6)
    _, axes = plt.subplots(1, len(pictures), figsize=size, layout="constrained")
    for axis, (name, image) in zip(axes, pictures.items()):
        axis.imshow(image[0].clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0))
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.axis("off")


def sent(image):
    """What an 8-bit PNG holds."""
    return (image * 255).round() / 255


scan, _ = ultrasound_phantom(seed=7, side=SIDE)
cover = centre(photograph("coffee"), SIDE)

# %%
# What the public weights give away
# ---------------------------------
# A stego of the public weights, read by a stranger who has the same wheel.

public = privmed.hider("lightih", weights="broad")
stego = sent(public.hide(scan, cover))
show(secret=scan, stego=stego, read_by_a_stranger=public.recover(stego))

# %%
# A relative, drawn by a seed
# ---------------------------
# A fork begins as a *relative* of the public weights: the same network, which hides in other coordinates of the
# photograph's detail bands. The seed draws them, so the seed is a secret. It hides as well as before, and what the
# public weights read is worse already. But outlines may be left in it, which is why a training follows.

relative = privmed.hider("lightih", weights="broad")
relative.fork(torch.Generator().manual_seed(20))
stego = sent(relative.hide(scan, cover))
show(
    stego=stego,
    read_with_the_relative=relative.recover(stego),
    read_with_the_public=public.recover(stego),
)

# %%
# Training it apart
# -----------------
# The loss adds what the others read out of the fork's stegos, and what it reads out of theirs (``loss.isolation``). On
# the command line this is ``privmed train recipes/fork.yaml --seed SECRET -o runs/fork``, with the seed drawn by
# ``python -c 'import secrets; print(secrets.randbelow(2**32))'``.

home = tempfile.TemporaryDirectory()
folder = Path(home.name)
for place in ("phantoms/images", "photos"):
    (folder / place).mkdir(parents=True)
for seed in range(6):
    write_view(folder / f"phantoms/images/{seed}.png", ultrasound_phantom(seed, SIDE)[0])
for name in ("chelsea", "rocket", "astronaut", "coffee"):
    write_view(folder / f"photos/{name}.png", centre(photograph(name), SIDE))

recipe = {
    "name": "fork",
    "task": "hiding",
    "method": "hider:lightih",
    "start": "broad",
    "fork": True,
    "isolate": ["broad"],
    "data": {"root": str(folder), "covers": "photos", "secrets": [{"folder": "phantoms"}]}
    | {"size": SIDE, "crop": 32, "batch": 2, "validation": 0.3},
    "loss": {"stego": 1.0, "secret": 1.0, "isolation": 4.0, "scale": "log", "clipping": True},
    "optimizer": {"name": "muon", "rate": 3e-4, "vector_rate": 2e-4, "clip": 1.0},
    "schedule": {"steps": 6, "warmup": 1, "cooldown": 0.6, "validate": 6},  # not 1500
    "seed": 20,
}
(folder / "fork.yaml").write_text(yaml.safe_dump(recipe))
figures = run(folder / "fork.yaml", out=folder / "fork", quiet=True)
print({name: round(value, 3) for name, value in figures.items() if isinstance(value, float)})

# %%
# What it is now
# --------------
# ``leak_outlines`` is how far the others see the outlines of the scan on validation images, the worse direction of the two;
# ``leak_ssim`` and ``leak_db`` are what they see as it is counted elsewhere. Six steps move little; a full training goes on
# until the outlines are gone.

fork = privmed.hider("lightih", weights=folder / "fork/lightih-fork.safetensors")
stego = sent(fork.hide(scan, cover))
show(
    stego=stego,
    read_with_the_fork=fork.recover(stego),
    read_with_the_public=public.recover(stego),
)

for name, reader in (("with the fork", fork), ("with the public weights", public)):
    read = sent(reader.recover(stego)).mean(1, keepdim=True)
    print(f"SSIM of what is read {name}: {float(ssim(read, scan)):.3f}")

# %%
# How to keep it, and what it is not
# ----------------------------------
# The folder is a key, checkpoint and metrics included: share the weights with those who may read, and with nobody else.
# ``privmed hide --weights runs/fork/lightih-fork.safetensors`` uses them.
#
# It is no encryption. Nothing proves that a fork cannot be read without it; measured is only that *these* other weights
# do not read it, and somebody who owns many pairs of scans and stegos may train a reader. An analyzer that was tuned to
# the public weights does not follow: it is tuned anew (``hider_weights`` in its recipe).
home.cleanup()
