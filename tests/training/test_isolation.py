"""Private forks: what counts as a leak, and that a training closes it in both directions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from privmed import registry
from privmed.errors import PrivmedError, SettingsError
from privmed.imaging import quantise
from privmed.training import read_recipe
from privmed.training.isolation import Isolation, high_pass, leak, squared_correlation
from privmed.training.make import make_task
from privmed.training.start import load_start

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")

TINY = ["data.crop=32", "data.size=32", "data.batch=2", "data.validation=0.4"]


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_squared_correlation_is_numpys():
    a, b = noise(2, 3, 40, 40), noise(2, 3, 40, 40, seed=1) + 0.5 * noise(2, 3, 40, 40)
    pairs = zip(a.flatten(0, 1).flatten(1).numpy(), b.flatten(0, 1).flatten(1).numpy())
    expected = np.mean([np.corrcoef(x, y)[0, 1] ** 2 for x, y in pairs])
    assert float(squared_correlation(a, b)) == pytest.approx(expected, abs=1e-4)


def test_high_pass_takes_off_the_local_mean():
    x = noise(1, 1, 40, 40)
    inner = (slice(2, -2), slice(2, -2))
    assert np.allclose(high_pass(x)[0, 0][inner], (x[0, 0] - uniform_filter(x[0, 0].numpy(), 5))[inner], atol=1e-6)


@pytest.mark.parametrize("read", [lambda s: s, lambda s: 1 - s, lambda s: 0.3 * s + 0.2])
def test_a_negative_or_a_faint_copy_leaks_as_much_as_the_scan(read):
    secret = noise(2, 3, 48, 48)
    assert float(leak(read(secret), secret)) == pytest.approx(2, abs=0.01)


def test_outlines_alone_are_a_leak():
    secret = noise(1, 3, 48, 48)
    tones = torch.linspace(0, 9, 48).expand(1, 3, 48, 48)
    assert float(squared_correlation(secret + tones, secret)) < 0.05
    assert float(leak(secret + tones, secret)) > 0.8


def test_other_noise_and_a_flat_image_leak_nothing():
    secret = noise(2, 3, 64, 64)
    assert float(leak(noise(2, 3, 64, 64, seed=1), secret)) < 0.01
    assert float(leak(torch.full_like(secret, 0.5), secret)) == pytest.approx(0, abs=1e-6)


def forked(recipe, *more):
    made = make_task(
        read_recipe(recipe("hiding", "hider:lightih", "start: general\nisolate: [general]\n"), [*TINY, *more]), "cpu"
    )
    load_start(made)
    made.method.train()
    return made


def both_directions(own, other, secret, cover):
    with torch.no_grad():
        theirs, mine = (quantise(h.hide(secret, cover)) for h in (other, own))
        return float(leak(other.recover(mine), secret)), float(leak(own.recover(theirs), secret))


def test_training_closes_the_leak_in_both_directions(recipe):
    found = {}
    for weight in (0, 20):
        task = forked(recipe, f"loss.isolation={weight}")
        optimizer = torch.optim.Adam(task.method.parameters(), 3e-4)
        for step in range(4):
            optimizer.zero_grad()
            task.loss(step)[0].backward()
            optimizer.step()
        task.method.eval()
        secret, cover = task.pair(np.random.default_rng(9))
        found[weight] = both_directions(task.method, task.isolation.others[0], secret, cover)
    assert all(kept < free - 0.2 for kept, free in zip(found[20], found[0]))


class Reads:
    """A hider that reads a given image out of anything."""

    def __init__(self, image):
        self.image = image

    def hide(self, secret, cover):
        return cover

    def recover(self, image, clamp=True):
        return self.image


@pytest.mark.parametrize(("own_sees", "others_see"), [(True, False), (False, True), (False, False), (True, True)])
def test_each_direction_is_a_leak(own_sees, others_see):
    secret, cover = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1)
    own, other = (Reads(secret if sees else torch.zeros_like(secret)) for sees in (own_sees, others_see))
    kept = Isolation("lightih", [], torch.device("cpu"))
    kept.others = [other]
    loss = float(kept.loss(own, cover, secret, cover, np.random.default_rng(0)))
    assert loss == pytest.approx(2 * own_sees + 2 * others_see, abs=0.01)


def test_the_others_do_not_move(recipe):
    task = forked(recipe)
    other = task.isolation.others[0]
    before = {k: v.clone() for k, v in other.state_dict().items()}
    task.loss(0)[0].backward()
    assert not any(p.requires_grad or p.grad is not None for p in other.parameters())
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    assert any(p.grad.abs().sum() > 0 for p in task.method.parameters())


def test_every_one_of_the_others_is_kept_out():
    kept = Isolation("lightih", ["general", "broad"], torch.device("cpu"))
    own = registry.hider("lightih", weights="general").requires_grad_(False)
    drawn = set()
    kept.others = [Spy(h, drawn, n) for n, h in enumerate(kept.others)]
    secret, cover = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    for step in range(8):
        kept.loss(own, quantise(own.hide(secret, cover)), secret, cover, np.random.default_rng(step))
    assert drawn == {0, 1}


def test_every_second_time_a_new_relative_is_kept_out():
    kept = Isolation("lightih", ["general"], torch.device("cpu"), relatives=True)
    rng = np.random.default_rng(0)
    drawn = [kept.draw(rng) for _ in range(20)]
    plain = sum(other is kept.others[0] for other in drawn)
    weights = {other.blocks[0].rho.conv1.weight.detach().numpy().tobytes() for other in drawn}
    assert 5 <= plain <= 15
    assert len(weights) == 20 - plain + 1


def started(recipe, seed, extra="start: general\nisolate: [general]\nfork: true\n", method="hider:lightih"):
    made = make_task(read_recipe(recipe("hiding", method, extra), [*TINY, f"seed={seed}"]), "cpu")
    load_start(made)
    return made


def test_a_fork_begins_as_a_relative_that_the_seed_draws(recipe):
    one, again, other = (started(recipe, seed).method.state_dict() for seed in (1, 1, 2))
    name = "blocks.0.rho.conv1.weight"
    assert one[name].equal(again[name])
    assert not one[name].equal(other[name])
    assert started(recipe, 1).isolation.relatives


@pytest.mark.parametrize(
    ("method", "extra", "words"),
    [
        ("hider:lightih", "fork: true\n", "name them as start"),
        ("hider:deepstega", "fork: true\n", "deepstega has not"),
    ],
)
def test_what_cannot_be_forked_is_refused(recipe, method, extra, words):
    with pytest.raises(SettingsError, match=words):
        started(recipe, 1, extra, method)


class Spy:
    """A hider that notes that it was asked."""

    def __init__(self, hider, drawn, n):
        self.hider, self.drawn, self.n = hider, drawn, n

    def hide(self, *images, **how):
        return self.hider.hide(*images, **how)

    def recover(self, *images, **how):
        self.drawn.add(self.n)
        return self.hider.recover(*images, **how)


def test_validation_says_who_sees_most_and_counts_it(recipe):
    task = forked(recipe)
    task.method.eval()
    figures = task.validate()  # a fork that has not moved: the public weights read all
    assert figures["leak_ssim"] > 0.8
    assert figures["leak_db"] > 15
    assert figures["leak_outlines"] > 0.7  # of noise, 32 pixels wide
    task.isolation = None
    assert task.validate()["score"] > figures["score"] + 50


def test_unknown_weights_are_named(recipe):
    with pytest.raises(PrivmedError, match="nobody"):
        make_task(read_recipe(recipe("hiding", "hider:lightih", "isolate: [nobody]\n"), TINY), "cpu")
