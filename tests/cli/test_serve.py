"""``privmed serve`` and ``privmed covert --server``: a process that starts, answers and ends in order."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from privmed import registry
from privmed.cli import run
from privmed.client import model_version

from ..serving import photo

for plugin in ("hiders", "analyzers"):
    pytest.importorskip(f"privmed_{plugin}", reason=f"needs the plugin privmed-{plugin}")
TOKEN = "correct-horse-battery"


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("PRIVMED_TOKEN", raising=False)


def test_a_process_serves_and_ends_when_told(tmp_path):
    pytest.importorskip("fastapi", reason="needs privmed[server]")
    (tmp_path / "tokens").write_text(TOKEN)
    arguments = ["serve", "--port", "0", "--weights", "busi", "--token-file", str(tmp_path / "tokens"), "--json"]
    command = [sys.executable, "-m", "privmed", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            started = json.loads(process.stdout.readline())
            assert (started["analyzer"], started["tokens"]) == ("hidemia", 1)
            headers = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"}
            request = urllib.request.Request(started["url"] + "/v1/photos", photo(), headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
        finally:
            process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert "Traceback" not in said
    assert TOKEN not in said
    assert [line.split()[1] for line in said.splitlines() if "status=" in line] == ["status=200"]


def test_covert_with_a_server_gives_what_it_gives_without(serve, files, capsys, monkeypatch):
    analyzer = registry.analyzer("hidemia", weights="busi")
    server = serve(analyzer.analyze, allowed=[TOKEN], version=model_version(analyzer))
    (files / "token").write_text(TOKEN)
    arguments = ["covert", str(files / "scan.png"), str(files / "photo.jpg"), "--json"]
    there = ["--server", server.url, "--token-file", str(files / "token")]
    assert run([*arguments, "-o", str(files / "here")]) == 0
    here = json.loads(capsys.readouterr().out)
    assert run([*arguments, "-o", str(files / "there"), *there]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["server"] == server.url
    assert here | {"output": "", "server": ""} == said | {"output": "", "server": ""}
    for name in ("stego.png", "response.png", "recovered.png", "mask.png"):
        assert (files / "here" / name).read_bytes() == (files / "there" / name).read_bytes()
    monkeypatch.setenv("PRIVMED_TOKEN", TOKEN + "x")
    assert run([*arguments, "-o", str(files / "nowhere"), "--server", server.url]) == 1
    assert "refuses the token" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run([*arguments, "-o", str(files / "nowhere"), *there, "--weights", "isic"]) == 4
    assert not (files / "nowhere").exists()
    assert TOKEN not in "".join(server.log)


BAD = [
    (["serve", "--host", "0.0.0.0"], 2, "--token-file"),
    (["serve", "--token-file", "none"], 5, "cannot be read"),
    (["serve", "--host", "203.0.113.7", "--no-token"], 2, "cannot listen on 203.0.113.7"),
    (["serve", "--batch", "0"], 2, "batch must be at least 1"),
    (["serve", "--weights", "nope"], 4, "no bundled weights"),
    (["serve", "--analyzer", "hidemiaa"], 2, "Did you mean 'hidemia'?"),
    (["covert", "scan.png", "photo.jpg", "-o", "out", "--insecure"], 2, "--server"),
    (["covert", "scan.png", "photo.jpg", "-o", "out", "--server", "http://192.0.2.1"], 2, "unencrypted"),
    (["covert", "scan.png", "photo.jpg", "-o", "out", "--server", "nowhere"], 2, "no address"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_one_sentence_and_a_code(files, capsys, monkeypatch, case):
    pytest.importorskip("fastapi", reason="needs privmed[server]")
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    arguments, code, words = BAD[case]
    assert run(arguments) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert sorted(files.rglob("*")) == before


def test_a_port_that_is_taken(capsys):
    pytest.importorskip("fastapi", reason="needs privmed[server]")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["serve", "--port", port]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_a_missing_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [n for n in sys.modules if n.startswith("privmed.server.")]:
        monkeypatch.delitem(sys.modules, name)
    assert run(["serve"]) == 2
    assert "pip install 'privmed[server]'" in capsys.readouterr().err


def test_a_server_that_answers_a_large_photo_with_a_small_one(serve, files, capsys):
    server = serve(lambda stego: stego[..., :32, :32])
    arguments = ["covert", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "out")]
    assert run([*arguments, "--server", server.url]) == 1
    assert "pixels" in capsys.readouterr().err
    assert not (files / "out").exists()
