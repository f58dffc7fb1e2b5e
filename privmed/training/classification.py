"""Training classifiers on a class-folder data set: the models that watermarks are made against, and judged by."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from privmed.building import build
from privmed.data.augment import augment
from privmed.data.folders import ImageFolder
from privmed.data.pixels import PictureStore
from privmed.errors import InputError
from privmed.metrics import accuracy
from privmed.nn.classifiers import Classifier, ClassifierConfig
from privmed.settings import structure
from privmed.training.recipe import Recipe, data_root
from privmed.training.scores import ranked
from privmed.training.tasks import Figures, Task


class Classification(Task):
    """Cross-entropy, classes drawn equally often."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.classes = self.method.config.classes
        self.pictures = PictureStore(recipe.data.crop, squash=True)
        self.by_class = [[i for part in self.training for i in part if i.label == c] for c in self.classes]
        missing = [c for c, items in zip(self.classes, self.by_class) if not items]
        if missing:
            raise InputError(f"{self.sources[0].path}: no training image of class {missing[0]!r} is left.")

    def make_method(self) -> Classifier:
        """The network that the recipe names, for the classes of the data."""
        found = {
            i.label
            for s in self.recipe.data.secrets
            for i in ImageFolder(data_root(self.recipe) / s.folder).items("train")
        }
        if None in found:
            raise InputError(f"data set {self.recipe.data.secrets[0].folder}: expected one sub-folder a class.")
        settings = {
            "architecture": self.recipe.method.partition(":")[2],
            "classes": sorted(found),
            "size": self.recipe.data.crop,
            **self.recipe.settings,
        }
        config = structure(ClassifierConfig, settings, self.recipe.method)
        return build(lambda: Classifier(config), self.recipe.method)

    def loss(self, step: int) -> tuple[torch.Tensor, Figures]:
        rng, data = self.draw(step), self.recipe.data
        labels = torch.from_numpy(rng.integers(len(self.classes), size=data.batch))
        items = [self.by_class[c][rng.integers(len(self.by_class[c]))] for c in labels]
        images = self.place([self.pictures(i.image) for i in items])
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        images = self.team.part(augment(images, images[:, :1], generator, data.augment)[0])
        labels = self.team.part(labels)
        logits = self.method.logits(images)
        right = float((logits.detach().argmax(1).cpu() == labels).float().mean())
        return F.cross_entropy(logits, labels.to(self.device), label_smoothing=0.05), {"accuracy": round(right, 4)}

    def validate(self) -> Figures:
        items = [i for held in self.held for i in held]
        images = self.place([self.pictures(i.image) for i in items])
        found = torch.cat([self.method.logits(part).softmax(1).cpu() for part in images.split(32)])
        labels = torch.tensor([self.classes.index(i.label) for i in items])
        right = accuracy(found, labels)
        recalls = [float(right[labels == c].mean()) for c in range(len(self.classes)) if (labels == c).any()]
        return {"accuracy": float(right.mean()), **ranked(found, labels), "score": sum(recalls) / len(recalls)}
