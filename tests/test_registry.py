"""Discovery: whole or not at all, one plugin's trouble is nobody else's, and listing costs nothing."""

import json
import shutil
import subprocess
import sys
import textwrap

import pytest

import privmed
from privmed import registry
from privmed.cli import run
from privmed.errors import MethodNotFoundError, PluginError, SettingsError

GOOD = """
import torch
from attrs import frozen
from privmed import Hider, hookimpl
from privmed.settings import setting

@frozen(kw_only=True)
class Config:
    depth: int = setting(1, "layers")

class Mine(Hider):
    name = "{name}"
    Config = Config
    def _hide(self, secret, cover, generator):
        return cover
    def _recover(self, stego, generator):
        return stego

@hookimpl
def privmed_register(register):
    register(Mine)
"""


def good(name="mine"):
    return GOOD.replace("{name}", name)


def row(name, check=True):
    return next(r for r in registry.plugins("hider", check=check) if r.name == name)


def test_a_strangers_plugin_is_one_file_and_one_line(install):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": good()})
    assert "mine" in privmed.available("hider")
    assert row("mine").status == "ok"
    assert privmed.hider("mine", depth=3).config.depth == 3


def test_what_is_installed_or_removed_meanwhile_is_seen(install):
    assert "mine" not in privmed.available("hider")
    site = install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": good()})
    assert "mine" in privmed.available("hider")
    shutil.rmtree(site / "acme-1.0.dist-info")
    assert "mine" not in privmed.available("hider")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module_xyz", r"No module named 'no_such_module_xyz'. Try: pip install -U acme"),
        ("raise SystemExit(3)", "SystemExit"),
        ("1 +", "SyntaxError"),
        ("x = 1", "implements no hook privmed_register"),
        (good() + "\nprivmed_api = 99", "speaks plugin API 99"),
        (good("other"), "promises 'mine', but acme_mine registers other"),
        (good().replace("register(Mine)", "register(int)"), "not a subclass of privmed.Hider"),
        (good().replace("register(Mine)", "register(Mine); raise ValueError('half-way')"), "half-way"),
        (good().replace("def _hide", "def _hidden"), "does not implement _hide"),
        (good().replace("def _recover", "def recover"), "overrides the final method recover"),
        (good().replace("def privmed_register(register)", "def privmed_register(register, nonsense)"), "nonsense"),
        (good().replace("Config = Config", "Config = int"), "Config must be an attrs class"),
        (
            good().replace("    Config = Config", "    stages = 3"),
            "ability 'stages' but does not implement encode, latent, picture",
        ),
    ],
    ids=range(13),
)
def test_a_broken_plugin_is_listed_with_its_reason_and_all_else_works(install, monkeypatch, source, words):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": source})
    install("fine", "hiders", {"fine": "fine_one"}, {"fine_one": good("fine")})
    broken = row("mine")
    assert broken.status == "broken"
    assert words in broken.reason or __import__("re").search(words, broken.reason)
    assert "acme 1.0" in broken.reason
    assert row("fine").status == "ok"
    with pytest.raises(PluginError, match="installed but does not load"):
        privmed.hider("mine")
    monkeypatch.setenv("PRIVMED_STRICT", "1")
    with pytest.raises(PluginError):
        registry.plugins("hider", check=True)


def test_a_hider_of_twelve_lines_needs_no_config(install):
    """A method with nothing to set has no ``Config``."""
    start = good().index("from attrs")
    bare = good()[start:].replace("    Config = Config\n", "")
    bare = "\n".join(line for line in bare.splitlines() if "frozen" not in line and "setting" not in line)
    bare = bare.replace("class Config:\n", "")
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": bare})
    assert row("mine").status == "ok", row("mine").reason
    assert privmed.hider("mine").config == privmed.Hider.Config()
    with pytest.raises(SettingsError, match="no setting 'depth'"):
        privmed.hider("mine", depth=3)


@pytest.mark.parametrize(
    ("config", "learns", "words"),
    [
        ("Protector.Config", False, ""),
        ("Protector.Config", True, "must extend privmed.Protector.LearningConfig"),
        ("Protector.LearningConfig", True, ""),
        ("Hider.Config", False, "must extend privmed.Protector.Config"),
    ],
)
def test_a_protectors_settings_extend_those_that_every_protector_has(install, config, learns, words):
    source = f"""
from privmed import Hider, Protector, hookimpl

class Mine(Protector):
    name = "mine"
    Config = {config}
    learns = {learns}
    def _protect(self, image, mask, generators):
        return image

@hookimpl
def privmed_register(register):
    register(Mine)
"""
    install("acme", "protectors", {"mine": "acme_mine"}, {"acme_mine": source})
    found = next(r for r in registry.plugins("protector", check=True) if r.name == "mine")
    assert (found.status == "ok") == (not words), found.reason
    assert words in found.reason


