"""The command line, generated from its parser."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from privmed_site.pages import Pages


def commands() -> list[dict[str, Any]]:
    """All commands in the order of ``privmed --help``, those of groups after them."""
    from privmed.cli.app import app

    return [c for name, command in get_command(app).commands.items() for c in _described(command, f"privmed {name}")]


def _described(command: Any, path: str) -> list[dict[str, Any]]:
    inner = getattr(command, "commands", {})
    own = {
        "path": path,
        "help": " ".join((command.help or "").split()),
        "arguments": [_parameter(p) for p in command.params if _is_argument(p)],
        "options": [_parameter(p) for p in command.params if not _is_argument(p) and not p.hidden and p.name != "help"],
        "commands": [f"{path} {name}" for name in inner],
    }
    return [own, *(c for name, one in inner.items() for c in _described(one, f"{path} {name}"))]


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _parameter(parameter: Any) -> dict[str, Any]:
    default = parameter.default
    flag = getattr(parameter, "is_flag", False)
    shown = "" if default is None or flag or parameter.required or callable(default) else str(default)
    return {
        "names": [parameter.name.upper()] if _is_argument(parameter) else sorted(parameter.opts, key=len, reverse=True),
        "help": " ".join((parameter.help or "").split()),
        "required": parameter.required,
        "default": shown,
        "several": bool(getattr(parameter, "multiple", False)) or getattr(parameter, "nargs", 1) == -1,
        "flag": flag,
    }


def usage(command: dict[str, Any]) -> str:
    """The command with its arguments and what else it needs."""
    words = [command["path"]]
    for one in command["arguments"]:
        name = one["names"][0] + ("..." if one["several"] else "")
        words.append(name if one["required"] else f"[{name}]")
    words += [f"{o['names'][-1]} {o['names'][0].strip('-').upper()}" for o in command["options"] if o["required"]]
    words += ["COMMAND"] if command["commands"] else []
    return " ".join([*words, "[OPTIONS]"])


def exit_codes() -> list[tuple[int, str]]:
    """Exit codes of errors, with the first sentence of each class that has it."""
    from privmed import errors

    found: dict[int, list[str]] = {}
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.PrivmedError) and cls is not errors.PrivmedError:
            found.setdefault(cls.exit_code, []).append(f"`{cls.__name__}`: {(cls.__doc__ or '').splitlines()[0]}")
    return sorted((code, " ".join(words)) for code, words in found.items())


def write(pages: Pages) -> None:
    """The page of all commands, and that of exit codes."""
    pages.write("reference/commands.md", "commands.md", commands=commands(), usage=usage)
    pages.write("reference/exit-codes.md", "exit-codes.md", codes=exit_codes())
