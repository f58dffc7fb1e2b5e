"""What a plugin can bring to a comparison besides methods: exploiters, defences, detectors, metrics, data-set readers, suites.

Each is a small class with a ``name``, registered like a method: an entry point in its group (``privmed.exploiters``,
``privmed.defences``, ``privmed.detectors``, ``privmed.metrics``, ``privmed.readers``, ``privmed.suites``) whose module implements
``privmed_register``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import Factory, frozen

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from privmed.bench.data import Dataset
    from privmed.bench.engine import Context
    from privmed.bench.plan import Entry
    from privmed.interfaces import Hider

Loss = Callable[["Tensor"], "Tensor"]


@frozen(kw_only=True)
class NoSettings:
    """Of a part that has nothing to set.

    Example:
        >>> from privmed import registry
        >>> registry.part("defence", "none").config
        NoSettings()
    """


class Part(ABC):
    """Something with a name and settings.

    Attributes:
        kind: what it is, set by its base class.
        name: lower-case letters, digits, ``-``, ``_`` and ``+``; unique among its kind.
        Config: attrs class of its settings.
        check_settings: settings with which the conformance kit runs it in seconds.
        expected_failures: checks of the kit that it cannot pass, each with the reason.

    Example:
        >>> from privmed import registry
        >>> part = registry.part("metric", "dice")
        >>> part.kind, part.name, part.config
        ('metric', 'dice', NoSettings())
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    Config: ClassVar[type] = NoSettings
    check_settings: ClassVar[dict[str, Any]] = {}
    expected_failures: ClassVar[dict[str, str]] = {}

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config


class Exploiter(Part):
    """A network that is trained on protected images without permission.

    Attributes:
        task: ``"segmentation"``, or ``"classification"``; then ``network`` is also given the number of classes and the side of the
            images, and gives logits (B, classes).

    Example:
        >>> import torch
        >>> from privmed.bench.contracts import Exploiter
        >>> class OneLayer(Exploiter):
        ...     name = "one-layer"
        ...     def network(self, width, classes=0, size=0):
        ...         return torch.nn.Conv2d(3, 1, 3, padding=1)
        >>> OneLayer().network(width=8)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    kind = "exploiter"
    task: ClassVar[str] = "segmentation"

    @abstractmethod
    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        """A fresh network from images (B, 3, S, S) to logits (B, 1, S, S); S is a multiple of 16.

        Args:
            width: channels of its first level, so that all exploiters of a table are of one size.
            classes: of a classifier.
            size: S, of a classifier.
        """


class Defence(Part):
    """What an exploiter does to protected images, or has beside them, in order to learn all the same.

    All steps leave everything as it is unless a defence says otherwise.

    Attributes:
        clean: share of the training images that the exploiter also has as they were before they were protected.
        validates: what the clean ones are for: to stop where the network does best on them (they are not trained on then), instead of
            to be trained on in place of the protected ones.
        pretrained: whether the network has learnt the same task on another, clean data set before.
        tasks: what it can do anything about; the suite refuses others.

    Example:
        >>> import torch
        >>> from privmed.bench.contracts import Defence
        >>> class Inverted(Defence):
        ...     name = "inverted"
        ...     def prepare(self, images):
        ...         return 255 - images
        >>> int(Inverted().purify(torch.zeros(1, 1, 32, 32, dtype=torch.uint8), truth=torch.zeros(1)).min())
        255
    """

    kind = "defence"
    clean: ClassVar[float] = 0.0
    validates: ClassVar[bool] = False
    pretrained: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "classification")

    def prepare(self, images: Tensor) -> Tensor:
        """Change all training images once, (N, 1 or 3, S, S) uint8 in and out."""
        return images

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
        """Change all training images once, knowing what they are labelled with; ``prepare`` by default.

        Args:
            images: (N, 1 or 3, S, S) uint8.
            truth: masks (N, 1, S, S), 0 or 1, or class numbers (N,).
        """
        return self.prepare(images)

    def adapt(self, network: nn.Module) -> nn.Module:
        """Change the fresh network of the exploiter."""
        return network

    def deploy(self, images: Tensor) -> Tensor:
        """Change images that the trained network is asked about, (N, 1 or 3, S, S) uint8; they were never protected."""
        return images

    def augment(self, images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Change a batch, (B, C, S, S) in [0, 1] and masks (B, 1, S, S), anew in each epoch.

        Args:
            images: (B, C, S, S) float32 in [0, 1].
            masks: (B, 1, S, S), 0 or 1.
            rng: the only source of randomness.
        """
        return images, masks

    def harden(self, images: Tensor, loss: Loss) -> Tensor:
        """Change a batch against the model in training; ``loss`` gives the model's loss on changed images.

        Args:
            images: (B, C, S, S) float32 in [0, 1].
            loss: from such a batch to a scalar, with a gradient.
        """
        return images


