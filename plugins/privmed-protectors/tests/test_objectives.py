"""Which way each protector pushes: down the right loss, or towards the wrong answer."""

import pytest
import torch
from torch import nn

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.interfaces.fitting import Fitting
from privmed.training.surrogate import task_loss

TINY = {"size": 32, "width": 4, "batch": 4, "epsilon": 16 / 255}
STEPS = {"steps": 5, "step": 0.5}
EPSILON = TINY["epsilon"]


class BrightIsLesion(nn.Module):
    """A model whose mind is known: a pixel is lesion as far as it is brighter than 0.5, on the given rows. It can learn by how far."""

    def __init__(self, rows=slice(None)):
        super().__init__()
        self.rows = rows
        self.gain, self.bias = nn.Parameter(torch.tensor(40.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        seen = torch.zeros_like(x[:, :1])
        seen[:, :, self.rows] = (self.gain * (x.mean(1, keepdim=True) - 0.5) + self.bias)[:, :, self.rows]
        return seen


class BrightestQuarter(nn.Module):
    """Class k as far as quarter k is bright."""

    def forward(self, x):
        return 40 * torch.nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)


def minded(name, *models, **settings):
    """A protector whose surrogate is not learnt but given."""
    protector = privmed.protector(name, **TINY, **settings)
    if name == "sep":
        protector.ensemble = nn.ModuleList(models)
    else:
        (protector.surrogate,) = models
    protector.fitted.fill_(True)
    return protector


@pytest.fixture(scope="module")
def lesions():
    """Eight grey phantoms with their masks."""
    pairs = [ultrasound_phantom(i, side=32) for i in range(8)]
    return torch.cat([x for x, _ in pairs]).mul(255).round().div(255), torch.cat([m for _, m in pairs])


@pytest.fixture
def plain():
    """Two even images with a lesion in the middle of each, and the sign of a change that shows it (1 inside, -1 outside)."""
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, 8:24, 8:20] = masks[1, :, 4:12, 6:30] = 1
    return torch.full((2, 1, 32, 32), 0.5), masks, 2 * masks - 1


def test_em_shows_the_truth(plain):
    """Error-minimising: the model is told what it would have had to learn."""
    images, masks, shows = plain
    change = minded("em", BrightIsLesion(), **STEPS).protect(images, masks, levels=None) - images
    torch.testing.assert_close(change, EPSILON * shows, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["tap", "sep"])
def test_targeted_noise_shows_the_inverted_mask(plain, name):
    images, masks, shows = plain
    models = [BrightIsLesion(slice(0, 16)), BrightIsLesion(slice(16, 32))] if name == "sep" else [BrightIsLesion()]
    settings = {"checkpoints": 2} if name == "sep" else {}
    change = minded(name, *models, **STEPS, **settings).protect(images, masks, levels=None) - images
    torch.testing.assert_close(change, -EPSILON * shows, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "settings", "shift"), [("em", {}, 0), ("tap", {}, 1), ("sep", {"checkpoints": 1}, 2)])
def test_which_class_is_shown(name, settings, shift):
    """EM the true one, TAP the next, SEP the opposite one."""
    images, labels = torch.full((4, 3, 32, 32), 0.5), torch.arange(4)
    protector = minded(name, BrightestQuarter(), **STEPS, **settings, classes=4)
    change = protector.protect(images, labels, levels=None) - images
    quarters = torch.nn.functional.adaptive_avg_pool2d(change, 2).mean(1).flatten(1)
    expected = torch.full((4, 4), -EPSILON)
    expected[labels, (labels + shift) % 4] = EPSILON
    torch.testing.assert_close(quarters, expected, atol=1e-6, rtol=0)


def test_tap_keeps_the_best_of_its_starts(plain):
    """More starts never do worse for an image, and better for some."""
    images, masks, _ = (x.repeat(4, 1, 1, 1) for x in plain)
    images = images - torch.arange(8).view(-1, 1, 1, 1) / 255  # each draws its own starts
    once, often = (
        per_image(
            minded("tap", BrightIsLesion(), steps=1, step=0.1, restarts=n).protect(images, masks, levels=None),
            1 - masks,
        )
        for n in (1, 4)
    )
    assert (often <= once + 1e-6).all()
    assert (often < once - 1e-3).any()


@torch.no_grad()
def per_image(published, truth):
    return task_loss(BrightIsLesion()(published), truth)


@torch.no_grad()
def loss_of(surrogate, images, truth):
    return float(task_loss(surrogate.eval()(images), truth).mean())


def scores_of(name, pairs, **settings):
    """How well the surrogate does on what it trains on, turn by turn; and the fitted protector."""
    scores = []
    fitting = Fitting(lambda stage, done, total, figures: scores.append(figures["score"]))
    return scores, privmed.protector(name, **TINY, **settings).fit(zip(*pairs), fitting=fitting)


