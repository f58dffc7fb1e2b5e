"""Analyzers of bare images: what they are given, what they may answer, and that hidden images reach none of them."""

import inspect

import pytest
import torch
from attrs import frozen
from PIL import Image

import privmed
from privmed import BareAnalyzer
from privmed.cli import run
from privmed.client import RemoteAnalyzer
from privmed.errors import InputError, PluginError, PrivmedError, SettingsError
from privmed.pipeline import Pipeline, analyze
from privmed.settings import setting
from privmed.testing import bare_analyzer_checks as checks
from privmed.testing import checks_for
from privmed.testing.kit import contract_of
from privmed.training.make import check_methods
from privmed.training.recipe import make_recipe


class Dim(BareAnalyzer):
    """Marks what is dark."""

    name = "dim"

    def __init__(self, config=None):
        super().__init__(config)
        self.slope = torch.nn.Parameter(torch.tensor(10.0))

    def _segment(self, image):
        return self.slope * (0.5 - image.mean(1, keepdim=True))


DIM = f"""
import torch
from privmed import BareAnalyzer, hookimpl

{inspect.getsource(Dim)}

@hookimpl
def privmed_register(register):
    register(Dim)
"""


@frozen(kw_only=True)
class Classes:
    classes: int = setting(3, "number of the classes")


def scaled_by_batch(x):
    return x * len(x)


def in_place(x):
    return x.mul_(0.5)


def unseeded(x):
    return x + torch.rand(x.shape)


def without_gradient(x):
    return x.detach()


def not_finite(x):
    return x / 0


BROKEN = [
    (checks.check_batch_equals_items, scaled_by_batch),
    (checks.check_inputs_are_left_alone, in_place),
    (checks.check_same_image_same_bytes, unseeded),
    (checks.check_gradients_on_request, without_gradient),
    (checks.check_segment_answers_images_of_any_size, not_finite),
    (checks.check_segment_answers_images_of_any_size, lambda x: x[..., :-1]),
]


def test_a_toy_conforms():
    for check in checks_for("bare_analyzer"):
        check(Dim())


@pytest.mark.parametrize(("check", "fault"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_broken_ones_are_caught(check, fault):
    method = Dim()
    method._segment = lambda image: fault(image)[:, :1] * method.slope
    with pytest.raises((AssertionError, PrivmedError, RuntimeError)):
        check(method)


def test_an_answer_that_trains_nothing_is_caught():
    method = Dim()
    method._segment = lambda image: Dim._segment(method, image).detach()
    with pytest.raises(AssertionError, match="no gradient is recorded in training mode"):
        checks.check_training_mode_records_gradients(method)


def test_other_classes_than_the_settings_say_are_caught():
    class Wrong(Dim):
        Config = Classes

    with pytest.raises(AssertionError):
        checks.check_segment_gives_as_many_classes_as_its_settings_say(Wrong())


def test_an_open_door_is_caught():
    class Open(Dim):
        def analyze(self, stego):
            return stego

    with pytest.raises(AssertionError, match="a hidden image was taken"):
        checks.check_hidden_images_are_refused_with_the_way_out(Open())


def test_sides_are_padded_to_a_multiple_and_cropped_again():
    seen = []

    class Padded(Dim):
        multiple = 16

        def _segment(self, image):
            seen.append(tuple(image.shape))
            return super()._segment(image)

    assert Padded().segment(torch.rand(2, 1, 33, 47)).shape == (2, 1, 33, 47)
    assert seen == [(2, 3, 48, 48)]


@pytest.mark.parametrize("answer", [None, "text", torch.zeros(2, 1, 8, 8), torch.zeros(3, 4), torch.zeros(2)], ids=str)
def test_what_is_no_answer_is_told(answer):
    method = Dim()
    method._segment = lambda image: answer
    with pytest.raises(InputError, match="broke its contract: segmented must be"):
        method.segment(torch.rand(2, 1, 32, 32))


def test_an_analyzer_with_a_helper_of_that_name_is_no_bare_one(toy_analyzer):
    toy_analyzer._segment = None
    assert contract_of(toy_analyzer) == "analyzer"
    assert (contract_of(Dim), contract_of(Dim())) == ("bare_analyzer", "bare_analyzer")


def test_hidden_images_reach_none(toy_hider):
    for call in (lambda: analyze(Dim()), lambda: Pipeline.covert(toy_hider, Dim())):
        with pytest.raises(SettingsError, match="dim takes bare images alone"):
            call()
    with pytest.raises(SettingsError, match="dim takes bare images alone"):
        RemoteAnalyzer("http://127.0.0.1:1", Dim())


def test_trainings_with_a_hider_refuse_it_before_any_data(install):
    install("acme", "analyzers", {"dim": "acme_dim"}, {"acme_dim": DIM})
    plain = {"name": "x", "data": {"secrets": [{"folder": "nowhere"}]}}
    own = {**plain, "method": "analyzer:dim"}
    beside = {**plain, "task": "distillation", "method": "hider:lightih", "hider": "hinet", "analyzer": "dim"}
    for recipe in ({**own, "task": "covert", "hider": "lightih"}, beside):
        with pytest.raises(SettingsError, match="dim takes bare images alone"):
            check_methods(make_recipe(recipe, "recipe"))
    check_methods(make_recipe({**own, "task": "bare"}, "recipe"))


@pytest.mark.parametrize(
    "command", ["analyze s.png -o r.png", "covert s.png s.png -o o", "serve", "recover s.png -o r.png --as mask"]
)
def test_commands_say_so_and_write_nothing(install, command, tmp_path, monkeypatch, capsys):
    install("acme", "analyzers", {"dim": "acme_dim"}, {"acme_dim": DIM})
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "s.png")
    assert run([*command.split(), "--analyzer", "dim", "-q"]) == 2
    assert "dim takes bare images alone" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p.name != "site"] == ["s.png"]


def test_final_methods_stay(install):
    source = DIM.replace("    def _segment", "    def analyze(self, stego):\n        return stego\n    def _segment")
    install("acme", "analyzers", {"dim": "acme_dim"}, {"acme_dim": source})
    with pytest.raises(PluginError, match=r"overrides the final method analyze\(\)"):
        privmed.analyzer("dim")
