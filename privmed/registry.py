"""Discovery, listing and creation of methods.

Listing reads nothing but the metadata of installed distributions: no plugin, and no torch, is imported. A method is loaded when
it is first asked for, alone, and taken in whole or not at all. A name that one of privmed's own plugins uses is theirs; of two
strangers that claim one name, neither is taken. ``PRIVMED_PLUGINS=dist-a,dist-b`` limits loading to the named distributions (a
plugin is code); ``PRIVMED_STRICT=1`` raises on the first plugin that is broken.
"""

from __future__ import annotations

import inspect
import os
import re
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, Any

import attrs
import pluggy
from attrs import frozen

from privmed import hooks
from privmed.devices import pick_device
from privmed.errors import MethodNotFoundError, PluginError, PrivmedError, SettingsError, did_you_mean
from privmed.settings import merge, structure

if TYPE_CHECKING:
    from privmed.interfaces import Analyzer, Hider, Method, Protector, Watermarker

METHODS = {
    "hider": "privmed.hiders",
    "analyzer": "privmed.analyzers",
    "protector": "privmed.protectors",
    "watermarker": "privmed.watermarkers",
}
PARTS = {
    "exploiter": "privmed.exploiters",
    "defence": "privmed.defences",
    "metric": "privmed.metrics",
    "reader": "privmed.readers",
    "suite": "privmed.suites",
}
"""What takes part in comparisons besides methods; see :mod:`privmed.bench.contracts`."""
GROUPS = {**METHODS, **PARTS}
CORE = "privmed"
"""Distribution of the parts that come with the core."""
FIRST_PARTY = {"privmed", "privmed-hiders", "privmed-analyzers", "privmed-protectors", "privmed-watermarkers"}
"""Distributions whose names of methods nobody else can take. Another one of such a name can only stand in its place."""
BUNDLED = "bundled"
"""Stands for "the weights that come with the method, if any"."""


@frozen(kw_only=True)
class PluginInfo:
    """One line of the listing: where a method comes from and whether it can be used."""

    kind: str
    name: str
    distribution: str
    version: str
    module: str
    status: str = "installed"  # installed | ok (loaded and checked) | broken
    reason: str = ""
    entry: EntryPoint = attrs.field(repr=False, eq=False)

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


def available(kind: str) -> list[str]:
    """Return the sorted names of the installed methods of a kind that are not known to be broken."""
    return sorted(p.name for p in plugins(kind) if p.status != "broken")


def plugins(kind: str | None = None, *, check: bool = False) -> list[PluginInfo]:
    """List installed methods and parts of comparisons, broken ones with their reason.

    Args:
        kind: ``"hider"``, ``"analyzer"``, ``"protector"``, ``"watermarker"``, or ``"exploiter"``, ``"defence"``, ``"metric"``,
            ``"reader"``, ``"suite"``; None for all methods.
        check: also import every plugin and hold it against the contract (imports torch; takes seconds).

    Raises:
        PluginError: with ``PRIVMED_STRICT=1``, for the first broken plugin.
    """
    kinds = list(METHODS) if kind is None else [_known_kind(kind)]
    rows = [row for k in kinds for row in _discover(k)]
    if check:
        rows = [_checked(row) for row in rows]
    if os.environ.get("PRIVMED_STRICT") == "1":
        for row in rows:
            if row.status == "broken":
                raise PluginError(row.reason)
    return rows