def test_em_leaves_its_surrogate_nothing_to_learn(lesions, monkeypatch):
    """What the surrogate ends up with is easier on protected images than on clean ones, or than with random noise of that size."""
    monkeypatch.setattr("privmed_protectors.em.Surrogate", lambda classes, width: BrightIsLesion())
    images, masks = lesions
    em = privmed.protector("em", **TINY, **STEPS, rounds=6, batches=10, learning_rate=0.2).fit(zip(images, masks))
    signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    noisy = (images + EPSILON * signs).clamp(0, 1)
    clean, random, protected = (loss_of(em.surrogate, x, masks) for x in (images, noisy, em.protect(images, masks)))
    assert protected < min(clean, random) - 0.3
    assert clean < loss_of(BrightIsLesion(), images, masks) - 0.3, "the surrogate has not learnt"


def test_the_surrogate_of_em_sees_the_noise(plain, monkeypatch):
    """One that stands still finds nothing in even images, and everything once the noise has had its turn."""
    monkeypatch.setattr("privmed_protectors.em.Surrogate", lambda classes, width: BrightIsLesion())
    images, masks, _ = plain
    scores, _ = scores_of("em", (images - 1 / 255, masks), **STEPS, rounds=2, batches=1, learning_rate=1e-9)
    assert scores == pytest.approx([0, 1], abs=1e-3)


class OneQuarter(BrightestQuarter):
    """The same, with something to learn."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * super().forward(x)


def test_the_noise_of_a_class_grows_with_every_batch(monkeypatch):
    """Four batches of one image a class, four steps of a tenth of epsilon: after one turn every class shows itself by 0.4 epsilon."""
    monkeypatch.setattr("privmed_protectors.em.Surrogate", lambda classes, width: OneQuarter())
    images, labels = torch.full((16, 3, 32, 32), 0.5), torch.arange(4).repeat(4)
    em = privmed.protector("em", **TINY, classes=4, classwise=True, rounds=1, batches=1, learning_rate=1e-9, enough=1)
    em.fit(zip(images[:, None], labels))
    change = em.protect(images, labels, levels=None) - images
    assert torch.equal(change[:4], change[12:])
    quarters = torch.nn.functional.adaptive_avg_pool2d(change[:4], 2).mean(1).flatten(1)
    torch.testing.assert_close(quarters, 0.4 * EPSILON * (2 * torch.eye(4) - 1), atol=1e-5, rtol=0)


def test_em_goes_on_with_the_noise_that_it_had(lesions, tmp_path, monkeypatch):
    monkeypatch.setattr("privmed_protectors.em.Surrogate", lambda classes, width: BrightIsLesion())
    settings = TINY | STEPS | {"rounds": 3, "batches": 4, "learning_rate": 0.2}

    def interrupt(stage, done, total, figures):
        if done == 2:
            raise KeyboardInterrupt

    whole, parts = (privmed.protector("em", **settings) for _ in range(2))
    whole.fit(zip(*lesions))
    with pytest.raises(KeyboardInterrupt):
        parts.fit(zip(*lesions), fitting=Fitting(interrupt, tmp_path / "fit.pt"))
    parts.fit(zip(*lesions), fitting=Fitting(None, tmp_path / "fit.pt"))
    assert parts.surrogate.gain == whole.surrogate.gain != 40
    assert parts.surrogate.bias == whole.surrogate.bias


def test_targeted_noise_is_made_on_a_model_that_has_learnt(lesions):
    """The checkpoints of SEP are those of one training: its first third is a whole one of a third of the length."""
    scores, sep = scores_of("sep", lesions, epochs=12, checkpoints=3, learning_rate=5e-3)
    assert scores[-1] > scores[0] + 0.2
    _, tap = scores_of("tap", lesions, epochs=4, learning_rate=5e-3)
    early, later, last = (member.state_dict() for member in sep.ensemble)
    assert all(torch.equal(early[name], value) for name, value in tap.surrogate.state_dict().items())
    weights = "net.head.weight"
    assert not torch.equal(early[weights], later[weights])
    assert not torch.equal(later[weights], last[weights])


def test_both_players_of_umed_go_down_the_same_loss(lesions, monkeypatch):
    """Seen on what is published, turn by turn: the surrogate learns it, and the generators make it easier to learn."""
    monkeypatch.setattr("privmed_protectors.umed.Surrogate", lambda classes, width: BrightIsLesion())
    images, masks = lesions
    settings = {"contour": "none", "texture": "full", "cycles": 2}
    tiny = TINY | {"width": 2, "batch": 1, "learning_rate": 0.5, "generator_learning_rate": 0.03}
    protector, turns = privmed.protector("umed", **tiny, **settings), []

    def watch(who, done, total, figures):
        protector.eval()
        with torch.no_grad():
            turns.append((who, loss_of(protector.surrogate, protector.perturb(images, masks), masks)))

    protector.fit(zip(images, masks), fitting=Fitting(watch))
    assert [who for who, _ in turns] == 2 * (4 * ["generators"] + ["surrogate"])
    losses = [loss for _, loss in turns]
    assert losses[3] < losses[0] - 0.03
    assert losses[4] < losses[3] - 0.1
    assert losses[9] < losses[8] - 0.05
    inside = protector.support(images, masks)
    change = (protector.protect(images, masks, levels=None) - images)[inside]
    assert change.min() > 0.5 * EPSILON, "what the surrogate takes for lesion is not brighter"
