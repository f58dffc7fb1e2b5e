"""Optional abilities: small protocols beside the four contracts, asked for by name and never by class.

A method claims an ability by having its members. One that has some of them but not all is refused when it is loaded, so that nobody finds
out in the middle of a training. ``privmed plugins show KIND:NAME`` lists what a method claims, and the conformance kit tests it.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

State = tuple[Tensor, Tensor]


@runtime_checkable
class Staged(Protocol):
    """A hider that can stop between its stages and go on from another's state: what function-aligned distillation needs.

    A state is a pair of tensors; the first becomes the stego, the second is the secret and, once hidden, what is lost of it.

    Example:
        >>> import privmed
        >>> from privmed.interfaces.abilities import Staged
        >>> isinstance(privmed.hider("lightih"), Staged), isinstance(privmed.hider("hidden"), Staged)
        (True, False)
    """

    @property
    def stages(self) -> int:
        """How many stages there are."""

    def encode(self, secret: Tensor, cover: Tensor) -> State:
        """The state before the first stage, of images (B, 3, H, W)."""

    def run(self, state: State, first: int, last: int) -> State:
        """Apply stages ``first`` to ``last - 1``; with ``first > last`` undo stages ``first - 1`` down to ``last``.

        Args:
            state: two tensors of one shape, as :meth:`encode` gives them.
            first: stage to begin with, from 0.
            last: stage before which to stop.
        """

    def latent(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """What stands for the lost part of a state when recovering begins."""

    def picture(self, part: Tensor) -> Tensor:
        """A part of a state as an image, (B, 3, H, W), unclamped."""


@runtime_checkable
class Forking(Protocol):
    """A hider that has relatives which cannot read it: where the training of a private fork begins.

    Example:
        >>> import privmed, torch
        >>> hider = privmed.hider("lightih")
        >>> hider.fork(torch.Generator().manual_seed(1))  # from now on it hides as no other LightIH does
    """

    def fork(self, generator: torch.Generator) -> None:
        """Change the weights, in place, to those of a relative drawn at random, which hides in another way."""


@runtime_checkable
class Keyed(Protocol):
    """A hider of images that sender and receiver give the same key: without it nobody reads its stegos.

    Example:
        >>> import privmed, secrets
        >>> from privmed.shared_key import SharedKey
        >>> hider = privmed.hider("lightih-keyed")
        >>> hider.use_key(SharedKey(secrets.token_bytes(32)))  # or SharedKey.read("shared.key")
    """

    def use_key(self, key: Any) -> None:
        """Hide and recover with this :class:`privmed.shared_key.SharedKey` from now on."""


@runtime_checkable
class Segmenting(Protocol):
    """An analyzer that can also be used on bare images, which is what covert analysis is held against.

    Example:
        >>> import privmed, torch
        >>> privmed.analyzer("unet").segment(torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 1, 64, 64])
    """

    def segment(self, image: Tensor) -> Tensor:
        """Logits (B, 1, H, W), (B, K, H, W) or (B, classes) of images (B, 1 or 3, H, W) in [0, 1], as decode() gives them."""


@runtime_checkable
class Carrying(Protocol):
    """A hider that carries files under a key, and no images (:class:`privmed.FileHider`).

    Example:
        >>> import privmed, torch
        >>> hider = privmed.hider("lsbm")
        >>> hider.size_of(b"a report") < hider.capacity(torch.rand(1, 3, 128, 128))
        True
    """

    def hide_file(self, data: bytes, cover: Tensor, key: Any, *, generator: Any = None) -> Tensor:
        """The stego, (1, 1 or 3, H, W) on 256 levels, of the photograph's size.

        Args:
            data: the file.
            cover: (1, 1 or 3, H, W) in [0, 1].
            key: see :class:`privmed.FileHider`.
            generator: a generator or a seed, for tests.
        """

    def recover_file(self, stego: Tensor, key: Any) -> bytes:
        """The file, bit for bit."""

    def capacity(self, cover: Tensor) -> int:
        """How many bytes fit."""

    def size_of(self, data: bytes) -> int:
        """How many of them a file takes."""


ABILITIES: dict[str, dict[str, type]] = {
    "hider": {"stages": Staged, "fork": Forking, "use_key": Keyed, "hide_file": Carrying},
    "analyzer": {"segment": Segmenting},
    "protector": {},
    "watermarker": {},
}
"""Abilities of each kind by name; the name is also that of the member that claims it."""


def members(protocol: type) -> list[str]:
    """Names of all that a protocol asks for.

    Example:
        >>> from privmed.interfaces.abilities import Carrying, members
        >>> members(Carrying)
        ['capacity', 'hide_file', 'recover_file', 'size_of']
    """
    return sorted(n for n in vars(protocol) if not n.startswith("_"))


def abilities(method: Any) -> list[str]:
    """Names of the abilities that a method, or its class, claims.

    Example:
        >>> import privmed
        >>> from privmed.interfaces.abilities import abilities
        >>> abilities(privmed.hider("lsbm"))
        ['hide_file']
    """
    return [name for name, protocol in ABILITIES[method.kind].items() if not missing(method, protocol)]


def missing(method: Any, protocol: type) -> list[str]:
    """Members of a protocol that a method, or its class, has not.

    Example:
        >>> from privmed import Hider
        >>> from privmed.interfaces.abilities import Staged, missing
        >>> class Half(Hider):
        ...     stages = 3
        >>> missing(Half, Staged)
        ['encode', 'latent', 'picture', 'run']
    """
    return [name for name in members(protocol) if not hasattr(method, name)]
