"""Everything privmed raises on purpose: one sentence that names the input, what is wrong, and what to do.

Each class knows the exit code the command line answers with, so that no command has to translate.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PrivmedError(Exception):
    """Base of all errors raised by privmed on purpose; ``exit_code`` is that of the command line.

    Example:
        >>> import privmed
        >>> try:
        ...     privmed.hider("lightih", blocks=0)
        ... except privmed.PrivmedError as error:
        ...     print(error.exit_code, error)
        2 lightih: blocks must be at least 1, got 0
    """

    exit_code = 1


class SettingsError(PrivmedError):
    """A setting, recipe or command-line value that does not exist or is out of range.

    Example:
        >>> import privmed
        >>> privmed.hider("lightih", bloks=4)
        Traceback (most recent call last):
        privmed.errors.SettingsError: lightih: no setting 'bloks'; there are ... Did you mean 'blocks'?
    """

    exit_code = 2


class MethodNotFoundError(PrivmedError):
    """No installed plugin offers a method of that name.

    Example:
        >>> import privmed
        >>> privmed.hider("lightihh")
        Traceback (most recent call last):
        privmed.errors.MethodNotFoundError: no hider is called 'lightihh'; installed: ... Did you mean 'lightih'?
    """

    exit_code = 2


class PluginError(PrivmedError):
    """A plugin is installed but cannot be used; the message holds the reason.

    Example:
        >>> from privmed.errors import PluginError
        >>> try:
        ...     raise PluginError("plugin 'mine' cannot be loaded: no module named 'torchvision'.")
        ... except PluginError as error:  # what privmed plugins check lists as broken
        ...     print(error.exit_code, error)
        2 plugin 'mine' cannot be loaded: no module named 'torchvision'.
    """

    exit_code = 2


class MissingDependencyError(PrivmedError):
    """An optional dependency is not installed; the message holds the command that installs it.

    Example:
        >>> from privmed.errors import MissingDependencyError
        >>> try:
        ...     raise MissingDependencyError("a SEG needs highdicom: pip install 'privmed[seg]'.")
        ... except MissingDependencyError as error:  # names the command that installs it
        ...     print(error.exit_code, error)
        2 a SEG needs highdicom: pip install 'privmed[seg]'.
    """

    exit_code = 2


class InputError(PrivmedError):
    """An image, tensor or file that cannot be used as given.

    Example:
        >>> import privmed, torch
        >>> privmed.hider("lightih").recover(torch.rand(3, 64, 64))
        Traceback (most recent call last):
        privmed.errors.InputError: stego: expected 4 dimensions (B, C, H, W), got shape (3, 64, 64). Add a batch dimension with x[None].
    """

    exit_code = 3


class LossError(InputError):
    """Going on would silently lose something (bits, alpha, frames, tags).

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from privmed.imaging import read_secret
        >>> Image.fromarray(np.full((32, 32), 1000, np.uint16)).save("deep.png")
        >>> read_secret("deep.png")
        Traceback (most recent call last):
        privmed.errors.LossError: deep.png: 16 bits a value become the 8 of what is seen, so what comes back is not the file. ...
    """


class OutputError(PrivmedError):
    """An output that exists already or cannot be written.

    Example:
        >>> import torch
        >>> from privmed.imaging import write_view
        >>> for _ in range(2):
        ...     path = write_view("scan.png", torch.rand(1, 1, 32, 32))
        Traceback (most recent call last):
        privmed.errors.OutputError: scan.png: exists already. Choose another name, or allow it with --force.
    """

    exit_code = 2


class WeightsError(PrivmedError):
    """Weights that are missing, damaged, or made for another configuration.

    Example:
        >>> import privmed
        >>> privmed.hider("lightih", weights="genral")
        Traceback (most recent call last):
        privmed.errors.WeightsError: weights 'genral': no such file, and no bundled weights of 'lightih' ... Did you mean 'general'?
    """

    exit_code = 4


class KeyFileError(PrivmedError):
    """A key that is wrong, damaged, or does not fit the image.

    Example:
        >>> import privmed, torch
        >>> from privmed.shared_key import SharedKey
        >>> privmed.hider("lsbm").recover_file(torch.rand(1, 3, 64, 64), SharedKey(bytes(32)))
        Traceback (most recent call last):
        privmed.errors.KeyFileError: stego: nothing in it opens with this key: it is another key, or nothing is hidden here, ...
    """

    exit_code = 5


class TrainingError(PrivmedError):
    """A training that cannot go on, such as one that diverged; the message says what to change.

    Example:
        >>> import torch
        >>> from privmed.training.fitting import optimizer_step
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer_step(weight.sum() * float("nan"), torch.optim.SGD([weight], lr=0.1))
        Traceback (most recent call last):
        privmed.errors.TrainingError: the surrogate diverged (its loss or the gradient is not finite). Lower its learning rate ...
    """


class VerificationError(PrivmedError):
    """A written file was read back and does not hold what was promised.

    Example:
        >>> import privmed, torch
        >>> from privmed.shared_key import SharedKey
        >>> hider, key = privmed.hider("lsbm"), SharedKey(bytes(32))
        >>> stego = hider.hide_file(b"report", torch.full((1, 3, 64, 64), 0.5), key, generator=0)
        >>> stego[0, 0, 5, 5] = 1.0
        >>> hider.recover_file(stego, key)
        Traceback (most recent call last):
        privmed.errors.VerificationError: stego: the key fits, but the image was altered after the file was hidden, ...
    """

    exit_code = 6


class Interrupted(PrivmedError):
    """Stopped by the user; the message says how to go on.

    Example:
        >>> from privmed.errors import Interrupted
        >>> Interrupted.exit_code  # as a shell says it of Ctrl-C
        130
    """

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with a leading blank) for the nearest known word, or an empty string.

    Example:
        >>> from privmed.errors import did_you_mean
        >>> did_you_mean("lightihh", ["hinet", "lightih"])
        " Did you mean 'lightih'?"
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