class Detector(Part):
    """Somebody who looks at images and wants to know in which of them something is hidden.

    Attributes:
        needs_public: whether it runs the public hider; it is left out where there is none that hides images.
        stated: settings that every record of it names. One called ``seed`` is the run's.

    Example:
        >>> import torch
        >>> from privmed.bench.contracts import Detector
        >>> class Grainy(Detector):
        ...     name = "grainy"
        ...     def score(self, images, public):
        ...         return images.float().diff(dim=3).abs().mean((1, 2, 3)) - 10
        >>> Grainy().score(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), public=None)
        tensor([-10., -10.])
    """

    kind = "detector"
    needs_public: ClassVar[bool] = False
    stated: ClassVar[tuple[str, ...]] = ()

    def fit(self, covers: Tensor, stegos: Tensor, public: Hider | None) -> None:
        """Learn from examples; nothing by default.

        Args:
            covers: photographs as they were, (N, 3, S, S) uint8.
            stegos: the same with something hidden in them.
            public: the hider with the weights that everybody has, but not the sender's key; None if it hides no images.
        """

    @abstractmethod
    def score(self, images: Tensor, public: Hider | None) -> Tensor:
        """How much images (N, 3, S, S) uint8 look as if something were hidden in them, (N,); above 0 it says so."""


@frozen(kw_only=True)
class Quantity:
    """What a table says of a metric.

    Attributes:
        title: in column heads.
        unit: "dB", "s", "" ...
        better: "higher" or "lower", for the method that is compared.
        share: whether it is a share of ``n``, with Wilson's interval as its spread.

    Example:
        >>> from privmed.bench.contracts import Quantity
        >>> Quantity(title="PSNR of the stego", unit="dB")
        Quantity(title='PSNR of the stego', unit='dB', better='higher', share=False)
    """

    title: str
    unit: str = ""
    better: str = "higher"
    share: bool = False


class Metric(Part):
    """A figure of merit of each item of a batch.

    Attributes:
        measures: ``"images"`` compares an image with its reference; ``"masks"`` compares found probabilities with the truth; so does
            ``"classes"``, of (B, classes) with class numbers (B,).
        title: see :class:`Quantity`.
        unit: see :class:`Quantity`.
        better: see :class:`Quantity`; for images it means more alike, for masks better found.

    Example:
        >>> import torch
        >>> from privmed.bench.contracts import Metric
        >>> class MeanError(Metric):
        ...     name, title, better = "mean-error", "mean error", "lower"
        ...     def __call__(self, found, truth):
        ...         return (found - truth).abs().mean((1, 2, 3))
        >>> MeanError()(torch.ones(2, 3, 32, 32), torch.zeros(2, 3, 32, 32))
        tensor([1., 1.])
    """

    kind = "metric"
    measures: ClassVar[str] = "images"
    title: ClassVar[str]
    unit: ClassVar[str] = ""
    better: ClassVar[str] = "higher"

    @abstractmethod
    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        """(B,) from two of (B, C, H, W) in [0, 1]; infinite values are left out of means, and counted."""