def load(kind: str, name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        MethodNotFoundError: when no installed plugin offers it.
        PluginError: when a plugin offers it but is broken; the message holds the reason.
    """
    rows = [row for row in _discover(_known_kind(kind)) if row.name == name]
    if not rows:
        names = sorted({row.name for row in _discover(kind)})
        raise MethodNotFoundError(
            f"no {kind} is called {name!r}; installed: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )
    usable = [row for row in rows if row.status != "broken"]
    if not usable:
        raise PluginError(rows[0].reason)
    return _load(usable[0])


def create(
    kind: str, name: str, weights: str | os.PathLike[str] | None = BUNDLED, device: str | None = None, **settings: Any
) -> Method:
    """Create a method, ready to use (in evaluation mode).

    Args:
        kind: which interface.
        name: the method's name.
        weights: the name of bundled weights, a path to a ``.safetensors`` file, None for random weights; by default the
            method's own bundled weights, if it has any.
        device: e.g. ``"cuda"``; the CPU by default.
        settings: settings of the method's ``Config``; given ones override those in the weights' model card.

    Raises:
        MethodNotFoundError, PluginError: see :func:`load`.
        SettingsError: for settings that do not exist or are out of range, all at once.
        WeightsError: for weights that are missing, damaged or do not fit the settings.
    """
    cls = load(kind, name)
    from privmed import weights as store
    from privmed.building import build

    path = store.locate(cls, cls.default_weights if weights == BUNDLED else weights)
    card = store.read_card(path, cls) if path else None
    config = structure(cls.Config, merge(card["config"] if card else {}, settings), name)
    method = build(lambda: cls(config), name, path)
    if path:
        store.load_into(method, path, card)
    if device is not None:
        method.to(pick_device(device))
    return method.eval()


def part(kind: str, name: str, **settings: Any) -> Any:
    """Create a part of a comparison: an exploiter, a defence, a metric or a reader.

    Raises:
        MethodNotFoundError, PluginError: see :func:`load`.
        SettingsError: for settings that do not exist or are out of range, all at once.
    """
    cls = load(kind, name)
    return cls(structure(cls.Config, settings, name))


def hider(name: str, weights: Any = BUNDLED, **settings: Any) -> Hider:
    """Create a hider; see :func:`create`. Example: ``privmed.hider("lightih").hide(secret, cover)``."""
    return create("hider", name, weights, **settings)  # type: ignore[return-value]


def analyzer(name: str, weights: Any = BUNDLED, **settings: Any) -> Analyzer:
    """Create an analyzer; see :func:`create`. Example: ``privmed.analyzer("hidemia", weights="busi")``."""
    return create("analyzer", name, weights, **settings)  # type: ignore[return-value]


def protector(name: str, weights: Any = BUNDLED, **settings: Any) -> Protector:
    """Create a protector; see :func:`create`."""
    return create("protector", name, weights, **settings)  # type: ignore[return-value]


def watermarker(name: str, weights: Any = BUNDLED, **settings: Any) -> Watermarker:
    """Create a watermarker; see :func:`create`."""
    return create("watermarker", name, weights, **settings)  # type: ignore[return-value]


# --- inside -----------------------------------------------------------------------------------------------------------

_loaded: dict[tuple[str, str, str], type[Method]] = {}


def _known_kind(kind: str) -> str:
    if kind not in GROUPS:
        raise SettingsError(f"no kind {kind!r}; there are {', '.join(GROUPS)}.{did_you_mean(kind, GROUPS)}")
    return kind


def _discover(kind: str) -> list[PluginInfo]:
    """Read entry points; refuse those that can be refused without an import."""
    allowed = _allowed_distributions()
    rows = []
    for entry in entry_points(group=GROUPS[kind]):
        dist = entry.dist
        name, ver = (dist.name, dist.version) if dist is not None else ("unknown", "")
        if allowed is None or _normal(name) in allowed:
            rows.append(
                PluginInfo(kind=kind, name=entry.name, distribution=name, version=ver, module=entry.value, entry=entry)
            )
    rows = sorted({*rows, *_built_in(kind)}, key=lambda r: (r.name, r.distribution))
    return [_screened(row, rows) for row in rows]


def _built_in(kind: str) -> list[PluginInfo]:
    """Entry points of the core's own parts."""
    from privmed import __version__
    from privmed.bench.builtin import BUILT_IN

    return [
        PluginInfo(
            kind=kind,
            name=name,
            distribution=CORE,
            version=__version__,
            module=module,
            entry=EntryPoint(name, module, GROUPS[kind]),
        )
        for name, module in BUILT_IN.get(kind, {}).items()
    ]


def _screened(row: PluginInfo, rows: list[PluginInfo]) -> PluginInfo:
    rivals = [r for r in rows if r.name == row.name]
    ours = [r for r in rivals if _normal(r.distribution) in FIRST_PARTY]
    if len(ours) == 1 and len(rivals) > 1:
        what = "a method" if row.kind in METHODS else f"the {row.kind}"
        taken = f"the name {row.name!r} is that of {what} of {ours[0].origin}, which stays; choose another name"
        return row if row is ours[0] else _broken(row, taken)
    if len(rivals) > 1:
        who = " and ".join(r.origin for r in rivals)
        return _broken(row, f"the name {row.name!r} is claimed by {who}; uninstall one, or choose with PRIVMED_PLUGINS")
    return row


def _allowed_distributions() -> set[str] | None:
    value = os.environ.get("PRIVMED_PLUGINS")
    return None if value is None else {_normal(n) for n in value.split(",") if n.strip()}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _broken(row: PluginInfo, why: str) -> PluginInfo:
    reason = f"{row.kind} {row.name!r} ({row.origin}) is installed but does not load: {why}."
    return attrs.evolve(row, status="broken", reason=reason)


def _checked(row: PluginInfo) -> PluginInfo:
    if row.status == "broken":
        return row
    try:
        _load(row)
    except PluginError as error:
        return attrs.evolve(row, status="broken", reason=str(error))
    return attrs.evolve(row, status="ok")


def _load(row: PluginInfo) -> type[Method]:
    key = (row.kind, row.name, row.module)
    if key not in _loaded:
        try:
            _loaded[key] = _collect(row)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # a plugin can fail in any way, SystemExit included
            raise PluginError(_broken(row, _why(error, row)).reason) from error
    return _loaded[key]


def _why(error: BaseException, row: PluginInfo) -> str:
    text = (str(error).strip() or type(error).__name__).rstrip(".")
    if isinstance(error, ModuleNotFoundError):
        return f"{text}. Try: pip install -U {row.distribution}"
    return text if isinstance(error, (_Refused, PrivmedError)) else f"{type(error).__name__}: {text}"


class _Refused(Exception):
    """A plugin that loads but does not keep the contract."""


def _collect(row: PluginInfo) -> type[Method]:
    """Import one plugin and take the one class it was asked for; nothing is kept unless all of it is in order.

    A module may register classes of several kinds; each is held against the contract of its own.
    """
    module = row.entry.load()
    spoken = getattr(module, "privmed_api", hooks.API_VERSION)
    if spoken != hooks.API_VERSION:
        raise _Refused(
            f"it speaks plugin API {spoken!r}, this is privmed {version('privmed')} with API {hooks.API_VERSION}"
        )
    manager = pluggy.PluginManager("privmed")
    manager.add_hookspecs(hooks)
    manager.register(module)
    manager.check_pending()
    if not manager.hook.privmed_register.get_hookimpls():
        raise _Refused(f"{row.module} implements no hook privmed_register (is @hookimpl missing?)")
    found: list[Any] = []
    manager.hook.privmed_register(register=found.append)
    for cls in found:
        _hold_against_contract(cls, getattr(cls, "kind", row.kind) if inspect.isclass(cls) else row.kind)
    mine = [cls for cls in found if (cls.kind, cls.name) == (row.kind, row.name)]
    if len(mine) != 1:
        names = ", ".join(sorted(cls.name for cls in found if cls.kind == row.kind)) or "nothing"
        raise _Refused(f"its entry point promises {row.name!r}, but {row.module} registers {names}")
    return mine[0]


def _contracts() -> dict[str, type]:
    from privmed.bench import contracts
    from privmed.interfaces import KINDS

    parts = (contracts.Exploiter, contracts.Defence, contracts.Metric, contracts.Reader, contracts.Suite)
    return {**KINDS, **{p.kind: p for p in parts}}


def _hold_against_contract(cls: Any, kind: str) -> None:
    from privmed.interfaces import OTHERS
    from privmed.interfaces.abilities import ABILITIES, missing

    contracts = _contracts()
    if kind not in contracts:
        raise _Refused(f"{cls.__name__}.kind is {kind!r}; there are {', '.join(contracts)}")
    others = [other for other in OTHERS.get(kind, ()) if inspect.isclass(cls) and issubclass(cls, other)]
    base = others[0] if others else contracts[kind]
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        home = "privmed.bench.contracts" if kind in PARTS else "privmed"
        raise _Refused(f"it registers {cls!r}, which is not a subclass of {home}.{base.__name__}")
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9_+-]*", name)):
        raise _Refused(f"{cls.__name__}.name must be lower-case letters, digits, - and _, got {name!r}")
    if not attrs.has(getattr(cls, "Config", None)):
        raise _Refused(f"{cls.__name__}.Config must be an attrs class")
    if attrs.fields(base.Config) and not issubclass(cls.Config, base.Config):
        raise _Refused(
            f"{cls.__name__}.Config must extend privmed.{base.__name__}.Config, whose settings every {kind} has"
        )
    if getattr(cls, "learns", False) and not issubclass(cls.Config, base.LearningConfig):
        raise _Refused(f"{cls.__name__} learns, so its Config must extend privmed.{base.__name__}.LearningConfig")
    for ability, protocol in ABILITIES.get(kind, {}).items():
        lacks = missing(cls, protocol)
        if lacks and hasattr(cls, ability):
            raise _Refused(f"{cls.__name__} claims the ability {ability!r} but does not implement {', '.join(lacks)}")
    for attribute, value in vars(base).items():
        if getattr(value, "__final__", False) and getattr(cls, attribute) is not value:
            raise _Refused(f"{cls.__name__} overrides the final method {attribute}(); implement _{attribute}() instead")
    missing = sorted(n for n in dir(cls) if getattr(getattr(cls, n), "__isabstractmethod__", False))
    if missing:
        raise _Refused(f"{cls.__name__} does not implement {', '.join(missing)}")
