"""Models as oracles: callables from images in [0, 1] to class probabilities, whatever file they come from.

Size, mean, deviation, names of the classes and whether it answers with logits are declared with the model, never guessed: in the model
card of weights that ``privmed train`` made, or in a small JSON file beside a TorchScript, ``torch.export`` or ONNX file.

TorchScript and ``torch.export`` files are programs: they are refused unless their owner trusts them, and run apart even then.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from privmed import weights
from privmed.building import build
from privmed.errors import InputError, MissingDependencyError, SettingsError, WeightsError, did_you_mean
from privmed.limits import check_file, read_bytes, read_json
from privmed.nn.classifiers import Classifier, ClassifierConfig, prepare
from privmed.onnx_files import check_external_data
from privmed.precision import subnet_precision
from privmed.sandbox import ModelProcessError, SeparateModel
from privmed.settings import at_least, one_of, required, setting, structure

Network = Callable[[Tensor], Any]
FORMATS = (".safetensors", ".pt", ".pt2", ".pth", ".onnx")
PROGRAMS = (".pt", ".pt2")  # TorchScript and torch.export
ZOO = "torchvision:"
TOLERANCE = 0.02  # probabilities in half precision do not add up to 1 exactly


@frozen(kw_only=True)
class ModelSpec:
    """What has to be said about a model file: ``FILE.json`` beside it."""

    classes: list[str] = required("names of the classes, in the order of its answers")
    size: int = required("side that images are scaled to", at_least(8))
    mean: list[float] = required("subtracted from the channels of an image in [0, 1]; one or three values")
    deviation: list[float] = required("that the channels are divided by then")
    answers: str = required("what it answers with", one_of("logits", "probabilities"))
    channels: int = setting(3, "of the image it takes; 1 takes the mean of the channels", one_of(1, 3))
    architecture: str = setting("", "network that the weights of a .pth file belong to, as `privmed train` names it")


class Oracle:
    """A model with its declared preprocessing.

    Args:
        network: from prepared images to logits or probabilities.
        spec: what has to happen before and after.
        device: where it computes.
        name: for tables.
    """

    def __init__(self, network: Network, spec: ModelSpec, device: str = "cpu", name: str = "model") -> None:
        d = self.spec = spec
        if not len(d.mean) == len(d.deviation) == d.channels or min(d.deviation) <= 0:
            raise SettingsError(f"{name}: mean and deviation need {d.channels} values each, deviation above 0.")
        if len(set(d.classes)) != len(d.classes):
            raise SettingsError(f"{name}: declares a class twice: {', '.join(d.classes)}.")
        self.network, self.device, self.name = network, torch.device(device), name
        self.classes = list(d.classes)
        self._mean, self._deviation = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (d.mean, d.deviation))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes) of images (N, 1 or 3, H, W) in [0, 1].

        Raises:
            InputError: when the model answers with another number of classes than declared.
        """
        x = images.to(self.device)
        x = x.mean(1, keepdim=True) if self.spec.channels == 1 else x.expand(-1, 3, -1, -1)
        x = prepare(x, self.spec.size, self._mean, self._deviation)
        try:
            with subnet_precision("auto", self.device):
                answer = self.network(x.contiguous(memory_format=torch.channels_last))
        except Exception as error:  # a foreign network can fail in any way
            said = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise InputError(
                f"model {self.name}: fails on a batch of shape {tuple(x.shape)} ({said[:200]})."
            ) from error
        answer = answer[0] if isinstance(answer, (tuple, list)) else answer
        try:
            answer = torch.as_tensor(answer).float().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"model {self.name}: answers with {type(answer).__name__}, expected a tensor of (images, classes). Export it so."
            ) from error
        if answer.ndim != 2 or answer.shape[1] != len(self.classes):
            raise InputError(
                f"model {self.name}: answers with shape {tuple(answer.shape)}, but {len(self.classes)} classes are declared for it."
            )
        if not torch.isfinite(answer).all():
            raise InputError(f"model {self.name}: answers with NaN or infinite values.")
        if self.spec.answers == "logits":
            return answer.softmax(1)
        if float(answer.min()) < -TOLERANCE or float((answer.sum(1) - 1).abs().max()) > TOLERANCE:
            raise InputError(f'model {self.name}: answers with no probabilities. Declare "answers": "logits" for it.')
        return answer


