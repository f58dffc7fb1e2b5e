"""What an installation says of itself."""

import json

import pytest

from privmed import diagnosis
from privmed.cli import run


def told(capsys, code=0):
    assert run(["doctor", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_it_names_torch_devices_room_and_extras(capsys):
    import torch

    found = told(capsys)
    assert found["torch"] == torch.__version__
    assert "cpu" in found["devices"]
    assert found["bf16"].keys() >= {"cpu"}
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert all(free > 0 for free in found["disk"].values())
    assert {e["name"] for e in found["extras"]} >= {"dicom", "keys", "zoo"}
    assert found["broken"] == []


def test_a_broken_plugin_is_named_and_counts(install, capsys):
    install("acme", "metrics", {"area": "acme_area"}, {"acme_area": "import no_such_module_xyz"})
    assert "metric 'area' (acme 1.0) is installed but does not load" in told(capsys, 1)["broken"][0]
    assert run(["doctor"]) == 1
    assert "! metric 'area'" in capsys.readouterr().out


def test_a_missing_extra_has_the_command_that_installs_it(monkeypatch, capsys):
    asked = [
        "numpy>=1",
        'nibabel>=5.2; extra == "nifti"',
        "none-such>=1; extra == 'odd'",
        'acme[odd,nifti]; extra == "all"',
        'torch>=2; extra == "all"',
    ]
    monkeypatch.setattr(diagnosis, "requires", lambda _: asked)
    rows = {e["name"]: e for e in diagnosis.extras("acme")}
    assert rows["odd"] == {"name": "odd", "missing": ["none-such"], "install": "pip install 'acme[odd]'"}
    assert "none-such" in rows["all"]["missing"]
    assert "torch" not in rows["all"]["missing"]
    monkeypatch.setattr(diagnosis, "extras", lambda: [rows["odd"]])
    assert run(["doctor"]) == 0
    assert "missing none-such: pip install 'acme[odd]'" in " ".join(capsys.readouterr().out.split())


def test_codecs_of_dicom_are_looked_for():
    pytest.importorskip("pylibjpeg", reason="needs privmed[dicom]")
    found = diagnosis._codecs()
    assert found["DICOM, JPEG 2000"]
    assert found["DICOM"]
