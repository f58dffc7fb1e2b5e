"""Whatever can be compared can be plugged in: a stranger's distribution stands in a table without a line changed here."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from privmed import registry
from privmed.bench.data import Dataset, Sample
from privmed.bench.readers import read_dataset
from privmed.cli import run
from privmed.errors import InputError, PluginError

HOME = Path(__file__).parents[1] / "acme"
ACME = (HOME / "acme_all.py").read_text(encoding="utf-8")
PLAN = (HOME / "plan.yaml").read_text(encoding="utf-8")
GROUPS = {
    group.removeprefix("privmed."): entries
    for group, entries in tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "entry-points"
    ].items()
}


@pytest.fixture
def acme(install):
    site = install("acme", "protectors", GROUPS["protectors"], {"acme_all": ACME})
    lines = [
        f"[privmed.{group}]\n" + "\n".join(f"{k} = {v}" for k, v in some.items()) for group, some in GROUPS.items()
    ]
    (site / "acme-1.0.dist-info/entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def scans(tmp_path):
    rng = np.random.default_rng(0)
    np.save(
        tmp_path / "scans.npy", np.stack([rng.random((10, 32, 32)), rng.random((10, 32, 32)) > 0.5], 1).astype("f4")
    )
    (tmp_path / "acme.yaml").write_text(PLAN)
    return tmp_path


def test_a_strangers_protector_exploiter_defence_reader_and_metric_stand_in_a_table(acme, scans, capsys):
    out = scans / "out"
    assert run(["bench", "run", str(scans / "acme.yaml"), "--data", str(scans), "-o", str(out), "--json"]) == 0
    capsys.readouterr()
    assert run(["bench", "table", str(out)]) == 0
    table = capsys.readouterr().out
    head, row = table.splitlines()[0], next(line for line in table.splitlines() if line.startswith("| acme |"))
    for column in ("Dice, linear, none", "Dice, linear, darken", "found area, unet, darken", "PSNR, RGB"):
        assert column in head
    assert "30.07 dB" in row or "30." in row
    assert run(["bench", "table", str(out), "--json", "--quiet"]) == 0
    board = json.loads(capsys.readouterr().out)["tables"][0]["figures"]
    assert {(f["exploiter"], f["defence"]) for f in board if f["metric"] == "area"} == {
        (e, d) for e in ("linear", "unet") for d in ("none", "darken")
    }
    assert {f["method"] for f in board} == {"unprotected", "acme"}


def test_listing_names_what_is_installed(acme, capsys):
    assert run(["bench", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "linear" in found["exploiter"]
    assert "unet" in found["exploiter"]
    assert {"protection", "watermark", "covert", "hiding"} <= set(found["suite"])
    assert "stack" in found["reader"]


def test_a_stranger_cannot_take_the_name_of_a_built_in_part(install):
    install("acme", "exploiters", {"unet": "acme_all"}, {"acme_all": ACME})
    assert registry.load("exploiter", "unet").__module__ == "privmed.bench.networks"
    broken = [p for p in registry.plugins("exploiter") if p.status == "broken"]
    assert "that of the exploiter of privmed" in broken[0].reason


def test_a_part_that_keeps_no_contract_is_named(install):
    source = ACME.replace("    def network(self, width):\n        return torch.nn.Conv2d(3, 1, 3, padding=1)\n", "")
    install("acme", "exploiters", {"linear": "acme_all"}, {"acme_all": source})
    with pytest.raises(PluginError, match="Linear does not implement network"):
        registry.load("exploiter", "linear")
    source = ACME.replace("class Linear(Exploiter)", "class Linear").replace(
        'name = "linear"', 'name, kind = "linear", "exploiter"'
    )
    install("other", "exploiters", {"linear2": "acme_other"}, {"acme_other": source})
    with pytest.raises(PluginError, match=r"not a subclass of privmed\.bench\.contracts\.Exploiter"):
        registry.load("exploiter", "linear2")


@pytest.mark.parametrize("kind", registry.PARTS)
def test_every_built_in_part_loads(kind):
    rows = registry.plugins(kind, check=True)
    assert rows
    assert {r.status for r in rows} == {"ok"}


def sample(n, group):
    return Sample(name=f"{n}", image=lambda: None, group=group)


def test_a_set_without_a_split_is_split_along_groups():
    dataset = Dataset("x", [sample(n, f"g{n // 3}") for n in range(300)])
    train, test = (dataset.part(p) for p in ("train", "test"))
    assert not {s.group for s in train} & {s.group for s in test}
    assert 0.1 < len(test) / 300 < 0.3
    again = Dataset("x", [sample(n, f"g{n // 3}") for n in range(300)])
    assert [s.name for s in again.part("test")] == [s.name for s in test]


def test_busi_as_it_is_published(phantoms, tmp_path):
    root = phantoms(tmp_path / "set")
    (tmp_path / "busi/benign").mkdir(parents=True)
    for name, source in (("a", "images/p0"), ("a_mask", "masks/p0"), ("a_mask_1", "masks/p1"), ("b", "images/p2")):
        (tmp_path / f"busi/benign/{name}.png").write_bytes((root / f"{source}.png").read_bytes())
    found = {s.name: s for s in read_dataset(tmp_path / "busi").samples}
    assert set(found) == {"benign/a.png", "benign/b.png"}
    assert found["benign/b.png"].mask is None
    parts = [{s.name: s for s in read_dataset(root).samples}[f"p{n}.png"].mask() for n in (0, 1)]
    assert (found["benign/a.png"].mask() == parts[0].maximum(parts[1])).all()
    assert found["benign/a.png"].label == "benign"


def test_medmnist_archives(tmp_path):
    images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4)[:, None]
    np.savez(
        tmp_path / "m.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[..., None].repeat(3, 3),
        test_labels=labels,
    )
    dataset = read_dataset(tmp_path / "m.npz")
    assert [s.label for s in dataset.part("test")] == ["0", "1", "2", "3"]
    assert dataset.part("train")[0].image().shape == (1, 1, 28, 28)
    assert dataset.part("test")[0].image().shape == (1, 3, 28, 28)
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"bad\.npz: cannot be read"):
        read_dataset(tmp_path / "bad.npz")


def test_a_set_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="no such folder or file"):
        read_dataset(tmp_path / "gone")


def test_a_metric_that_gives_no_number_is_named(install, scans, capsys):
    source = ACME.replace(
        "return (found > 0.5).float().flatten(1).mean(1)", "return found.flatten(1).mean(1) * float('nan')"
    )
    site = install("acme", "metrics", {"area": "acme_all"}, {"acme_all": source})
    path = site / "acme-1.0.dist-info/entry_points.txt"
    rest = {g: e for g, e in GROUPS.items() if g != "metrics"}
    path.write_text(
        path.read_text() + "".join(f"[privmed.{g}]\n{k} = {v}\n" for g, e in rest.items() for k, v in e.items())
    )
    assert run(["bench", "run", str(scans / "acme.yaml"), "--data", str(scans), "-o", str(scans / "out")]) == 3
    assert "unprotected, scans.npy, linear, none, seed 0: area is nan" in capsys.readouterr().err
