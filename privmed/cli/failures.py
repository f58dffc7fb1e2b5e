"""What is said of an error: one sentence on stderr, with ``--json`` one object on stdout, and the exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback

from privmed.errors import InputError, Interrupted, OutputError, PrivmedError, SettingsError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
HALTED = "interrupted; nothing half-written is left."


def tell(error: BaseException, arguments: list[str], *, interrupted: bool = False) -> int:
    """Say what went wrong; returns the exit code.

    Args:
        error: what ended the command.
        arguments: of the command line; ``--json`` and ``--debug`` are looked for in them, as they may not have been understood.
        interrupted: whether Ctrl-C was pressed, whatever the error is.
    """
    if isinstance(error, BrokenPipeError):  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    known = _known(error, arguments, interrupted)
    if "--debug" in options:
        traceback.print_exception(error)
    if known is None:
        name, code = type(error).__name__, 1
        message = f"unexpected {name}: {error} (run with --debug for the traceback)"
    else:
        name, message, code = type(known).__name__, str(known), known.exit_code
    if "--json" in options:
        print(json.dumps({"error": {"type": name, "message": message, "exit_code": code}}))
    print(f"privmed: {message}", file=sys.stderr)
    return code


class UsageError(SettingsError):
    """A command line that cannot be understood."""


class MemoryShort(PrivmedError):
    """There is not enough memory."""


def _known(error: BaseException, arguments: list[str], interrupted: bool) -> PrivmedError | None:
    """The error as one of ours, or None for what nobody has thought of."""
    import typer

    if isinstance(error, Interrupted):
        return error
    if interrupted or isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return Interrupted(HALTED)
    if isinstance(error, PrivmedError):
        return error
    if hasattr(error, "format_message"):  # of the option parser
        place = getattr(getattr(error, "ctx", None), "command_path", None) or "privmed"
        return UsageError(f"{error.format_message() or 'A command is missing.'} See: {place} --help")
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MemoryShort("there is not enough memory for this. Take smaller images, or fewer at a time.")
    return None


def _of_system(error: OSError) -> PrivmedError:
    """What the system says about a file that no command has thought of."""
    why = error.strerror or str(error)
    if error.errno in FULL:
        return OutputError(f"{_name(error, 'a temporary file')}: cannot be written ({why}).")
    return InputError(f"{_name(error, 'a file')}: cannot be used ({why}).")


def _name(error: OSError, otherwise: str) -> str:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else otherwise
