"""``privmed plugins new``: what it writes works as it is, and it writes over nothing."""

import json
import shutil
import tomllib

import pytest
import yaml

from privmed.cli import run
from privmed.errors import OutputError, SettingsError
from privmed.scaffold import KINDS, write_plugin
from privmed.testing.report import chosen, examine


@pytest.fixture
def written(install, tmp_path):
    """Write a plugin of a kind and put it where it can be imported, as an installation does."""

    def write(kind):
        made = write_plugin(f"acme-{kind}", kind, tmp_path)
        project = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
        ((group, entries),) = project["entry-points"].items()
        site = install(project["name"], group.removeprefix("privmed."), entries, {})
        package = f"privmed_acme_{kind}"
        shutil.copytree(made.folder / package, site / package)
        return made

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_conforms(written, kind):
    made = written(kind)
    found = list(examine(chosen(f"privmed-acme-{kind}")))
    assert len(found) >= 4
    assert [(r.check, r.reason) for r in found if r.status != "passed"] == []
    assert made.name in " ".join(made.steps)


def test_a_distribution_is_whole(tmp_path):
    folder = write_plugin("soft", "analyzer", tmp_path).folder
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == {
        ".github/workflows/tests.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "phantoms.py",
        "plan.yaml",
        "privmed_soft/__init__.py",
        "privmed_soft/soft.py",
        "privmed_soft/weights/soft-default.json",
        "privmed_soft/weights/soft-default.safetensors",
        "pyproject.toml",
        "tests/test_conformance.py",
        "tests/test_soft.py",
    }
    assert "{{" not in "".join(
        (folder / name).read_text() for name in there if not name.endswith((".safetensors", ".yml"))
    )
    card = json.loads((folder / "privmed_soft/weights/soft-default.json").read_text())
    assert card["method"] == "analyzer:soft"
    assert len((folder / "README.md").read_text().splitlines()) < 45


@pytest.mark.parametrize("kind", KINDS)
def test_its_readme_shows_a_plan_that_can_be_read(tmp_path, kind):
    from privmed.bench.plan import make_plan

    text = (write_plugin("mine", kind, tmp_path).folder / "README.md").read_text()
    plan = make_plan(yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]))
    varied = [value for values in plan.grid.values() for value in values]
    assert "mine" in [plan.suite, plan.reader, *(e.method for e in plan.entries), *varied]


@pytest.mark.parametrize("kind", [kind for kind, sketch in KINDS.items() if sketch.quick])
def test_its_plan_can_be_read_and_shows_a_row_a_method(tmp_path, kind):
    from privmed.bench.plan import read_plan

    plan = read_plan(write_plugin("mine", kind, tmp_path).folder / "plan.yaml")
    assert plan.settings == yaml.safe_load(KINDS[kind].quick)
    assert [view.down for view in plan.views.values()] == ([["method"]] if kind != "suite" else [])


@pytest.mark.parametrize(
    "name", ["", "Mine", "1mine", "my_mine", "my--mine", "mine-", "../mine", "class", "x" * 61, "mine\n"]
)
def test_names_that_cannot_be_are_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="a name has lower-case letters"):
        write_plugin(name, "hider", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("unet", "exploiter", "is taken, by the exploiter of privmed"),
        ("hiders", "hider", "privmed-hiders"),
        ("nifti", "dataset", "is taken, by the reader of privmed"),
    ],
)
def test_names_that_are_taken_are_refused(tmp_path, name, kind, words):
    with pytest.raises(SettingsError, match=words):
        write_plugin(name, kind, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_module_that_can_be_imported_is_taken(tmp_path, install):
    install("other", "hiders", {"other": "privmed_mine"}, {"privmed_mine": ""})
    with pytest.raises(SettingsError, match="a module privmed_mine can be imported already"):
        write_plugin("mine", "hider", tmp_path / "new")


def test_nothing_is_written_over(tmp_path, capsys):
    there = tmp_path / "privmed-mine/notes.txt"
    there.parent.mkdir()
    there.write_text("somebody's")
    with pytest.raises(OutputError, match="privmed-mine: exists already and is not empty"):
        write_plugin("mine", "hider", tmp_path)
    assert [p.name for p in there.parent.iterdir()] == ["notes.txt"]
    assert run(["plugins", "new", "mine", "--kind", "hider", "--path", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_leading_privmed_is_not_doubled(tmp_path):
    assert write_plugin("privmed-mine", "defence", tmp_path).folder.name == "privmed-mine"


def test_an_unknown_kind_is_told(tmp_path, capsys):
    assert run(["plugins", "new", "mine", "--kind", "hidder", "--path", str(tmp_path)]) == 2
    assert "Did you mean 'hider'?" in capsys.readouterr().err


def test_it_says_what_to_do_next(tmp_path, capsys):
    assert run(["plugins", "new", "mine", "--kind", "hider", "--path", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"].endswith("privmed-mine")
    assert "privmed plugins check hider:mine" in told["next"]
