"""What the documents show works as shown."""

import re
from pathlib import Path

import pytest

from privmed import registry, weights
from privmed.testing import checks_for

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "plugins").glob("*/README.md")),
]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_plugin_in_the_guide_conforms(install):
    source = next(b for b in blocks("docs/write-a-plugin.md", "python") if "class Mix" in b)
    entry = re.search(r"^(\w+) = \"(\w+)\"", blocks("docs/write-a-plugin.md", "toml")[0], re.MULTILINE)
    install("acme", "hiders", {entry[1]: entry[2]}, {entry[2]: source})
    for check in checks_for("hider"):
        check(registry.create("hider", "mix"))


def test_the_pipelines_shown_run_and_do_what_the_page_says():
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
    source = next(b for b in blocks("docs/pipelines.md", "python") if "def model" in b)
    first, rest = source.split("def model", 1)
    names: dict = {}
    exec(first, names)
    protected = names["run"]
    assert 0 < protected.metrics["protected_largest_change"] < 0.2
    assert protected.metrics["protected_psnr"] > 25
    middle, last = ("def model" + rest).split("run = (mark | blur", 1)
    exec(middle, names)
    assert (names["run"].unlocked * 255).equal((names["image"] * 255).round())
    assert names["run"].queries[0] > 1
    exec("run = (mark | blur" + last, names)
    assert names["run"].metrics["accuracy"] in (0, 1)


def test_the_code_of_the_start_page_finds_the_lesion():
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    names: dict = {}
    exec(blocks("docs/index.md", "python")[0], names)
    found, truth = names["mask"] > 0.5, names["lesion"] > 0.5
    assert (found & truth).sum() > 0.7 * truth.sum()


def test_readme_names_every_method():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Methods")[1].split("\n## ")[0]
    for kind in registry.METHODS:
        told = [line for line in table.splitlines() if line.startswith(f"| {kind} |")]
        missing = [n for n in registry.available(kind) if f"`{n}`" not in "".join(told)]
        assert missing == [], kind


def test_the_watermarker_in_the_guide_conforms(install):
    source = next(b for b in blocks("docs/write-a-plugin.md", "python") if "class Corner" in b)
    install("acme", "watermarkers", {"corner": "acme_corner"}, {"acme_corner": source})
    for check in checks_for("watermarker"):
        check(registry.create("watermarker", "corner"))


def test_the_command_in_the_guide_runs(install, capsys):
    from privmed.cli import run

    source = next(b for b in blocks("docs/write-a-plugin.md", "python") if "register.command" in b)
    install("acme", "commands", {"area": "acme_area"}, {"acme_area": source})
    assert run(["area", "3", "--json", "--quiet"]) == 0
    assert capsys.readouterr().out == '{"area": 9}\n'


def test_the_guide_knows_every_kind():
    from privmed.hooks import GROUPS

    text = (ROOT / "docs/write-a-plugin.md").read_text(encoding="utf-8")
    assert all(f"| `{group}` |" in text for group in GROUPS.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "generated/")):  # building the site checks what it generates
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_plans_and_scripts_that_are_named_exist():
    """Commands of tables may name scripts that are gone; the head of the results says which."""
    head = (ROOT / "docs/results.md").read_text(encoding="utf-8").split("<!-- results:")[0]
    gone = set(re.findall(r"`(benchmarks/\w+\.py)`", head))
    assert gone
    assert not any((ROOT / name).exists() for name in gone)
    for path in [*PAGES, *sorted((ROOT / "privmed/cli").glob("*.py"))]:
        named = set(re.findall(r"benchmarks/[\w-]+\.(?:py|yaml)", path.read_text(encoding="utf-8")))
        placeholders = {name for name in named if Path(name).stem.isupper()}
        assert {name for name in named - gone - placeholders if not (ROOT / name).exists()} == set(), path


def test_all_data_of_bundled_weights_are_told_with_their_terms():
    told = (
        (ROOT / "docs/training.md")
        .read_text(encoding="utf-8")
        .split("## What the weights were trained on")[1]
        .split("\n## ")[0]
    )
    for kind in ("hider", "analyzer"):
        for method in registry.available(kind):
            for name, path in weights.bundled(registry.load(kind, method)).items():
                recipe = weights.read_card(path)["recipe"]["data"]
                covers = (
                    [recipe["covers"]] if isinstance(recipe["covers"], str) else [c["folder"] for c in recipe["covers"]]
                )
                folders = {*covers, *(s["folder"] for s in recipe["secrets"])}
                assert {f for f in folders if f"`{f}`" not in told} == set(), f"{kind}:{method} {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shown_python_is_python(page):
    for source in blocks(str(page.relative_to(ROOT)), "python"):
        compile(source, page.name, "exec")


def test_every_recipe_is_valid():
    from privmed.training.stages import read_stages

    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        read_stages(path)