def test_a_name_claimed_twice_is_refused_naming_both(install):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": good()})
    install("rival", "hiders", {"mine": "rival_mine"}, {"rival_mine": good()}, version="2.0")
    with pytest.raises(PluginError, match=r"acme 1\.0 and rival 2\.0"):
        privmed.hider("mine")
    assert "mine" not in privmed.available("hider")


@pytest.mark.parametrize("owner", ["privmed-hiders", "privmed_hiders", "privmed"])
def test_a_name_of_our_own_stays_ours_and_the_intruder_is_listed(install, owner):
    """The built-in method must not vanish because somebody claims its name."""
    install("acme", "hiders", {"ours": "acme_ours"}, {"acme_ours": good("ours")})
    install(owner, "hiders", {"ours": "own_module"}, {"own_module": good("ours")}, version="9.9")
    assert "ours" in privmed.available("hider")
    assert type(privmed.hider("ours")).__module__ == "own_module"
    ours, intruder = sorted(
        (r for r in registry.plugins("hider") if r.name == "ours"), key=lambda r: r.distribution == "acme"
    )
    assert ours.status == "installed"
    assert intruder.status == "broken"
    assert "acme 1.0" in intruder.reason
    assert f"a method of {owner} 9.9, which stays" in intruder.reason


def test_the_built_in_lightih_cannot_be_disabled(install):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    install("acme", "hiders", {"lightih": "acme_light"}, {"acme_light": "raise SystemExit('never imported')"})
    assert privmed.hider("lightih", weights=None, blocks=1).name == "lightih"
    rows = [r for r in registry.plugins("hider", check=True) if r.name == "lightih"]
    assert {r.distribution: r.status for r in rows} == {"acme": "broken", "privmed-hiders": "ok"}


def test_a_name_that_two_strangers_claim_beside_ours_is_still_ours(install):
    for name in ("acme", "rival"):
        install(name, "hiders", {"ours": f"{name}_ours"}, {f"{name}_ours": good("ours")})
    install("privmed-hiders", "hiders", {"ours": "own_module"}, {"own_module": good("ours")})
    broken = {r.distribution for r in registry.plugins("hider") if r.name == "ours" and r.status == "broken"}
    assert broken == {"acme", "rival"}


def test_check_fails_when_a_plugin_is_broken_and_the_listing_alone_does_not(install, capsys):
    install("fine", "hiders", {"fine": "fine_one"}, {"fine_one": good("fine")})
    assert run(["plugins", "--check", "--kind", "hider", "-q"]) == 0
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": "import no_such_module_xyz"})
    assert run(["plugins", "--check", "--kind", "hider", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["plugins"]
    assert [row["name"] for row in rows if row["status"] == "broken"] == ["mine"]
    assert run(["plugins", "--kind", "hider"]) == 0
    assert run(["plugins", "--check", "--kind", "analyzer", "-q"]) == 0


def test_loading_can_be_limited_to_named_distributions(install, monkeypatch):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": good()})
    install("rival", "hiders", {"mine": "rival_mine"}, {"rival_mine": good()})
    monkeypatch.setenv("PRIVMED_PLUGINS", "Acme")
    assert privmed.available("hider") == ["mine"]
    assert row("mine").distribution == "acme"


def test_methods_of_ours_that_are_left_out_are_not_called_absent(monkeypatch):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    monkeypatch.setenv("PRIVMED_PLUGINS", "acme")
    with pytest.raises(
        MethodNotFoundError, match=r"installed: none\. Those of privmed-hiders are left out by PRIVMED_PLUGINS\."
    ):
        privmed.hider("lightih")


def test_unknown_misspelt_and_broken_are_three_sentences(install):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": "import no_such_module_xyz"})
    with pytest.raises(MethodNotFoundError, match=r"no hider is called 'mime'; installed: .*Did you mean 'mine'\?"):
        privmed.hider("mime")
    with pytest.raises(PluginError, match="installed but does not load"):
        privmed.hider("mine")
    with pytest.raises(SettingsError, match=r"no kind 'hidder'; .*Did you mean 'hider'\?"):
        registry.plugins("hidder")


def test_settings_of_a_method_are_checked_all_at_once(install):
    install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": good()})
    with pytest.raises(SettingsError, match=r"2 mistakes") as caught:
        privmed.hider("mine", deph=3, depth="deep")
    assert "Did you mean 'depth'?" in str(caught.value)
    assert "must be a whole number" in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "import privmed; privmed.available('hider')",
        "from privmed.cli import run; run(['plugins', '-q'])",
        "from privmed.cli import run; run(['--help'])",
    ],
)
def test_listing_and_help_import_no_torch(code):
    script = textwrap.dedent(f"""
        import sys
        {code}
        heavy = {{"torch", "monai", "kornia", "pydicom", "skimage"}} & set(sys.modules)
        sys.exit(f"imported {{heavy}}" if heavy else 0)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
