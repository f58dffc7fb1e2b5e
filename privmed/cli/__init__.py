"""The command line. ``main`` turns every error into one sentence and an exit code; commands live in a file each."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run ``privmed`` and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run ``privmed`` with arguments and return the exit code (see the design: 0, 1, 2, 3, 4, 5, 6, 130)."""
    import typer
    from typer.main import get_command

    from privmed.cli.app import app
    from privmed.errors import PrivmedError

    debug = "--debug" in arguments
    try:
        code = get_command(app).main(args=arguments, prog_name="privmed", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except PrivmedError as error:
        if debug:
            raise
        _complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; nothing half-written is left.")
        return INTERRUPTED
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the option parser
            _complain(f"{error.format_message()} See: privmed {_command(arguments)}--help")
            return 2
        if debug:
            raise
        _complain(f"unexpected {type(error).__name__}: {error} (run with --debug for the traceback)")
        return 1


def _command(arguments: list[str]) -> str:
    words = [a for a in arguments[:1] if not a.startswith("-")]
    return " ".join([*words, ""])


def _complain(sentence: str) -> None:
    print(f"privmed: {sentence}", file=sys.stderr)
