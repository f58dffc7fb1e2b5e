"""Everything privmed raises on purpose: one sentence that names the input, what is wrong, and what to do.

Each class knows the exit code the command line answers with, so that no command has to translate.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PrivmedError(Exception):
    """Base of all errors raised by privmed on purpose; ``exit_code`` is that of the command line."""

    exit_code = 1


class SettingsError(PrivmedError):
    """A setting, recipe or command-line value that does not exist or is out of range."""

    exit_code = 2


class MethodNotFoundError(PrivmedError):
    """No installed plugin offers a method of that name."""

    exit_code = 2


class PluginError(PrivmedError):
    """A plugin is installed but cannot be used; the message holds the reason."""

    exit_code = 2


class MissingDependencyError(PrivmedError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    exit_code = 2


class InputError(PrivmedError):
    """An image, tensor or file that cannot be used as given."""

    exit_code = 3


class LossError(InputError):
    """Going on would silently lose something (bits, alpha, frames, tags)."""


class OutputError(PrivmedError):
    """An output that exists already or cannot be written."""

    exit_code = 2


class WeightsError(PrivmedError):
    """Weights that are missing, damaged, or made for another configuration."""

    exit_code = 4


class KeyFileError(PrivmedError):
    """A key that is wrong, damaged, or does not fit the image."""

    exit_code = 5


class TrainingError(PrivmedError):
    """A training that cannot go on, such as one that diverged; the message says what to change."""


class VerificationError(PrivmedError):
    """A written file was read back and does not hold what was promised."""

    exit_code = 6


class Interrupted(PrivmedError):
    """Stopped by the user; the message says how to go on."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with a leading blank) for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
