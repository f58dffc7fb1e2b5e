"""The command line. ``main`` turns every error into one sentence and an exit code; commands live in a file each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run ``privmed`` and exit with its code."""
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # once more, while the first one was being told
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run ``privmed`` with arguments and return the exit code (see the design: 0, 1, 2, 3, 4, 5, 6, 130)."""
    with _noting_ctrl_c() as pressed:
        try:
            return _invoke(list(arguments))
        except (Exception, KeyboardInterrupt) as error:
            from privmed.cli.failures import tell

            return tell(error, arguments, interrupted=bool(pressed))


def _invoke(arguments: list[str]) -> int:
    """Run a command; not through typer's own ``main``, which keeps silent about Ctrl-C and takes EOFError for it."""
    import typer
    from typer.main import get_command

    from privmed.cli.app import app
    from privmed.cli.engines import given

    given.set(tuple(arguments))
    for stream in (sys.stdout, sys.stderr):  # a file name need not be text in UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command = get_command(app)
    try:
        with _naming_new_settings(), command.make_context("privmed", arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


@contextmanager
def _naming_new_settings() -> Iterator[None]:
    """Say in a line that a setting was given under its old name; Python keeps silent about it."""
    import warnings

    from privmed.settings import RenamedSetting

    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedSetting)
        others = warnings.showwarning

        def show(message, category, *place, **more) -> None:
            if issubclass(category, RenamedSetting):
                print(f"warning: {message}", file=sys.stderr)
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


@contextmanager
def _noting_ctrl_c() -> Iterator[list[int]]:
    """Remember that Ctrl-C was pressed: a library may make another error out of it when it arrives in one of its callbacks."""
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed  # handled by somebody else, or ignored on purpose
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
