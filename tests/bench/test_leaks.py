"""Eavesdroppers without weights: which pairs leak, what is learnt from them, the control, and the figures of the covert suite."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from privmed.bench import leaks
from privmed.bench.engine import open_suite, run_plan
from privmed.bench.leaks import Eavesdropper, EavesdropperConfig, drawn
from privmed.bench.plan import make_plan
from privmed.errors import SettingsError
from privmed.metrics import psnr

TOYS = '''
import torch
from privmed import Analyzer, Hider, hookimpl
from privmed.bench.contracts import NoSettings


class Pane(Hider):
    """Shows the negative of a secret through the cover."""

    name, Config = "pane", NoSettings

    def _hide(self, secret, cover, generator):
        return 0.8 * (1 - secret) + 0.2 * cover

    def _recover(self, stego, generator):
        return stego


class Bright(Analyzer):
    """Finds what is bright; answers with the stego as it is."""

    name, Config = "bright", NoSettings

    def _analyze(self, stego, generator):
        return stego

    def _decode(self, recovered):
        return 100 * (recovered.mean(1, keepdim=True) - 0.5)

    def segment(self, image):
        return 100 * (image.mean(1, keepdim=True) - 0.9)


@hookimpl
def privmed_register(register):
    register(Pane)
    register(Bright)
'''
LITTLE = {"width": 2, "steps": 3, "batch": 2, "learning_rate": 0.1}


def phantoms(count, seed):
    """A bright disc somewhere in each, (N, 3, 32, 32) uint8."""
    draw = torch.Generator().manual_seed(seed)
    where = torch.randint(8, 24, (count, 2, 1, 1), generator=draw)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    inside = (y - where[:, 0]) ** 2 + (x - where[:, 1]) ** 2 < 36
    return torch.where(inside[:, None], 220, 40).byte().expand(-1, 3, -1, -1).clone()


def photographs(count, seed):
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=draw) * 255
    return nn.functional.interpolate(coarse, (32, 32), mode="bilinear").byte()


def shown(secrets, covers):
    return (0.8 * (255 - secrets.float()) + 0.2 * covers.float()).byte()


def reads(someone, stegos, secrets):
    """PSNR of what he reads, and of his control."""
    truth = secrets.float() / 255
    found = [psnr(x, truth).mean() for x in (someone.read(stegos.float() / 255), someone.mean.expand_as(truth))]
    return map(float, found)


def test_more_pairs_begin_with_the_fewer_and_none_comes_twice():
    many = drawn(5, 4, 20, seed=1)
    assert len(set(many)) == 20
    assert drawn(5, 4, 7, seed=1) == many[:7]
    assert {a for a, _ in many[:5]} == {a for a, _ in many[5:10]} == set(range(5))  # scans take turns
    assert len({b for _, b in many[:4]}) > 1
    assert drawn(5, 4, 20, seed=2) != many
    with pytest.raises(SettingsError, match="21 pairs cannot be had of 5 scans and 4 photographs"):
        drawn(5, 4, 21, seed=1)


def test_what_shines_through_is_learnt_and_found_in_other_images():
    secrets, others = phantoms(24, 0), phantoms(16, 1)
    config = EavesdropperConfig(width=4, steps=60, learning_rate=1e-2)
    someone = Eavesdropper(shown(secrets, photographs(24, 2)), secrets, config)
    own, mean = reads(someone, shown(others, photographs(16, 3)), others)
    assert own > mean + 5


def test_nothing_is_read_out_of_photographs_that_hide_nothing():
    secrets, others = phantoms(24, 0), phantoms(16, 1)
    someone = Eavesdropper(photographs(24, 2), secrets, EavesdropperConfig(width=4, steps=60))
    own, mean = reads(someone, photographs(16, 3), others)
    assert own < mean + 0.5


def test_the_control_is_the_mean_of_the_secrets_and_the_first_guess():
    secrets = phantoms(6, 0)
    someone = Eavesdropper(
        secrets, secrets, EavesdropperConfig(width=2, steps=1, learning_rate=1e-12)
    )  # learns next to nothing
    torch.testing.assert_close(someone.mean[0], (secrets.double() / 255).mean(0).float())
    torch.testing.assert_close(someone.read(photographs(2, 1) / 255), someone.mean.expand(2, -1, -1, -1))


def test_a_seed_is_one_eavesdropper_whatever_was_drawn_before():
    secrets = phantoms(6, 0)
    stegos = shown(secrets, photographs(6, 1))

    def read(seed, steps=3):
        return Eavesdropper(stegos, secrets, EavesdropperConfig(width=2, steps=steps), seed).read(stegos.float() / 255)

    before = torch.get_rng_state()
    first = read(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(read(0), first)
    assert not torch.equal(read(1), first)
    assert torch.equal(read(0, steps=6), read(0, steps=6))
    assert not torch.equal(read(0, steps=6), first)


@pytest.fixture
def toys(install, tmp_path):
    site = install("toys", "hiders", {"pane": "toy_panes"}, {"toy_panes": TOYS})
    path = site / "toys-1.0.dist-info/entry_points.txt"
    path.write_text(path.read_text() + "[privmed.analyzers]\nbright = toy_panes\n")
    made = {"scans/images": phantoms(8, 0), "scans/masks": phantoms(8, 0) // 200 * 255, "photos": photographs(8, 1)}
    for name, images in made.items():
        (tmp_path / name).mkdir(parents=True)
        for n, image in enumerate(images):
            plain = image[0].numpy() if "masks" in name else np.moveaxis(image.numpy(), 0, 2)
            Image.fromarray(plain).save(tmp_path / f"{name}/{n}.png")
    for name in ("scans", "photos"):
        lines = [f"{n}.png,{'train' if n < 5 else 'test'}\n" for n in range(8)]
        (tmp_path / name / "split.csv").write_text("file,split\n" + "".join(lines))
    return tmp_path


def plan(hider="pane", wire=("png",), **settings):
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "bright", "method": "bright"}]}
    plain["grid"] = {"cover": ["photos"], "hider": [hider], "wire": list(wire)}
    plain["settings"] = {"size": 32, "covers": 2, "eavesdropper": LITTLE, **settings}
    return make_plan(plain)


def found(records, pair):
    return {(m.metric, m.dimensions["leaked"]): m for m in records.measurements if m.dimensions.get("pair") == pair}


@pytest.fixture
def learning(monkeypatch):
    """Who learns from what in a run: stegos and secrets of each eavesdropper."""
    seen = []

    class Watched(Eavesdropper):
        def __init__(self, stegos, secrets, *rest):
            seen.append((stegos, secrets))
            super().__init__(stegos, secrets, *rest)

    monkeypatch.setattr(leaks, "Eavesdropper", Watched)
    return seen


def test_records_say_how_many_leaked_beside_what_needs_no_method(toys, learning):
    records = run_plan(plan(leaked=[2, 7]), toys, toys / "out").records
    own, mean = found(records, "secret-leaked"), found(records, "secret-mean")
    assert set(own) == set(mean) == {(m, n) for m in ("psnr", "psnr-y", "ssim") for n in (2, 7)}
    assert all(m.n == 3 and m.spread is not None and m.over == "images" for m in (*own.values(), *mean.values()))
    assert [len(stegos) for stegos, _ in learning] == [2, 7]
    assert torch.equal(learning[0][0], learning[1][0][:2])
    train, test = phantoms(8, 0)[:5], phantoms(8, 0)[5:]
    for _, secrets in learning:
        assert all(any(torch.equal(s, t) for t in train) for s in secrets)
    answer = ((learning[0][1].double() / 255).mean(0, keepdim=True) * 255).round() / 255
    want = psnr(answer.float().expand(3, -1, -1, -1), test.float() / 255).mean()
    assert mean["psnr", 2].value == pytest.approx(float(want), abs=1e-3)
    assert own["psnr", 7].value != mean["psnr", 7].value


def test_pairs_leak_as_the_wire_delivers_them(toys, learning):
    run_plan(plan(wire=["png", "jpeg75"], leaked=[2]), toys, toys / "out")
    assert torch.equal(learning[0][1], learning[1][1])
    assert not torch.equal(learning[0][0], learning[1][0])
    secrets = learning[0][1].int()
    assert ((learning[0][0].int() - (0.8 * (255 - secrets)).int()) >= -1).all()  # what is left is the photograph


def test_nothing_leaks_unless_asked_for_and_where_nothing_is_hidden(toys, learning):
    for chosen in (plan(), plan(hider="none", leaked=[2])):
        records = run_plan(chosen, toys, toys / "out").records
        assert not any("leaked" in m.dimensions for m in records.measurements)
    assert not learning


def test_what_leaks_is_part_of_what_a_run_is(toys):
    def identity(**settings):
        suite = open_suite(plan(**settings), toys, toys / "out")
        return suite.identity(next(suite.cells()))

    plain, some = identity(), identity(leaked=[2])
    assert "leaked" not in plain
    assert {k: v for k, v in some.items() if k != "leaked"} == plain
    assert some != identity(leaked=[3])
    assert some != identity(leaked=[2], eavesdropper={**LITTLE, "steps": 4})


@pytest.mark.parametrize(
    ("leaked", "message"),
    [
        ([26], "26 pairs cannot be had of 5 scans and 5 photographs"),
        ([0], "leaked must be numbers of pairs of at least 1, got 0"),
        ([5, 5], "leaked must not name a number of pairs twice"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_runs(toys, leaked, message):
    with pytest.raises(SettingsError, match=message):
        run_plan(plan(leaked=leaked), toys, toys / "out")
    assert not (toys / "out").exists()
