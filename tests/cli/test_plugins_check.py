"""The conformance kit on what is installed: what passes, what fails and why, what is expected to fail."""

import json

import pytest

from privmed.cli import run
from privmed.errors import MethodNotFoundError
from privmed.testing.report import chosen

PARTS = '''
import torch
from privmed import hookimpl
from privmed.bench.contracts import Defence, Exploiter, Metric, Quantity, Reader, Suite
from privmed.bench.data import Dataset, Sample
from privmed.errors import InputError

class Flat(Exploiter):
    name = "flat"
    def network(self, width):
        return torch.nn.Conv2d(3, 1, 1)

class Dark(Defence):
    name = "dark"
    def prepare(self, images):
        return images // 2
    def augment(self, images, masks, rng):
        return images * rng.random(), masks

class Area(Metric):
    name, title, measures = "area", "area", "masks"
    def __call__(self, found, truth):
        return found.flatten(1).mean(1)

class Stack(Reader):
    name = "stack"
    @classmethod
    def recognises(cls, path):
        return path.suffix == ".npy"
    def read(self, path):
        raise InputError(f"{path}: holds nothing.")

class Count(Suite):
    name, methods, grid = "count", "hider", {"cover": ["covers"]}
    quantities = {"n": Quantity(title="count")}
    def identity(self, cell):
        return {}
    def measure(self, cell):
        return []

def area(side: int):
    """Say how large a square is."""

@hookimpl
def privmed_register(register):
    for cls in (Flat, Dark, Area, Stack, Count):
        register(cls)
    register.command("area", area)
'''
KINDS = {
    "exploiter": ("exploiters", "flat"),
    "defence": ("defences", "dark"),
    "metric": ("metrics", "area"),
    "reader": ("readers", "stack"),
    "suite": ("suites", "count"),
    "command": ("commands", "area"),
}
FAULTS = [
    ("exploiter", ("Conv2d(3, 1, 1)", "Conv2d(3, 2, 1)"), "network_gives_logits_of_every_pixel"),
    (
        "exploiter",
        ("        return torch.nn.Conv", "        torch.manual_seed(0)\n        return torch.nn.Conv"),
        "networks_are_fresh",
    ),
    (
        "exploiter",
        ("Conv2d(3, 1, 1)", "Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.Threshold(9, 0))"),
        "network_learns",
    ),
    ("defence", ("images // 2", "images / 2"), "prepare_keeps_what_images_are"),
    ("defence", ("images // 2", "images.clamp_(max=99)"), "prepare_keeps_what_images_are"),
    ("defence", ("images * rng.random()", "images * torch.rand(1)"), "augment_keeps_images_and_masks"),
    ("defence", ("images * rng.random()", "images * 2"), "augment_keeps_images_and_masks"),
    ("metric", (".flatten(1).mean(1)", ".mean()"), "metric_gives_a_number_an_item"),
    ("metric", ("found.flatten(1).mean(1)", "found.mean().expand(len(found))"), "metric_gives_a_number_an_item"),
    ("metric", ('"area", "masks"', '"area", "lines"'), "metric_says_what_it_is"),
    ("reader", ('InputError(f"{path}: holds nothing.")', "FileNotFoundError(path)"), "what_is_not_there_is_told"),
    ("reader", ('path.suffix == ".npy"', "path.is_file()"), "other_data_is_not_recognised"),
    ("suite", ('"hider", {', '"hinder", {'), "suite_says_what_it_measures"),
    ("command", ('    """Say how large a square is."""', "    pass"), "command_has_help"),
]


def install_part(install, kind, source=PARTS):
    group, name = KINDS[kind]
    install("acme", group, {name: "acme_parts"}, {"acme_parts": source})
    return f"{kind}:{name}"


def results(target, capsys):
    code = run(["plugins", "check", target, "--json"])
    return code, {r["check"]: r for r in json.loads(capsys.readouterr().out)["results"]}


@pytest.mark.parametrize("kind", KINDS)
def test_good_parts_pass(install, capsys, kind):
    code, found = results(install_part(install, kind), capsys)
    assert found
    assert {r["status"] for r in found.values()} == {"passed"}
    assert code == 0


@pytest.mark.parametrize(("kind", "change", "check"), FAULTS, ids=range(len(FAULTS)))
def test_each_fault_is_found_with_a_reason_and_what_would_mend_it(install, capsys, kind, change, check):
    code, found = results(install_part(install, kind, PARTS.replace(*change)), capsys)
    assert code == 1
    assert found[check]["status"] == "failed"
    assert found[check]["reason"]
    assert "See /" in found[check]["mend"]


def test_expected_failures_have_their_reason_and_stay_honest(install, capsys):
    fault = PARTS.replace("images // 2", "images / 2")
    names = ("check_prepare_keeps_what_images_are", "check_purify_and_deploy_keep_what_images_are")
    told = fault.replace('name = "dark"', f'name = "dark"\n    expected_failures = {dict.fromkeys(names, "halves")}')
    code, found = results(install_part(install, "defence", told), capsys)
    assert code == 0
    row = found["prepare_keeps_what_images_are"]
    assert (row["status"], row["reason"]) == ("expected failure", "halves")


def test_an_expected_failure_that_passes_fails(install, capsys):
    told = PARTS.replace('name = "dark"', 'name = "dark"\n    expected_failures = {"check_harden_keeps_images": "no"}')
    code, found = results(install_part(install, "defence", told), capsys)
    assert code == 1
    assert "passes" in found["harden_keeps_images"]["reason"]


def test_a_plugin_that_does_not_load_is_one_failed_row(install, capsys):
    code, found = results(install_part(install, "metric", "import no_such_module_xyz"), capsys)
    assert code == 1
    assert list(found) == ["loads"]
    assert "no_such_module_xyz" in found["loads"]["reason"]


def test_the_table_is_for_people(install, capsys):
    install_part(install, "metric", PARTS.replace('"area", "masks"', '"area", "lines"'))
    assert run(["plugins", "check", "acme"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "metric_says_what_it_is failed: measures is 'lines'" in told
    assert "mend: It has a title" in told
    assert "1 failed" in told


def test_what_is_not_installed_is_told(install):
    install_part(install, "metric")
    assert [r.kind for r in chosen("area")] == ["metric"]
    with pytest.raises(MethodNotFoundError, match=r"nothing installed is called 'aera'.* Did you mean 'area'\?"):
        chosen("aera")
