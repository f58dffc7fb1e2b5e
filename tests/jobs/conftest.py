"""Workers import the tasks of these tests by name."""

from pathlib import Path

import pytest


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import jobtasks

    return jobtasks
