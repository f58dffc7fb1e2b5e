"""What the site's pages are generated from, and what may not be missing in it."""

import json
import os
from pathlib import Path

import pytest
from attrs import evolve, frozen
from privmed_site import boards, commands, directory, methods, schemas
from privmed_site.pages import Pages

from privmed import registry
from privmed.bench.plan import Plan
from privmed.bench.records import Measurement
from privmed.settings import required, setting
from privmed.training.recipe import Recipe

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
OURS = [(kind, name) for kind in registry.METHODS for name in registry.available(kind)]


@pytest.fixture(scope="module")
def hiding():
    return boards.load(RESULTS / "hiding.jsonl")


@pytest.mark.parametrize(("kind", "name"), OURS, ids=[f"{k}:{n}" for k, n in OURS])
def test_every_method_says_what_its_page_needs(kind, name):
    page = methods.page(kind, name, [])
    said = page["about"]
    assert said.headline.endswith(".")
    assert said.paper
    assert said.sections.keys() == set(methods.SECTIONS), (
        "its module's docstring needs an Idea, a Formula and a Weak at"
    )
    assert "Idea:" not in said.paper + said.sections["Formula"]
    assert not [s["name"] for s in page["settings"] if not s["doc"]]
    assert ":class:" not in said.paper + page["summary"]


def test_sections_of_a_docstring_are_told_apart_from_its_paper():
    class Method:
        """Not this: the module speaks."""

    Method.__module__ = __name__
    assert methods.about(Method).headline.startswith("What the site's pages")
    assert methods.plain("see :class:`~privmed.Hider` and ``x``") == "see `privmed.Hider` and `x`"


def test_a_formula_keeps_its_lines():
    class Method:
        """A method.

        A. Author, "A Paper".

        Idea: Add.

        Formula:
            a = b
              + c

        Weak at: all.
        """

    Method.__module__ = "no.such.module"
    said = methods.about(Method)
    assert said.sections == {"Idea": "Add.", "Formula": "a = b\n  + c", "Weak at": "all."}
    assert said.paper == 'A. Author, "A Paper".'


@pytest.mark.parametrize(
    ("target", "setting", "paper"),
    [
        ("analyzer:unet", "width", "64"),
        ("analyzer:hidemia", "gain", "1"),
        ("analyzer:hidemia", "query_from", "source"),
        ("analyzer:hidemia", "attention_kernel", "linear"),
        ("analyzer:hidemia", "presence", "not in it"),
        ("analyzer:hidemia", "width", "not said"),
        ("protector:ar", "norm", "l2"),
        ("protector:tap", "restarts", "8"),
        ("protector:em", "width", "64"),
        ("protector:umed", "robust", "not in it"),
        ("protector:umed", "cycles", ""),
        ("protector:umed", "texture", ""),
    ],
)
def test_the_papers_value_stands_beside_the_default(target, setting, paper):
    found = {s["name"]: s["paper"] for s in methods.page(*target.split(":"), [])["settings"]}
    assert found[setting] == paper


def test_a_method_stands_with_its_own_figures_and_no_others(hiding):
    (table,) = methods.figures_of("hinet", [hiding])
    assert {row["method"] for row in table["rows"]} == {"hinet"}
    reported = [row["paper"] != "–" for row in table["rows"]]
    assert any(reported)
    assert reported == sorted(reported, reverse=True)
    assert len(table["rows"]) + table["more"] == sum(f.fields["method"] == "hinet" for f in hiding.figures)
    assert methods.figures_of("medlocker", [hiding]) == []


def test_a_board_holds_every_figure_beside_the_papers_and_leads_to_its_origin(hiding):
    rows = [boards.row(figure) for figure in hiding.figures]
    cells = {m.cell for m in hiding.table.records.measurements}
    assert len(rows) == len(cells)
    (one,) = [r for r in rows if r["method"] == "lightih" and r["metric"] == "PSNR, RGB" and r["paper_value"] != ""]
    assert (one["paper"], one["met"]) == ("43.60", "not met")
    assert one["value"] == pytest.approx(float(one["measured"].split()[0]), abs=0.005)
    assert {p for r in rows for p in r["provenances"]} <= hiding.table.records.provenances.keys()


def test_boards_of_one_title_are_told_apart_by_their_names(hiding):
    same = [evolve(hiding, name=name, title="Set") for name in ("set-grey", "set-grey-more", "set-grey-most")]
    found = {b.name: b.title for b in boards.told_apart([*same, hiding])}
    assert found == {
        "hiding": hiding.title,
        "set-grey": "Set (main)",
        "set-grey-more": "Set (more)",
        "set-grey-most": "Set (most)",
    }


