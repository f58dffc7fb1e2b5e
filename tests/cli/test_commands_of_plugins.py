"""Commands that plugins bring: named without an import, run like ours, never in the place of ours."""

import json
import subprocess
import sys

import pytest

from privmed import registry
from privmed.cli import app, run

AREA = '''
import typer
from privmed import hookimpl
from privmed.errors import InputError

def area(side: int, loud: bool = False):
    """Say how large a square is."""
    if side < 0:
        raise InputError(f"side: must not be negative, got {side}.")
    print(side * side, "!" * loud)

sets = typer.Typer(help="About sets.")

@sets.command()
def count(path: str):
    print("counting", path)

@sets.command()
def name(path: str):
    print("naming", path)

@hookimpl
def privmed_register(register):
    register.command("area", area)
    register.command("sets", sets)
'''
ENTRIES = {"area": "acme_area", "sets": "acme_area"}


def test_a_function_and_an_app_are_commands(install, capsys):
    install("acme", "commands", ENTRIES, {"acme_area": AREA})
    assert run(["area", "3", "--loud"]) == 0
    assert capsys.readouterr().out == "9 !\n"
    assert run(["sets", "count", "here"]) == 0
    assert capsys.readouterr().out == "counting here\n"


def test_errors_of_a_plugins_command_are_told_as_ours(install, capsys):
    install("acme", "commands", ENTRIES, {"acme_area": AREA})
    assert run(["area", "--", "-3"]) == 3
    assert capsys.readouterr().err == "privmed: side: must not be negative, got -3.\n"
    assert run(["area", "x"]) == 2
    assert "privmed area --help" in capsys.readouterr().err


def test_help_names_it_under_its_own_heading_and_does_not_import_it(install, capsys):
    source = AREA.replace("import typer", "import typer\nraise SystemExit('imported')")
    install("acme", "commands", ENTRIES, {"acme_area": source})
    assert run(["--help"]) == 0
    ours, heading, theirs = capsys.readouterr().out.partition("Commands of plugins")
    assert heading
    assert "area" in theirs
    assert "acme 1.0" in theirs
    assert "protect" in ours
    assert "acme_area" not in sys.modules


def test_help_of_a_command_imports_no_torch(install, tmp_path):
    site = install("acme", "commands", ENTRIES, {"acme_area": AREA})
    code = "import sys; from privmed.cli import run; run(['area', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    assert "Say how large a square is." in done.stdout


def test_a_command_of_ours_stays_ours(install, capsys):
    install("acme", "commands", {"hide": "acme_hide"}, {"acme_hide": "raise SystemExit('never imported')"})
    row = next(r for r in registry.plugins("command") if r.name == "hide")
    assert row.status == "broken"
    assert "privmed hide is a command of the core, which stays" in row.reason
    assert run(["hide", "--help"]) == 0
    told = capsys.readouterr().out
    assert "SECRET" in told.upper()
    assert run(["--help"]) == 0
    assert "Commands of plugins" not in capsys.readouterr().out


def test_all_commands_of_ours_are_known_to_the_registry():
    from typer.main import get_command

    assert set(get_command(app.app).commands) == registry.OWN_COMMANDS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("import typer", "import no_such_module_xyz"), "No module named 'no_such_module_xyz'"),
        (('register.command("area", area)', 'register.command("area", 3)'), "must be a function or a typer.Typer"),
        (('register.command("area", area)', 'register.command("Area!", area)'), "name must be lower-case letters"),
        (('register.command("area", area)', "register(area)"), r"call register.command\(name, function\)"),
        (('register.command("area", area)', "pass"), "promises 'area', but acme_area registers sets"),
    ],
    ids=range(5),
)
def test_a_broken_command_is_listed_with_its_reason(install, capsys, change, words):
    install("acme", "commands", ENTRIES, {"acme_area": AREA.replace(*change)})
    assert run(["area", "3"]) == 2
    told = capsys.readouterr().err
    assert "command 'area' (acme 1.0) is installed but does not load" in told
    assert __import__("re").search(words, told)
    assert run(["plugins", "--check", "--kind", "command", "--json"]) == 1
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["plugins"]}
    assert rows["area"]["status"] == "broken"


def test_a_command_that_two_strangers_claim_is_told_from_one_that_nobody_has(install, capsys):
    for name in ("acme", "rival"):
        install(name, "commands", {"area": f"{name}_area"}, {f"{name}_area": AREA})
    assert run(["--help"]) == 0
    assert "Commands of plugins" not in capsys.readouterr().out
    assert run(["area", "3"]) == 2
    assert "is claimed by acme 1.0 and rival 1.0" in capsys.readouterr().err
    assert run(["aera", "3"]) == 2
    assert "No such command" in capsys.readouterr().err


def test_listing_and_showing_commands_and_parts(install, capsys):
    install("acme", "commands", ENTRIES, {"acme_area": AREA})
    assert run(["plugins", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["plugins"]
    assert {r["name"] for r in rows if r["kind"] == "command"} == {"area", "sets"}
    assert run(["plugins", "show", "command:area", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["about"] == "Say how large a square is."
    assert run(["plugins", "show", "reader:nifti"]) == 0
    assert "per_volume" in capsys.readouterr().out