class Ensemble:
    """A weighted mean of oracles (MedLocker, Eq. 8).

    Args:
        members: oracles that know the same classes.
        shares: their weights; equal by default.

    Raises:
        SettingsError: when they know different classes, or the shares do not fit.
    """

    def __init__(self, members: Sequence[Oracle], shares: Sequence[float] | None = None) -> None:
        if not members:
            raise SettingsError("ensemble: has no model.")
        shares = [1.0] * len(members) if shares is None else list(shares)
        if len(shares) != len(members) or not min(shares) >= 0 or not 0 < sum(shares) < math.inf:
            raise SettingsError(f"ensemble: expected {len(members)} shares, none negative and not all 0, got {shares}.")
        for member in members[1:]:
            if member.classes != members[0].classes:
                raise SettingsError(
                    f"ensemble: {member.name} knows {', '.join(member.classes)}, but {members[0].name} knows "
                    f"{', '.join(members[0].classes)}."
                )
        self.members, self.shares = list(members), [s / sum(shares) for s in shares]
        self.classes = members[0].classes
        self.name = members[0].name if len(members) == 1 else " + ".join(m.name for m in members)

    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes)."""
        return sum(share * member(images) for share, member in zip(self.shares, self.members))


def load_oracle(path: str | Path, device: str = "cpu", trust: bool = False) -> Oracle:
    """Load a model file, or a pretrained model of the zoo.

    Args:
        path: ``.safetensors`` of ``privmed train`` with its card; ``.pt`` (TorchScript), ``.pt2`` (torch.export), ``.onnx`` or ``.pth``
            (weights alone, of a declared architecture) with a description beside it; or ``torchvision:NAME``.
        device: where it computes.
        trust: whether ``.pt`` and ``.pt2`` files may be used. They are programs, and run in a process that gets tensors alone.

    Raises:
        WeightsError: when the file is missing or damaged, or no model.
        SettingsError: for a program that is not trusted, an ending that is not known, or a bad description, listing all its mistakes.
        MissingDependencyError: when onnxruntime or torchvision is needed and not installed.
    """
    if str(path).startswith(ZOO):
        return _pretrained(str(path).removeprefix(ZOO), device)
    path = Path(path)
    if path.suffix not in FORMATS:
        raise SettingsError(f"model {path}: expected a file ending in {', '.join(FORMATS)}, or {ZOO}NAME.")
    if not os.path.exists(path):  # False also for a name that is too long
        raise WeightsError(f"model {path}: no such file.")
    check_file(path, error=WeightsError, name=f"model {path}")
    if path.suffix in PROGRAMS and not trust:
        raise SettingsError(
            f"model {path}: is a program, which could read and write files, so it runs only with --trust-model (in Python trust=True); "
            "ONNX, or weights as .safetensors or .pth of a declared architecture, need no trust."
        )
    if path.suffix == ".safetensors":
        model = load_classifier(path, device)
        c = model.config
        spec = ModelSpec(classes=c.classes, size=c.size, mean=c.mean, deviation=c.deviation, answers="logits")
        return Oracle(model.network, spec, device, path.stem)
    spec = read_spec(path)
    if path.suffix == ".pth":
        return Oracle(_state(path, spec, device), spec, device, path.stem)
    network = _onnx(path) if path.suffix == ".onnx" else _program(path, device)
    return Oracle(network, spec, device, path.stem)


def fingerprint(path: str | Path) -> str:
    """What tells a model from another: the beginning of the SHA-256 of its file and description, or the name of one of the zoo."""
    if str(path).startswith(ZOO):
        return str(path)
    path = Path(path)
    beside = path.with_suffix(".json") if path.suffix in FORMATS[1:] else None
    declared = read_bytes(beside, "text_bytes") if beside is not None and beside.is_file() else b""
    return hashlib.sha256(read_bytes(path) + declared).hexdigest()[:16]


def load_classifier(path: Path, device: str = "cpu") -> Classifier:
    """Load a classifier that ``privmed train`` made."""
    card = weights.read_card(path, Classifier)
    config = structure(ClassifierConfig, card["config"], f"model {path}")
    model = build(lambda: Classifier(config), config.architecture, path)
    weights.load_into(model, path, card)
    return model.to(device).eval()


def read_spec(path: Path) -> ModelSpec:
    """Read what is declared about a model file.

    Raises:
        SettingsError: when there is no description, or it has mistakes.
    """
    beside = path.with_suffix(".json")
    try:
        plain = read_json(beside, error=SettingsError)
    except FileNotFoundError as error:
        example = '{"classes": ["a", "b"], "size": 224, "mean": [0.5, 0.5, 0.5], "deviation": [0.25, 0.25, 0.25], "answers": "logits"}'
        raise SettingsError(
            f"model {path}: nothing is declared about it. Write {beside.name} beside it, such as {example}."
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"model {path}: {beside.name} is no JSON file.") from error
    return structure(ModelSpec, plain, str(beside))


def _pretrained(name: str, device: str) -> Oracle:
    """A model of torchvision with its published weights, classes and preprocessing."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(f"{ZOO}{name} needs torchvision: pip install 'privmed[zoo]'.") from error
    known = models.list_models(models)
    if name not in known:
        raise SettingsError(f"{ZOO}{name}: there is no such model.{did_you_mean(name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    how = weights.transforms()
    spec = ModelSpec(
        classes=list(weights.meta["categories"]),
        size=how.crop_size[0],
        mean=list(how.mean),
        deviation=list(how.std),
        answers="logits",
    )
    return Oracle(models.get_model(name, weights=weights).to(device).eval(), spec, device, name)


def _state(path: Path, spec: ModelSpec, device: str) -> Network:
    """Weights alone, put into the architecture that is declared for them."""
    if not spec.architecture:
        raise SettingsError(f"model {path}: holds weights alone, so {path.stem}.json must name the architecture.")
    config = ClassifierConfig(architecture=spec.architecture, classes=spec.classes, size=spec.size)
    network = build(lambda: Classifier(config), config.architecture).network
    try:
        state = weights.load_checkpoint(path, device)
    except WeightsError:
        raise
    except Exception as error:  # a damaged archive can fail in any way
        raise WeightsError(f"model {path}: cannot be read as weights.") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"model {path}: these are no weights of {spec.architecture} for {len(spec.classes)} classes."
        ) from error
    return network.to(device).eval()


def _program(path: Path, device: str) -> Network:
    """A TorchScript or ``torch.export`` model in a process of its own."""
    try:
        return SeparateModel(read_bytes(path, error=WeightsError, name=f"model {path}"), path.suffix, device)
    except ModelProcessError as error:
        kind = "TorchScript" if path.suffix == ".pt" else "torch.export"
        raise WeightsError(f"model {path}: cannot be loaded as a file of {kind} ({error}).") from error


def _onnx(path: Path) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("an ONNX model needs onnxruntime: pip install 'privmed[onnx]'.") from error
    check_external_data(path)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime has errors of its own
        raise WeightsError(f"model {path}: is no ONNX file that can be run ({str(error).splitlines()[0]}).") from error
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> np.ndarray:
        return session.run(None, {name: np.ascontiguousarray(x.cpu().numpy())})[0]

    return run
