"""Shared by the tests of training."""

import pytest


@pytest.fixture
def recipe(tmp_path, data):
    def write(task="hiding", method="hider:lightih", extra=""):
        path = tmp_path / f"{task}.yaml"
        path.write_text(
            f"name: tiny\ntask: {task}\nmethod: {method}\n{extra}"
            f"data: {{root: {data}, covers: photos, secrets: [{{folder: scans}}]}}\n"
        )
        return path

    return write
