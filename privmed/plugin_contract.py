"""What a plugin has to keep in order to be taken in, which is whole or not at all."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import EntryPoint, version
from typing import Any

import attrs
import pluggy
from attrs import frozen

from privmed import hooks
from privmed.hooks import COMMANDS, PARTS

NAME = re.compile(r"[a-z0-9][a-z0-9_+-]*")
"""What methods, parts and commands may be called."""


@frozen
class Command:
    """A command of a plugin.

    Attributes:
        name: ``privmed NAME``.
        target: a function, or a ``typer.Typer``.
    """

    name: str
    target: Any
    kind = "command"


class Refused(Exception):
    """A plugin that loads but does not keep the contract."""


class Registered:
    """See :class:`privmed.hooks.Register`."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __call__(self, cls: type) -> None:
        self.found.append(cls)

    def command(self, name: str, target: Any) -> None:
        self.found.append(Command(name, target))


def collect(entry: EntryPoint, kind: str) -> Any:
    """Import one plugin and take the one class it was asked for; nothing is kept unless all of it is in order.

    A module may register classes of several kinds; each is held against the contract of its own.
    """
    module = entry.load()
    spoken = getattr(module, "privmed_api", hooks.API_VERSION)
    if spoken != hooks.API_VERSION:
        raise Refused(
            f"it speaks plugin API {spoken!r}, this is privmed {version('privmed')} with API {hooks.API_VERSION}"
        )
    manager = pluggy.PluginManager("privmed")
    manager.add_hookspecs(hooks)
    manager.register(module)
    manager.check_pending()
    if not manager.hook.privmed_register.get_hookimpls():
        raise Refused(f"{entry.value} implements no hook privmed_register (is @hookimpl missing?)")
    register = Registered()
    manager.hook.privmed_register(register=register)
    found = register.found
    for cls in found:
        if isinstance(cls, Command):
            _hold_command(cls)
        else:
            hold_against_contract(cls, getattr(cls, "kind", kind) if inspect.isclass(cls) else kind)
    mine = [cls for cls in found if (cls.kind, cls.name) == (kind, entry.name)]
    if len(mine) != 1:
        names = ", ".join(sorted(cls.name for cls in found if cls.kind == kind)) or "nothing"
        raise Refused(f"its entry point promises {entry.name!r}, but {entry.value} registers {names}")
    return mine[0]


def _hold_command(command: Command) -> None:
    """A command has a name that can be typed, and something that typer can run."""
    if not (isinstance(command.name, str) and NAME.fullmatch(command.name)):
        raise Refused(f"a command's name must be lower-case letters, digits, - and _, got {command.name!r}")
    if not callable(command.target):  # a typer.Typer is
        raise Refused(f"the command {command.name!r} must be a function or a typer.Typer, got {command.target!r}")


def _contracts() -> dict[str, type]:
    from privmed.bench import contracts
    from privmed.interfaces import KINDS

    parts = (
        contracts.Exploiter,
        contracts.Defence,
        contracts.Detector,
        contracts.Metric,
        contracts.Reader,
        contracts.Suite,
    )
    return {**KINDS, **{p.kind: p for p in parts}}


def hold_against_contract(cls: Any, kind: str) -> None:
    """Check a class against the contract of its kind.

    Raises:
        Refused: with the first thing that is wrong.
    """
    from privmed.interfaces import OTHERS
    from privmed.interfaces.abilities import ABILITIES, missing

    contracts = _contracts()
    if kind not in contracts and kind in COMMANDS:
        raise Refused(f"it registers {cls!r} for its command; call register.command(name, function)")
    if kind not in contracts:
        raise Refused(f"{cls.__name__}.kind is {kind!r}; there are {', '.join(contracts)}")
    others = [other for other in OTHERS.get(kind, ()) if inspect.isclass(cls) and issubclass(cls, other)]
    base = others[0] if others else contracts[kind]
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        home = "privmed.bench.contracts" if kind in PARTS else "privmed"
        raise Refused(f"it registers {cls!r}, which is not a subclass of {home}.{base.__name__}")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise Refused(f"{cls.__name__}.name must be lower-case letters, digits, - and _, got {name!r}")
    if not attrs.has(getattr(cls, "Config", None)):
        raise Refused(f"{cls.__name__}.Config must be an attrs class")
    if attrs.fields(base.Config) and not issubclass(cls.Config, base.Config):
        raise Refused(
            f"{cls.__name__}.Config must extend privmed.{base.__name__}.Config, whose settings every {kind} has"
        )
    if getattr(cls, "learns", False) and not issubclass(cls.Config, base.LearningConfig):
        raise Refused(f"{cls.__name__} learns, so its Config must extend privmed.{base.__name__}.LearningConfig")
    for ability, protocol in ABILITIES.get(kind, {}).items():
        lacks = missing(cls, protocol)
        if lacks and hasattr(cls, ability):
            raise Refused(f"{cls.__name__} claims the ability {ability!r} but does not implement {', '.join(lacks)}")
    for attribute, value in vars(base).items():
        if getattr(value, "__final__", False) and getattr(cls, attribute) is not value:
            raise Refused(f"{cls.__name__} overrides the final method {attribute}(); implement _{attribute}() instead")
    missing = sorted(n for n in dir(cls) if getattr(getattr(cls, n), "__isabstractmethod__", False))
    if missing:
        raise Refused(f"{cls.__name__} does not implement {', '.join(missing)}")
