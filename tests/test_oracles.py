"""Models as oracles: preprocessing is declared, files of every kind answer alike, and ensembles are weighted means."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from privmed.errors import InputError, MissingDependencyError, SettingsError, WeightsError
from privmed.nn.classifiers import Classifier, ClassifierConfig
from privmed.oracles import Ensemble, ModelSpec, Oracle, load_oracle

PLAIN = {"classes": ["a", "b"], "size": 32, "mean": [0.5] * 3, "deviation": [0.25] * 3, "answers": "logits"}


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 2, 5, stride=4)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def declare(path, **changes):
    path.with_suffix(".json").write_text(json.dumps({**PLAIN, **changes}))
    return path


def test_what_is_declared_is_done():
    """A model that returns the mean of what it gets: (0.75 - 0.5) / 0.25 = 1, and softmax of (1, 0)."""

    def network(x):
        assert x.shape[-2:] == (32, 32)
        mean = x.mean((1, 2, 3))
        return torch.stack([mean, torch.zeros_like(mean)], 1)

    oracle = Oracle(network, ModelSpec(**PLAIN))
    answer = oracle(torch.full((2, 1, 40, 50), 0.75))
    assert torch.allclose(answer, torch.tensor([[0.7311, 0.2689]] * 2), atol=1e-3)


def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs privmed[onnx]")
    pytest.importorskip("onnx", reason="needs onnx to write the file")
    assert onnxruntime
    model, example = Small().eval(), torch.rand(2, 3, 32, 32)
    torch.onnx.export(
        model, (example,), tmp_path / "c.onnx", dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
    )
    images = torch.rand(3, 3, 48, 40)
    answer = load_oracle(declare(tmp_path / "c.onnx"))(images)
    assert torch.allclose(answer, Oracle(model, ModelSpec(**PLAIN))(images), atol=1e-2)


def test_ensemble_is_the_weighted_mean():
    def always(p):
        return Oracle(
            lambda x: torch.tensor([[p, 1 - p]]).repeat(len(x), 1), ModelSpec(**{**PLAIN, "answers": "probabilities"})
        )

    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(Ensemble([always(0.2), always(0.8)])(images)[:, 0], torch.tensor(0.5))
    assert torch.allclose(Ensemble([always(0.2), always(0.8)], [3, 1])(images)[:, 0], torch.tensor(0.35))
    with pytest.raises(SettingsError, match="shares"):
        Ensemble([always(0.2)], [1, 1])
    other = Oracle(lambda x: x, ModelSpec(**{**PLAIN, "classes": ["a", "c"]}))
    with pytest.raises(SettingsError, match="knows"):
        Ensemble([always(0.2), other])


def test_bad_model_files(tmp_path, in_process):
    for name in ("a.pt", "b.pt2"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(SettingsError, match="nothing is declared"):
            load_oracle(tmp_path / name, trust=True)
        declare(tmp_path / name)
        with pytest.raises(WeightsError, match="cannot be loaded as a file of"):
            load_oracle(tmp_path / name, trust=True)
    declare(tmp_path / "a.pt", deviation=[0.25])
    torch.jit.save(torch.jit.script(Small()), tmp_path / "a.pt")
    with pytest.raises(SettingsError, match="3 values"):
        load_oracle(tmp_path / "a.pt", trust=True)
    with pytest.raises(InputError, match="3 classes"):
        load_oracle(declare(tmp_path / "a.pt", classes=["a", "b", "c"]), trust=True)(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "efficientnet-b0", "senet50", "vit"])
def test_classifiers_answer_with_probabilities(architecture):
    pytest.importorskip("monai", reason="needs privmed[monai]")
    model = Classifier(ClassifierConfig(architecture=architecture, classes=["a", "b", "c"], size=32)).eval()
    answer = model(torch.rand(2, 1, 50, 40)).detach()
    assert answer.shape == (2, 3)
    assert torch.allclose(answer.sum(1), torch.ones(2), atol=1e-5)


def test_bad_classifiers():
    with pytest.raises(SettingsError, match="resnet18"):
        Classifier(ClassifierConfig(architecture="resnet", classes=["a", "b"]))
    with pytest.raises(SettingsError, match="two different classes"):
        Classifier(ClassifierConfig(classes=["a", "a"]))


def test_weights_alone_go_into_the_declared_architecture(tmp_path):
    pytest.importorskip("monai", reason="needs privmed[monai]")
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(architecture="resnet18", classes=["a", "b"], size=32)).network.eval()
    torch.save(network.state_dict(), tmp_path / "m.pth")
    images = torch.rand(2, 3, 40, 40)
    with pytest.raises(SettingsError, match="name the architecture"):
        load_oracle(declare(tmp_path / "m.pth"))
    oracle = load_oracle(declare(tmp_path / "m.pth", architecture="resnet18"))
    assert torch.allclose(oracle(images), Oracle(network, ModelSpec(**PLAIN))(images), atol=1e-3)
    with pytest.raises(WeightsError, match="no weights of resnet18 for 3 classes"):
        load_oracle(declare(tmp_path / "m.pth", architecture="resnet18", classes=["a", "b", "c"]))
    (tmp_path / "m.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_oracle(declare(tmp_path / "m.pth", architecture="resnet18"))


def test_models_of_the_zoo_bring_their_preprocessing(monkeypatch):
    """torchvision as its documentation describes it, since it does not import beside every torch."""
    how = SimpleNamespace(crop_size=[32], mean=[0.5] * 3, std=[0.25] * 3)
    weights = SimpleNamespace(meta={"categories": ["a", "b"]}, transforms=lambda: how)
    models = SimpleNamespace(
        list_models=lambda module: ["small"],
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights),
        get_model=lambda name, weights: Small(),
    )
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    images = torch.rand(2, 1, 40, 40)
    oracle = load_oracle("torchvision:small")
    assert torch.allclose(oracle(images), Oracle(Small().eval(), ModelSpec(**PLAIN))(images), atol=1e-3)
    assert oracle.classes == ["a", "b"]
    with pytest.raises(SettingsError, match="no such model"):
        load_oracle("torchvision:smal")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependencyError, match=r"privmed\[zoo\]"):
        load_oracle("torchvision:small")


def test_answers_that_are_no_tensor_and_classes_declared_twice_are_told():
    declared = {"size": 32, "mean": [0.0] * 3, "deviation": [1.0] * 3, "answers": "logits"}
    oracle = Oracle(lambda x: {"logits": x.mean((2, 3))}, ModelSpec(classes=["a", "b", "c"], **declared))
    with pytest.raises(InputError, match="answers with dict, expected a tensor"):
        oracle(torch.rand(1, 3, 32, 32))
    with pytest.raises(SettingsError, match="declares a class twice"):
        Oracle(lambda x: x, ModelSpec(classes=["a", "b", "b"], **declared))