def test_the_list_of_boards_shows_their_titles_below_a_heading_in_words(hiding, tmp_path):
    every = boards.load_all(RESULTS)
    assert len({b.title for b in every}) == len(every)
    assert {b.table.plan.suite for b in every} <= boards.WORDS.keys()
    with Pages(tmp_path) as pages:
        boards.write(pages, [hiding])
    index = (tmp_path / "benchmarks/index.md").read_text()
    assert "## Hiding\n" in index
    assert f"| [{hiding.title}](hiding.md) | busi, isic, cxr | {len(hiding.figures)} |" in index
    page = (tmp_path / "benchmarks/hiding.md").read_text()
    assert page.index('class="board"') < page.index("## ") < page.index(hiding.table.plan.notes[0][:40])


def test_every_command_is_listed_with_what_it_needs():
    found = {c["path"]: c for c in commands.commands()}
    assert {"privmed demo", "privmed hide", "privmed bench run", "privmed plugins show"} <= found.keys()
    assert commands.usage(found["privmed protect"]) == "privmed protect DATASET -o OUTPUT [OPTIONS]"
    silent = [f"{path} {o['names'][0]}" for path, c in found.items() for o in c["options"] if not o["help"]]
    assert silent == []


def test_exit_codes_are_those_of_the_errors():
    codes = dict(commands.exit_codes())
    assert "KeyFileError" in codes[5]
    assert "VerificationError" in codes[6]


def test_the_directory_has_results_of_what_our_plugins_are_now():
    from privmed.testing import checks_for
    from privmed.testing.kit import contract_of

    found = {p["name"]: p for p in directory.listed()}
    for kind, name in OURS:
        (info,) = [p for p in registry.plugins(kind) if p.name == name]
        entry = found[info.distribution]
        (part,) = [p for p in entry["parts"] if p["target"] == f"{kind}:{name}"]
        assert (entry["version"], entry["privmed"]) == (info.version, info.version), "make directory"
        assert part["count"]["failed"] == 0
        kit = contract_of(registry.load(kind, name))
        assert set(part["checks"]) == {check.__name__.removeprefix("check_") for check in checks_for(kit)}, (
            "make directory"
        )


def test_the_directory_refuses_results_of_something_else(tmp_path):
    entry = {"name": "privmed-mine", "about": "Mine.", "home": "https://example.org", "by": "me"}
    (tmp_path / "directory.yaml").write_text(json.dumps([entry]))
    results = {"privmed": "1", "checked": {"hider:x": {"distribution": "other", "version": "1"}}, "results": []}
    (tmp_path / "privmed-mine.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match="not those of one version of privmed-mine"):
        directory.listed(tmp_path)
    (tmp_path / "directory.yaml").write_text(json.dumps([{"name": "privmed-mine"}]))
    with pytest.raises(ValueError, match="expected"):
        directory.listed(tmp_path)


@frozen
class Inner:
    """Inside."""

    x: int = setting(3, "a number")


@frozen
class Outer:
    """Outside."""

    parts: dict[str, list[Inner]] = required("by name")


def test_a_schema_descends_into_what_a_class_holds():
    outer, inner = schemas.schema(Outer)
    assert outer["rows"][0] | {"type": ""} == {
        "name": "parts",
        "type": "",
        "default": "",
        "allowed": "",
        "doc": "by name",
        "holds": ["Inner"],
        "required": True,
    }
    assert (inner["name"], inner["rows"][0]["default"]) == ("Inner", 3)


@pytest.mark.parametrize("cls", [Recipe, Plan, Measurement])
def test_every_field_of_a_schema_is_described(cls):
    assert [f"{c['name']}.{r['name']}" for c in schemas.schema(cls) for r in c["rows"] if not r["doc"]] == []


def test_an_unchanged_page_keeps_its_time_and_a_stale_one_goes(tmp_path, monkeypatch):
    from privmed_site import pages as module

    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.md").write_text("{{ word | cell }}\n")
    monkeypatch.setattr(module, "TEMPLATES", tmp_path / "templates")
    out = tmp_path / "out"
    (out / "kept").mkdir(parents=True)
    for name in ("kept/picture.png", "stale.md"):
        (out / name).touch()
    for _ in range(2):
        with Pages(out, keep=("kept",)) as pages:
            pages.write("a.md", "a.md", word="x|y")
        assert (out / "a.md").read_text() == "x\\|y\n"
        os.utime(out / "a.md", (1, 1))
    with Pages(out, keep=("kept",)) as pages:
        pages.write("a.md", "a.md", word="x|y")
    assert (out / "a.md").stat().st_mtime == 1
    assert (out / "kept/picture.png").exists()
    assert not (out / "stale.md").exists()
