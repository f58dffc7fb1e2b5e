"""What an exploiter may do who knows how protection works: filters, notches, clean images, and the worst of all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attrs import evolve

from privmed import registry
from privmed.bench.adaptive import WINDOW
from privmed.bench.combined import FILTERS
from privmed.bench.exploiters import Protocol, _given, exploit, owned
from privmed.bench.plan import Worst, make_plan
from privmed.bench.records import Measurement
from privmed.bench.summary import margins, worst
from privmed.data.samples import ultrasound_phantom
from privmed.errors import PrivmedError, SettingsError
from privmed.imaging.contour import contour

QUICK = Protocol(epochs=2, width=4, batch=4, learning_rate=1e-3)


def phantoms(count, side=64, first=0):
    pairs = [ultrasound_phantom(first + i, side=side) for i in range(count)]
    return torch.cat([x for x, _ in pairs]).mul(255).round().byte(), torch.cat([m for _, m in pairs]).byte()


def defence(name):
    return registry.part("defence", name)


def striped(images, masks, period=16 / 3):
    at = torch.cos(2 * math.pi * (torch.arange(images.shape[-1]) + 0.5) / period)
    return (images.float() + 4 * at.sign() * masks).round().clamp(0, 255).byte()


def test_channels_and_grey_by_hand():
    image = torch.tensor([30, 60, 120], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    for name, value in (("red", 30), ("green", 60), ("blue", 120), ("grey", 70)):
        for change in (defence(name).prepare, defence(name).deploy):
            assert set(change(image).flatten().tolist()) == {value}
    grey = image[:, :1]
    assert all(torch.equal(defence(name).prepare(grey), grey) for name in ("red", "grey"))


def test_filters_are_those_of_scipy():
    from scipy.ndimage import median_filter

    image = phantoms(1)[0]
    assert np.array_equal(
        defence("median").prepare(image)[0, 0].numpy(), median_filter(image[0, 0].numpy(), 3, mode="mirror")
    )
    assert set((defence("bits5").prepare(image) % 8).unique().tolist()) == {4}
    assert int((defence("bits5").prepare(image).int() - image.int()).abs().max()) <= 4


def test_a_bilateral_filter_takes_a_grain_and_leaves_an_edge():
    image = torch.full((1, 1, 32, 32), 60, dtype=torch.uint8)
    image[..., 16:] = 160
    image[..., ::2, ::2] += 4
    found = defence("bilateral").prepare(image).int()
    assert int((found[..., :14] - 61).abs().max()) <= 2
    assert int(found[..., 15].max()) < 70
    assert int(found[..., 16].min()) > 150


def test_every_filter_is_drawn_for_every_image_anew():
    """Of many draws each filter makes its share, the masks stay, and the seed decides."""
    images, masks = phantoms(1)
    colour = torch.cat([images, images // 2, images // 3], 1).float() / 255
    alone = [change(colour).clamp(0, 1) for change in FILTERS]
    many, kept = defence("mixed").augment(
        colour.expand(64, -1, -1, -1), masks.expand(64, -1, -1, -1), np.random.default_rng(0)
    )
    which = [[n for n, one in enumerate(alone) if torch.allclose(image[None], one, atol=1e-6)] for image in many]
    assert all(len(found) == 1 for found in which)
    assert {n for (n,) in which} == set(range(len(FILTERS)))
    assert torch.equal(kept, masks.expand(64, -1, -1, -1))
    again = [defence("mixed").augment(colour, masks, np.random.default_rng(s))[0] for s in (5, 5, 0, 1, 2, 3)]
    assert torch.equal(again[0], again[1])
    assert len({x.numpy().tobytes() for x in again}) > 2


def test_outlines_are_painted_over_by_what_lies_beside_them():
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    masks[0, :, 16:48, 16:48] = 1
    masks[1, :, 4:24, 30:60] = 1
    plain = torch.full((2, 1, 64, 64), 90, dtype=torch.uint8)
    bands = contour(masks.float(), 3) > 0
    marked = plain + (bands * 40).byte()
    found = defence("inpaint").purify(marked, masks)
    assert torch.equal(found, plain)  # nothing of the outline is left
    elsewhere = marked.clone()
    elsewhere[..., -3:, -3:] = 200
    assert (defence("inpaint").purify(elsewhere, masks)[..., -3:, -3:] == 200).all()  # and nothing else changes
    other = plain.clone()
    other[1, :, 16, 20:44] = 200  # where the image before has its outline
    assert int(defence("inpaint").purify(other, masks)[1, :, 16, 20:28].max()) < 120
    three = torch.cat([other, other[:1]]), torch.cat([masks, torch.zeros_like(masks[:1])])
    assert int(defence("inpaint").purify(*three)[1, :, 16, 20:28].max()) < 120  # before, not after


@pytest.mark.parametrize("name", ["notch", "bandstop"])
def test_a_pattern_of_one_frequency_is_taken_out(name):
    images, masks = phantoms(3, 96)
    images = (images.float() / 4 + 90).byte()  # phantoms are grainier than scans
    inside = masks.bool()
    at = torch.cos(2 * math.pi * (torch.arange(96) + 0.5) * 3 / 16)

    def strength(x):
        return float(
            ((x.float() * at)[inside].mean() - at.expand_as(x)[inside].mean() * x.float()[inside].mean()).abs()
        )

    published = striped(images, masks)
    assert strength(published) > 1.5
    assert strength(defence(name).purify(published, masks)) < 0.6 * strength(published)


def test_a_notch_leaves_what_nobody_protected():
    """Its windows add up to the image, also where sides are no multiples of its steps; without a mask nothing is lesion."""
    images, masks = phantoms(2, 48)
    images, masks = images[..., :40], masks[..., :40]
    changed = defence("notch").purify(images, masks)
    assert float((changed.float() - images.float()).abs().mean()) < 2
    far = torch.nn.functional.max_pool2d(masks.float(), 2 * WINDOW + 1, 1, WINDOW) == 0
    assert torch.equal(changed[far], images[far])
    assert torch.equal(defence("notch").purify(images, torch.zeros_like(masks)), images)
    assert torch.equal(defence("notch").purify(images, torch.ones_like(masks)), images)


def test_outlines_are_smoothed_and_so_are_decoys():
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros_like(images)
    masks[0, :, 10:20, 10:20] = 1
    masks[1, :, 40:50, 40:50] = 1
    changed = defence("outline").purify(images, masks) != images
    for one in changed:
        assert one[0, 10, 14]
        assert one[0, 40, 44]
        assert not one[0, 30, 5:60].any()


def test_who_has_clean_images_trains_on_those(monkeypatch):
    images, masks = torch.full((10, 1, 32, 32), 50, dtype=torch.uint8), torch.ones(10, 1, 32, 32, dtype=torch.uint8)
    seen = []
    monkeypatch.setattr("privmed.bench.exploiters._step", lambda model, optimizer, x, *_: seen.append(x))
    for name, number in (("none", 0), ("clean10", 1), ("clean50", 5)):
        seen.clear()
        found = exploit("unet", (images, masks), (images, masks), evolve(QUICK, epochs=1), name, clean=images + 100)
        levels = torch.cat(seen).mean((1, 2, 3)).mul(255).round()
        assert (found.clean, int((levels == 150).sum()), len(levels)) == (number, number, 10)


def test_early_stopping_looks_at_clean_images_that_are_not_trained_on(monkeypatch):
    """The figure is of the epoch that is best on them, not of the last one and not of the best on test images."""
    images, masks = torch.full((10, 1, 32, 32), 50, dtype=torch.uint8), torch.ones(10, 1, 32, 32, dtype=torch.uint8)
    marks, asked = iter([0.1, 0.2, 0.3, 0.9, 0.8, 0.4]), []

    def score(model, data, metrics, device):
        asked.append(data[0])
        return [torch.full((len(data[0]),), next(marks))] * len(metrics)

    monkeypatch.setattr("privmed.bench.exploiters.score", score)
    tests = torch.zeros(2, 1, 32, 32, dtype=torch.uint8), masks[:2]
    found = exploit("unet", (images, masks), tests, evolve(QUICK, epochs=3), "early-stop", clean=images + 100)
    assert found.last["dice"] == pytest.approx(0.3)  # tests 0.1, 0.3, 0.8; checks 0.2, 0.9, 0.4
    assert found.best["dice"] == pytest.approx(0.8)
    assert found.per_image == pytest.approx([0.3, 0.3])
    assert [(len(x), int(x.max())) for x in asked] == [(2, 0), (1, 150)] * 3
    assert found.clean == 1


def test_a_network_is_asked_about_what_it_was_trained_on(monkeypatch):
    """A filter is applied to the images that the network gets later, too."""
    images, masks = phantoms(2, 32)
    asked = []
    monkeypatch.setattr(
        "privmed.bench.exploiters.score",
        lambda model, data, metrics, device: asked.append(data[0]) or [torch.ones(2)] * 2,
    )
    for name in ("median", "blur"):
        exploit("unet", (images, masks), (images, masks), evolve(QUICK, epochs=1), name)
    assert torch.equal(asked[0], defence("median").prepare(images))
    assert torch.equal(asked[1], images)


def test_who_owns_clean_images_is_drawn_by_the_seed():
    half = defence("clean50")
    assert owned(half, 20, 0).tolist() == owned(half, 20, 0).tolist() != owned(half, 20, 1).tolist()
    assert len(owned(defence("clean10"), 2, 0)) == 1
    assert len(owned(defence("none"), 20, 0)) == 0


def measured(value, judge, method="ours", seed=0, metric="dice"):
    dimensions = {"exploiter": "unet", "defence": judge}
    return Measurement(metric=metric, method=method, data="set", dimensions=dimensions, seed=seed, value=value)


def plan_of(**more):
    entries = [{"label": "none"}, {"label": "ours", "method": "noise", "control": "none"}]
    return make_plan({"suite": "protection", "data": "set", "entries": entries, "ratios": ["dice"], **more})


def test_the_worst_judge_is_one_judge_by_the_mean_over_seeds():
    asked = {
        "dimensions": ["exploiter", "defence"],
        "metric": "dice",
        "beside": ["clean-images"],
        "without": {"defence": "blur"},
    }
    plan = plan_of(worst=[asked])
    found = [
        measured(0.2, "none"),
        measured(0.8, "none", seed=1),
        measured(0.6, "clean10"),
        measured(0.6, "clean10", seed=1),
    ]
    found += [measured(0.1, "jpeg30"), measured(0.9, "blur"), measured(8, "clean10", metric="clean-images")]
    quantity = registry.load("suite", "protection").quantity
    got = worst(plan, found, quantity)
    assert [(m.metric, m.seed, m.value) for m in got] == [("dice", 0, 0.6), ("dice", 1, 0.6), ("clean-images", 0, 8)]
    assert {tuple(m.dimensions.items()) for m in got} == {
        (("exploiter", "worst"), ("defence", "worst"), ("judge", "unet, clean10"))
    }


def test_the_worst_is_set_against_the_worst_of_the_control():
    plan = plan_of(worst=[{"dimensions": ["exploiter", "defence"], "metric": "dice"}])
    quantity = registry.load("suite", "protection").quantity
    found = [
        measured(0.8, "blur", "none"),
        measured(0.5, "jpeg30", "none"),
        measured(0.1, "blur"),
        measured(0.4, "jpeg30"),
    ]
    ratios = margins(plan, worst(plan, found, quantity), quantity)
    assert [(m.value, m.dimensions["judge"]) for m in ratios] == [(pytest.approx(0.5), "unet, jpeg30")]


def test_a_worst_needs_dimensions_and_a_metric():
    with pytest.raises(Exception, match="metric"):
        plan_of(worst=[{"dimensions": ["defence"]}])
    assert plan_of(worst=[{"dimensions": ["defence"], "metric": "dice"}]).worst == [
        Worst(dimensions=["defence"], metric="dice")
    ]


@pytest.mark.parametrize("name", ["notch", "outline", "inpaint", "chain[of=blur+notch]"])
def test_a_defence_that_looks_at_masks_is_refused_for_classes(name):
    """It would change nothing, and the protector would count as having outlived it."""
    images = torch.zeros(4, 1, 32, 32, dtype=torch.uint8)
    with pytest.raises(SettingsError, match=r"is for segmentation data, not for classification data"):
        exploit("resnet18", (images, torch.arange(4) % 2), (images, torch.arange(4) % 2), defence=name)


def test_a_chain_does_one_after_the_other():
    """In the order that it names, with the clean images and the steps of all its parts."""
    images, masks = phantoms(3, 48)
    chain = defence("chain[of=notch+blur+clean10+clean50]")
    assert chain.purify(images, masks).equal(defence("blur").purify(defence("notch").purify(images, masks), masks))
    assert not chain.purify(images, masks).equal(defence("notch").purify(defence("blur").purify(images, masks), masks))
    assert (chain.clean, chain.validates, chain.pretrained, chain.tasks) == (0.5, False, False, ("segmentation",))
    assert defence("chain[of=bits5+grey]").deploy(images).equal(defence("bits5").deploy(images))
    assert defence("chain[of=clean10+pretrained]").pretrained
    assert defence("chain[of=blur+early-stop]").validates
    floats, truth = images.float() / 255, masks.float()
    both = defence("chain[of=augment+augment]").augment(floats, truth, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    twice = defence("augment").augment(*defence("augment").augment(floats, truth, rng), rng)
    assert all(a.equal(b) for a, b in zip(both, twice))
    torch.manual_seed(0)
    hardened = defence("chain[of=blur+adversarial]").harden(floats, lambda x: x.mean())
    torch.manual_seed(0)
    assert hardened.equal(defence("adversarial").harden(floats, lambda x: x.mean()))
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    adapted = defence("chain[of=blur+instance]").adapt(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in adapted.modules())


@pytest.mark.parametrize(
    ("of", "words"),
    [
        *((of, "of must name two defences at least") for of in ("blur", "blur+", "blur++grey", "")),
        ("chain+blur", "names a chain in a chain"),
        ("clean10+early-stop", "trains on clean images and stops by them at once"),
        ("blur+chained", "no defence is called 'chained'"),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused(of, words):
    with pytest.raises(PrivmedError, match=words):
        defence(f"chain[of={of}]")


def test_clean_images_go_through_the_filters_that_the_network_is_asked_through():
    """Else it would learn from colour and be asked in grey."""
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    masks, chain = torch.zeros(4, 1, 32, 32, dtype=torch.uint8), defence("chain[of=grey+clean50]")
    known = owned(chain, 4, 0)
    given, _, held = _given(chain, (images, masks), images, known)
    assert held is None
    assert given.equal(defence("grey").deploy(images))


def test_any_share_of_clean_images_can_be_asked_for():
    assert defence("clean[share=0.3]").clean == 0.3
    assert int(owned(defence("clean[share=0.3]"), 20, 0).numel()) == 6
    assert owned(defence("clean"), 20, 0).equal(owned(defence("clean10"), 20, 0))
    with pytest.raises(SettingsError, match="share must lie in"):
        defence("clean[share=1]")