class Reader(Part):
    """Finds images, their truth and their split in a folder or file as a data set is published.

    Example:
        >>> from pathlib import Path
        >>> from privmed import registry
        >>> registry.load("reader", "npz").recognises(Path("pneumoniamnist.npz"))
        True
    """

    kind = "reader"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether ``path`` looks like a data set of this kind; asked only when a plan names no reader."""
        return False

    @abstractmethod
    def read(self, path: Path) -> Dataset:
        """The data set.

        Raises:
            InputError: when it is not there or not of this kind.
        """


@frozen(kw_only=True)
class Cell:
    """One run of a plan.

    Example:
        >>> from privmed.bench.contracts import Cell
        >>> from privmed.bench.plan import Entry
        >>> Cell(entry=Entry(label="LightIH", method="lightih"), data="busi", dimensions={"jpeg": 75}).dimensions
        {'jpeg': 75}
    """

    entry: Entry
    data: str
    dimensions: dict[str, Any] = Factory(dict)
    seed: int = 0


@frozen(kw_only=True)
class Value:
    """One number that a run gave; ``dimensions`` come beside those of the cell, or take one away where they say None.

    ``each`` holds the figures that it is the mean of, in an order that other runs share (that of the test images), None where one has none:
    what two methods do on the same images is compared image by image then.

    Example:
        >>> from privmed.bench.contracts import Value
        >>> Value(metric="psnr", value=38.5, n=20, spread=0.4).value
        38.5
    """

    metric: str
    value: float
    n: int = 1
    spread: float | None = None
    over: str = ""
    dimensions: dict[str, Any] = Factory(dict)
    each: list[float | None] = Factory(list)


class Suite(Part):
    """A kind of comparison: says which runs a plan asks for, and turns one run into measurements.

    Attributes:
        methods: kind of the entries' methods (``"protector"``, ...).
        grid: dimensions a plan may vary, with what they are where it does not say.
        quantities: what the suite measures beside the installed metrics.
        metrics: installed metrics that it computes where a plan does not say.
        baselines: names that an entry may have in a method's place, which the suite knows itself.

    Example:
        >>> from privmed import registry
        >>> suite = registry.load("suite", "hiding")
        >>> suite.methods, suite.quantity("psnr").unit
        ('hider', 'dB')
    """

    kind = "suite"
    methods: ClassVar[str]
    grid: ClassVar[dict[str, list[Any]]] = {}
    quantities: ClassVar[dict[str, Quantity]] = {}
    metrics: ClassVar[tuple[str, ...]] = ()
    baselines: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config)
        self.context = context

    def prepare(self) -> None:
        """Refuse a plan that cannot run, before the first run.

        Raises:
            SettingsError, InputError: with what is wrong.
        """

    def cells(self) -> Iterator[Cell]:
        """All runs, in the order of the table: entries, data, seeds, then the grid."""
        return self.context.expand()

    @abstractmethod
    def identity(self, cell: Cell) -> dict[str, Any]:
        """All that the result of a run rests on beside the cell itself, as plain data: digests of data, code and weights."""

    @abstractmethod
    def measure(self, cell: Cell) -> list[Value]:
        """Do one run."""

    def weights(self) -> dict[str, str]:
        """Digests of weights in use, for the provenance."""
        return {}

    def pictures(self) -> list[tuple[str, Path]]:
        """Captions and picture files for the page."""
        return []

    @classmethod
    def quantity(cls, metric: str) -> Quantity | None:
        """What a table says of a metric: the suite's own word first, then the installed metric's; None if neither knows it."""
        from privmed import registry
        from privmed.errors import PrivmedError

        if metric in cls.quantities:
            return cls.quantities[metric]
        try:
            found = registry.load("metric", metric)
        except PrivmedError:
            return None
        return Quantity(title=found.title, unit=found.unit, better=found.better)
