"""Discovery, listing and creation of methods.

Listing reads nothing but the metadata of installed distributions: no plugin, and no torch, is imported. A method is loaded when
it is first asked for, alone, and taken in whole or not at all. A name that one of privmed's own plugins uses is theirs; of two
strangers that claim one name, neither is taken. ``PRIVMED_PLUGINS=dist-a,dist-b`` limits loading to the named distributions (a
plugin is code); ``PRIVMED_STRICT=1`` raises on the first plugin that is broken.
"""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from privmed.devices import pick_device
from privmed.errors import MethodNotFoundError, PluginError, PrivmedError, SettingsError, did_you_mean
from privmed.hooks import GROUPS, METHODS
from privmed.hooks import PARTS as PARTS
from privmed.plugin_contract import Refused, collect
from privmed.settings import merge, parse_named, structure

if TYPE_CHECKING:
    from privmed.interfaces import Analyzer, Hider, Method, Protector, Watermarker

OWN_COMMANDS = {
    "analyze",
    "bench",
    "covert",
    "demo",
    "doctor",
    "hide",
    "jobs",
    "keygen",
    "plugins",
    "protect",
    "recover",
    "serve",
    "train",
    "unlock",
    "verify",
    "watermark",
}
"""The core's commands, whose names no plugin can take."""
CORE = "privmed"
"""Distribution of the parts that come with the core."""
FIRST_PARTY = {"privmed", "privmed-hiders", "privmed-analyzers", "privmed-protectors", "privmed-watermarkers"}
"""Distributions whose names of methods nobody else can take. Another one of such a name can only stand in its place."""
HOMES = {kind: f"privmed-{kind}s" for kind in METHODS}
"""The distribution of our methods of each kind."""
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
    """Return the sorted names of the installed methods of a kind that are not known to be broken.

    Example:
        >>> import privmed
        >>> "lightih" in privmed.available("hider")
        True
    """
    return sorted(p.name for p in plugins(kind) if p.status != "broken")


def plugins(kind: str | None = None, *, check: bool = False) -> list[PluginInfo]:
    """List installed methods and parts of comparisons, broken ones with their reason.

    Args:
        kind: ``"hider"``, ``"analyzer"``, ``"protector"``, ``"watermarker"``, or ``"exploiter"``, ``"defence"``, ``"detector"``,
            ``"metric"``, ``"reader"``, ``"suite"``, or ``"command"``; None for all methods.
        check: also import every plugin and hold it against the contract (imports torch; takes seconds).

    Raises:
        PluginError: with ``PRIVMED_STRICT=1``, for the first broken plugin.

    Example:
        >>> import privmed
        >>> [p.distribution for p in privmed.plugins("hider") if p.name == "lightih"]
        ['privmed-hiders']
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


def installed(*, check: bool = False) -> list[PluginInfo]:
    """As :func:`plugins`, of all kinds; the core's own parts, which are always there, left out."""
    return [row for kind in GROUPS for row in plugins(kind, check=check) if row.distribution != CORE]


