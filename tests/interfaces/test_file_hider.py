"""Hiders of files: what the core does for them, and what they are kept out of."""

import re

import numpy as np
import pytest
import torch

from privmed import FileHider, registry
from privmed.errors import InputError, SettingsError
from privmed.interfaces.abilities import abilities
from privmed.pipeline import Pipeline, hide, recover
from privmed.shared_key import SharedKey
from privmed.testing import checks_for, file_hider_checks, sample_images

pytest.importorskip("cryptography", reason="needs privmed[keys]")
KEY = SharedKey(bytes(32))


class Pocket(FileHider):
    """Keeps files aside, and photographs as they are."""

    name = "pocket"

    def _hide_file(self, data, cover, key, entropy):
        self.kept, self.entropy, self.seen = data, entropy, cover
        return cover

    def _recover_file(self, stego, key):
        return self.kept

    def _capacity(self, cover):
        return cover.size

    def _size_of(self, data):
        return len(data)


@pytest.fixture
def pocket():
    return Pocket()


def test_a_plugin_gets_checked_pixels(pocket):
    grey, colour = (torch.rand(1, channels, 40, 50) for channels in (1, 3))
    for cover, channels in ((grey, 1), (colour, 3), (grey.expand(-1, 3, -1, -1), 1)):
        stego = pocket.hide_file(b"x", cover, KEY)
        assert (pocket.seen.shape, pocket.seen.dtype) == ((40, 50, channels), np.uint8)
        assert torch.equal(stego, (cover[:, :channels] * 255).round() / 255)
        assert pocket.capacity(cover) == 40 * 50 * channels
        assert pocket.recover_file(stego, KEY) == b"x"
    assert pocket.size_of(b"four") == 4


def test_randomness_is_the_systems_or_of_seed_file_and_photograph(pocket):
    seen = []
    other = torch.full((1, 3, 40, 40), 0.5)
    for data, cover, seed in (
        (b"a", other, 0),
        (b"b", other, 0),
        (b"a", other, 1),
        (b"a", 1 - other / 2, 0),
        *[(b"a", other, None)] * 2,
    ):
        pocket.hide_file(data, cover, KEY, generator=seed)
        seen.append(pocket.entropy)
    assert len({len(e) for e in seen} | {32}) == 1
    assert len(set(seen)) == len(seen)
    pocket.hide_file(b"a", other, KEY, generator=0)
    assert pocket.entropy == seen[0]


@pytest.mark.parametrize("returned", [None, np.zeros((4, 4, 3), np.uint8), np.zeros((48, 64, 3))])
def test_a_broken_contract_is_named(pocket, returned):
    pocket._hide_file = lambda *_: returned
    with pytest.raises(InputError, match="hider 'pocket' broke its contract"):
        pocket.hide_file(b"x", sample_images(1)[1], KEY)


def test_the_kit_knows_it_and_catches_one_that_opens_everything(pocket):
    assert abilities(pocket) == ["hide_file"]
    checks = checks_for("file_hider")
    assert file_hider_checks.check_files_come_back_bit_for_bit in checks
    assert not any(check.__name__ == "check_batch_equals_items" for check in checks)
    for check in (
        file_hider_checks.check_other_keys_open_nothing,
        file_hider_checks.check_altered_stegos_are_refused,
        file_hider_checks.check_capacity_is_what_fits,
        file_hider_checks.check_same_seed_same_bytes,
    ):
        with pytest.raises(AssertionError):
            check(pocket)


def test_where_images_are_needed_it_says_what_it_is(pocket, toy_analyzer):
    secret, cover = sample_images(1)
    for call in (
        lambda: pocket.hide(secret, cover, refine=3),
        lambda: pocket.recover(cover),
        lambda: hide(pocket),
        lambda: recover(pocket),
        lambda: Pipeline.covert(pocket, toy_analyzer),
    ):
        with pytest.raises(SettingsError, match="pocket carries files under a key"):
            call()


SOURCE = """
from privmed import FileHider, hookimpl

class Mine(FileHider):
    name = "mine"
    def _hide_file(self, data, cover, key, entropy):
        return cover
    def _recover_file(self, stego, key):
        return b""
    def _capacity(self, cover):
        return 0
    def _size_of(self, data):
        return 0

@hookimpl
def privmed_register(register):
    register(Mine)
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("", ""), ""),
        (("def _capacity", "def _capacities"), "does not implement _capacity"),
        (("def _recover_file", "def recover_file"), r"overrides the final method recover_file\(\)"),
        (('"mine"\n', '"mine"\n    stages = 2\n'), "ability 'stages' but does not implement"),
    ],
    ids=range(4),
)
def test_a_plugin_is_held_against_the_contract_of_files(install, change, words):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": SOURCE.replace(*change) if words else SOURCE})
    found = next(r for r in registry.plugins("hider", check=True) if r.name == "mine")
    assert (found.status == "ok") == (not words), found.reason
    if words:
        assert re.search(words, found.reason)


def test_nothing_is_trained_with_it(install):
    from privmed.settings import structure
    from privmed.training.make import make_task
    from privmed.training.recipe import Recipe

    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": SOURCE})
    install("toy", "analyzers", {"toy": "toy_analyzer"}, {"toy_analyzer": TOY})
    secrets = {"root": "none", "covers": [{"folder": "none"}], "secrets": [{"folder": "none"}]}
    for task, method, more in (("hiding", "hider:mine", {}), ("covert", "analyzer:toy", {"hider": "mine"})):
        recipe = structure(Recipe, {"name": "x", "task": task, "method": method, "data": secrets, **more}, "recipe")
        with pytest.raises(SettingsError, match="mine carries files under a key"):
            make_task(recipe, "cpu")


TOY = """
from privmed import Analyzer, hookimpl

class Toy(Analyzer):
    name = "toy"
    def _analyze(self, stego, generator):
        return stego
    def _decode(self, recovered):
        return recovered[:, :1]

@hookimpl
def privmed_register(register):
    register(Toy)
"""
