"""The command of a record can be typed again, and names no path of the machine it ran on."""

import shlex

import pytest

from privmed.bench.provenance import command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bench", "run", "p.yaml", "--only", "random noise, 40 dB"], "bench run p.yaml --only 'random noise, 40 dB'"),
        (
            ["bench", "run", "p.yaml", "--data", "/home/me/data", "-o", "/tmp/try-7"],
            "bench run p.yaml --data DATA -o OUT",
        ),
        (["bench", "run", "../p.yaml", "--output", "../x"], "bench run P.YAML --output OUT"),
    ],
)
def test_the_command_as_a_shell_takes_it(monkeypatch, words, told):
    monkeypatch.setattr("sys.argv", ["/usr/bin/privmed", *words])
    assert command() == f"privmed {told}"
    assert len(shlex.split(command())) == len(words) + 1