def load(kind: str, name: str) -> type[Method]:
    """Return the class of a method or part, or a :class:`privmed.plugin_contract.Command`.

    Raises:
        MethodNotFoundError: when no installed plugin offers it.
        PluginError: when a plugin offers it but is broken; the message holds the reason.
    """
    rows = [row for row in _discover(_known_kind(kind)) if row.name == name]
    if not rows:  # perhaps it is being installed right now
        _entries.cache_clear()
        rows = [row for row in _discover(kind) if row.name == name]
    if not rows:
        names = sorted({row.name for row in _discover(kind)})
        raise MethodNotFoundError(
            f"no {kind} is called {name!r}; installed: {', '.join(names) or 'none'}.{did_you_mean(name, names) or _get(kind)}"
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
    """Create a part of a comparison: an exploiter, a defence, a detector, a metric or a reader.

    Args:
        kind: of the part.
        name: of an installed one; settings may follow it in brackets, ``adversarial[epsilon=8/255]``, as a plan's grid has them.
        settings: those of its ``Config``, beside them.

    Raises:
        MethodNotFoundError, PluginError: see :func:`load`.
        SettingsError: for settings that do not exist or are out of range, all at once.
    """
    name, own = parse_named(name)
    cls = load(kind, name)
    return cls(structure(cls.Config, {**own, **settings}, name))


def hider(name: str, weights: Any = BUNDLED, **settings: Any) -> Hider:
    """Create a hider; see :func:`create`.

    Args:
        name: of an installed hider, see :func:`available`.
        weights: the name of bundled weights, a path, or None for random ones; by default its own bundled weights.
        settings: those of its ``Config``, and ``device``.

    Raises:
        MethodNotFoundError: when no installed plugin offers it.
        PluginError: when the plugin that offers it is broken.
        SettingsError: for settings that do not exist or are out of range.
        WeightsError: for weights that are missing, damaged or do not fit.

    Example:
        >>> import privmed, torch
        >>> stego = privmed.hider("lightih").hide(torch.rand(1, 1, 48, 64), torch.rand(1, 3, 200, 300))
        >>> stego.shape
        torch.Size([1, 3, 48, 64])
    """
    return create("hider", name, weights, **settings)  # type: ignore[return-value]


def analyzer(name: str, weights: Any = BUNDLED, **settings: Any) -> Analyzer:
    """Create an analyzer; see :func:`create`. Example: ``privmed.analyzer("hidemia", weights="busi")``.

    Arguments and errors are those of :func:`hider`.

    Example:
        >>> import privmed, torch
        >>> analyzer = privmed.analyzer("hidemia", weights="busi")
        >>> analyzer.analyze(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    return create("analyzer", name, weights, **settings)  # type: ignore[return-value]


def protector(name: str, weights: Any = BUNDLED, **settings: Any) -> Protector:
    """Create a protector; see :func:`create`.

    Arguments and errors are those of :func:`hider`.

    Example:
        >>> import privmed, torch
        >>> image, mask = torch.rand(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
        >>> mask[..., 20:40, 20:40] = 1
        >>> protected = privmed.protector("tint", epsilon=4 / 255).protect(image, mask)
        >>> bool((protected - image).abs().max() < 4.6 / 255)  # the image was rounded to 8 bits, too
        True
    """
    return create("protector", name, weights, **settings)  # type: ignore[return-value]


def watermarker(name: str, weights: Any = BUNDLED, **settings: Any) -> Watermarker:
    """Create a watermarker; see :func:`create`.

    Arguments and errors are those of :func:`hider`.

    Example:
        >>> import privmed, torch
        >>> marked = privmed.watermarker("plain").embed(torch.rand(1, 3, 64, 64), logo=torch.ones(1, 3, 16, 16))
        >>> marked.image.shape
        torch.Size([1, 3, 64, 64])
    """
    return create("watermarker", name, weights, **settings)  # type: ignore[return-value]


# --- inside -----------------------------------------------------------------------------------------------------------

_loaded: dict[tuple[str, str, str], type[Method]] = {}


def _get(kind: str) -> str:
    """Where privmed's own methods of a kind come from, if they are not installed."""
    home = HOMES.get(kind)
    if not home or any(_normal(row.distribution) == home for row in _discover(kind)):
        return ""
    allowed = _allowed_distributions()
    hidden = allowed is not None and home not in allowed and any(_normal(d.name) == home for d in distributions())
    return f" Those of {home} are left out by PRIVMED_PLUGINS." if hidden else f" Those of privmed: pip install {home}"


def _known_kind(kind: str) -> str:
    if kind not in GROUPS:
        raise SettingsError(f"no kind {kind!r}; there are {', '.join(GROUPS)}.{did_you_mean(kind, GROUPS)}")
    return kind


def _discover(kind: str) -> list[PluginInfo]:
    """Read entry points; refuse those that can be refused without an import."""
    allowed = _allowed_distributions()
    rows = []
    for entry in _entries(GROUPS[kind], _places()):
        dist = entry.dist
        name, ver = (dist.name, dist.version) if dist is not None else ("unknown", "")
        if allowed is None or _normal(name) in allowed:
            rows.append(
                PluginInfo(kind=kind, name=entry.name, distribution=name, version=ver, module=entry.value, entry=entry)
            )
    rows = sorted({*rows, *_built_in(kind)}, key=lambda r: (r.name, r.distribution))
    return [_screened(row, rows) for row in rows]


def _places() -> tuple:
    """Where distributions are looked for, and when something was last installed or removed there."""
    out = []
    for path in sys.path:
        try:
            found = os.stat(path or ".")
        except OSError:
            continue
        out.append((path, found.st_dev, found.st_ino, found.st_mtime_ns))
    return tuple(out)


@lru_cache(maxsize=64)
def _entries(group: str, places: tuple) -> tuple[EntryPoint, ...]:  # noqa: ARG001
    """Entry points of a group, read again when the places change: it takes opening a file of every installed distribution."""
    return tuple(entry_points(group=group))


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
    if row.kind == "command" and row.name in OWN_COMMANDS:
        return _broken(row, f"privmed {row.name} is a command of the core, which stays; choose another name")
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
            _loaded[key] = collect(row.entry, row.kind)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # a plugin can fail in any way, SystemExit included
            raise PluginError(_broken(row, _why(error, row)).reason) from error
    return _loaded[key]


def _why(error: BaseException, row: PluginInfo) -> str:
    text = (str(error).strip() or type(error).__name__).rstrip(".")
    if isinstance(error, ModuleNotFoundError):
        return f"{text}. Try: pip install -U {row.distribution}"
    return text if isinstance(error, (Refused, PrivmedError)) else f"{type(error).__name__}: {text}"
