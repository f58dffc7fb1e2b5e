"""The suite that compares watermarkers: each search against each model, transfer to the others, and marks that spare the lesion.

A table of shares with Wilson's intervals (few images make wide ones), and a page with marked images and what the models say of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen
from torch import Tensor

from privmed import registry
from privmed.data.folders import ImageFolder
from privmed.data.keyring import NEAR, distance, look_of
from privmed.errors import InputError, SettingsError
from privmed.evaluation.lineup import entry
from privmed.evaluation.pivot import to_pivot_html
from privmed.evaluation.results import Figure, Results, figure, provenance
from privmed.evaluation.sheets import sheets_html
from privmed.evaluation.watermark import Trial, answers, asr, cases_of, interval, run_trial, transfer
from privmed.files import inside, make_folder
from privmed.imaging import read
from privmed.oracles import Ensemble, Oracle, fingerprint, load_oracle
from privmed.settings import at_least, setting

ENSEMBLE = "ensemble"
WHERE = ("anywhere", "outside", "inside")
DETAILS = (
    "transfer to",
    "ASR of class",
    "accuracy on class",
)  # too many columns for one table; in the JSON and the page
Tick = Callable[[int, int, str], None]


@frozen(kw_only=True)
class Attack:
    """A watermarker with its settings."""

    label: str
    method: str
    settings: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class WatermarkPlan:
    """What is run."""

    size: int = setting(224, "side of all images", at_least(32))
    limit: int = setting(0, "at most so many test images, spread over the set; 0 for all", at_least(0))
    sources: list[str] = setting(Factory(list), "models that marks are made against; all by default")
    ensemble: list[str] = setting(Factory(list), "models that are a source together; judged on the others")
    where: list[str] = setting(Factory(lambda: ["anywhere"]), "anywhere, outside or inside the lesions of the masks")
    together: int = setting(8, "images searched at a time", at_least(1))


class Panel:
    """Models and test images that attacks are held against.

    Args:
        data: a set with classes and a test split.
        models: model files by name.
        plan: what is run.
        masks: lesion masks by file name within the set.
        device: where the models compute.
        trust: whether models that are programs may run, see :func:`privmed.oracles.load_oracle`.

    Raises:
        SettingsError: when the plan names models that are not there, or the models know other classes than the set.
        InputError: when the set has no test images with classes.
    """

    def __init__(
        self,
        data: ImageFolder,
        models: dict[str, Path],
        plan: WatermarkPlan,
        masks: dict[str, Path] | None = None,
        device: str = "cpu",
        trust: bool = False,
    ) -> None:
        self.data, self.plan = data, plan
        for name in (*plan.sources, *plan.ensemble):
            if name not in models and not (name == ENSEMBLE and plan.ensemble):
                raise SettingsError(f"bench watermark: no model {name!r}; there are {', '.join(models)}.")
        if wrong := sorted(set(plan.where) - set(WHERE)):
            raise SettingsError(f"bench watermark: where must be among {', '.join(WHERE)}, got {', '.join(wrong)}.")
        self.models: dict[str, Oracle | Ensemble] = {n: load_oracle(p, device, trust) for n, p in models.items()}
        if plan.ensemble:
            self.models[ENSEMBLE] = Ensemble([self.models[n] for n in plan.ensemble])
        self.classes = next(iter(self.models.values())).classes
        for name, model in self.models.items():
            if model.classes != self.classes:
                raise SettingsError(f"bench watermark: model {name} knows other classes than the first one.")
        cases = cases_of(data, self.classes, plan.size, masks)
        count = min(plan.limit or len(cases), len(cases))
        self.cases = [cases[n * len(cases) // count] for n in range(count)]
        marks = b"".join(c.mask.tobytes() for c in self.cases if c.mask is not None)
        self.masks = hashlib.sha256(marks).hexdigest()[:16] if marks else ""
        self.weights = {n: fingerprint(p) for n, p in models.items()}
        self.before = {c.name: answers(self.models, c.view) for c in self.cases}

    def common(self, source: str) -> str:
        """What a run against a source rests on, beside its own settings."""
        return json.dumps(
            {
                "data": self.data.digest("test"),
                "size": self.plan.size,
                "models": self.weights,
                "ensemble": self.plan.ensemble if source == ENSEMBLE else [],
                **({"masks": self.masks} if self.masks else {}),
            },
            sort_keys=True,
        )

    def right(self, model: str, label: int | None = None) -> list[float]:
        """1 for each image the model has right, else 0; of one class, if given."""
        chosen = [c for c in self.cases if label is None or c.label == label]
        return [float(self.before[c.name][model] == c.label) for c in chosen]

    def targets(self, source: str) -> list[str]:
        """Models that transfer from a source is measured on."""
        members = {source, ENSEMBLE} if source != ENSEMBLE else {ENSEMBLE, *self.plan.ensemble}
        return [n for n in self.models if n not in members]


def attacks_of(text: str, shared: dict[str, dict[str, Any]] | None = None) -> list[Attack]:
    """Attacks by name: ``medlocker,medlocker[search=cma;loss=margin]``.

    Raises:
        MethodNotFoundError, PluginError, SettingsError: for what cannot take part.
    """
    out = []
    for label in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        name, own = entry(label)
        registry.load("watermarker", name)
        out.append(Attack(label=label.strip(), method=name, settings={**(shared or {}).get(name, {}), **own}))
    return out


def run_suite(
    panel: Panel, attacks: list[Attack], logo: Tensor, out: Path, *, tick: Tick = lambda *_: None
) -> tuple[Results, dict[str, list[dict[str, Any]]]]:
    """Run what the journal in ``out`` does not hold yet; returns the table, and the lines of each attack and source.

    Args:
        panel: models and images.
        attacks: what is compared.
        logo: the mark.
        out: folder for the journal, the JSON and the page.
        tick: told how far it is.
    """
    figures, found = accuracy(panel), {}
    journal = make_folder(out) / "watermark.jsonl"
    mark = hashlib.sha256(logo.numpy().tobytes()).hexdigest()[:16]
    plan = panel.plan
    for where in plan.where:
        cases = [c for c in panel.cases if where == "anywhere" or c.mask is not None]
        if not cases:
            raise InputError(f"{panel.data.path}: no image has a mask, which marks {where} the lesions need.")
        for attack in attacks:
            for source in plan.sources or list(panel.models):
                trial = Trial(
                    source=source,
                    method=attack.method,
                    settings=attack.settings,
                    where=where,
                    common=f"{panel.common(source)} {mark}",
                )
                locker = registry.create("watermarker", attack.method, None, None, **attack.settings)
                lines = run_trial(
                    trial,
                    locker,
                    logo,
                    panel.models,
                    cases,
                    journal,
                    before=panel.before,
                    together=plan.together,
                    tick=tick,
                )
                found[f"{attack.label}, {where}, {source}"] = lines
                figures += tabulate(panel, attack, source, where, lines)
    results = Results(
        name="watermark",
        title=f"Adversarial watermarks, {panel.data.path.name}: what strangers' models say",
        figures=figures,
        provenance=provenance(data={panel.data.path.name: panel.data.digest("test")}, weights=panel.weights, seeds=[0]),
        notes=[
            f"{len(panel.cases)} test images of {plan.size} x {plan.size}; ± is half of Wilson's 95 % interval of a share. ASR: of the "
            "images that the source has right, those it errs on when they are marked. Transfer: of those, the ones another model errs on "
            "too, of the ones it had right before.",
            *(
                []
                if panel.data.has_split
                else ["The set has no split.csv: all its images were marked, whatever models were trained on."]
            ),
        ],
    )
    return results, found


def save(results: Results, panel: Panel, found: dict[str, list[dict[str, Any]]], logo: Tensor, path: Path) -> Path:
    """Write JSON and page; the page shows marked images."""
    table = to_pivot_html(results, leave_out=DETAILS, head="source")
    return results.save(
        path, extra=table + sheets_html(panel.cases, panel.classes, found, logo) + "<h2>All figures</h2>"
    )


def accuracy(panel: Panel) -> list[Figure]:
    """What the models get right before anything is marked, over all and by class."""
    name, out = panel.data.path.name, []
    for model in panel.models:
        out.append(share("accuracy on clean images", model, panel.right(model), name))
    for model in panel.models:
        for n, label in enumerate(panel.classes):
            if right := panel.right(model, n):
                out.append(share(f"accuracy on class {label}", model, right, name))
    return out


def tabulate(panel: Panel, attack: Attack, source: str, where: str, lines: list[dict[str, Any]]) -> list[Figure]:
    """ASR over all and by class, queries, transfer, and how much of the lesions is covered."""
    words = attack.label if where == "anywhere" else f"{attack.label}, mark {where}"
    name, out = panel.data.path.name, []
    out.append(share(f"ASR, {words}", source, asr(lines), name))
    if lines:
        queries = [r["queries"] for r in lines]
        out.append(figure(f"queries, {words}", source, queries, data=name, over="images", better="lower"))
    shares = [statistics.fmean(hits) for target in panel.targets(source) if (hits := transfer(lines, target))]
    if shares:
        out.append(figure(f"mean transfer, {words}", source, shares, data=name, over="target models"))
    for target in panel.targets(source):
        if hits := transfer(lines, target):
            out.append(share(f"transfer to {target}, {words}", source, hits, name))
    for n, label in enumerate(panel.classes):
        if mine := asr([r for r in lines if r["label"] == n]):
            out.append(share(f"ASR of class {label}, {words}", source, mine, name))
    covered = [r["covered"] for r in lines if r["covered"] is not None]
    if covered:
        if where == "outside" and any(covered):
            raise AssertionError(f"{attack.label}: a mark that was to lie outside covers a lesion")
        about = {"data": name, "over": "images", "better": "lower"}
        out.append(figure(f"share of the lesion covered, {words}", source, covered, **about))
    return out


def share(name: str, method: str, values: list[float], data: str, **more: Any) -> Figure:
    """A share; what stands as its spread is half of its 95 % interval."""
    low, high = interval(values)
    mean = statistics.fmean(values) if values else 0.0
    return Figure(
        name=name,
        method=method,
        measured=mean,
        spread=(high - low) / 2,
        n=len(values),
        data=data,
        over="images",
        **more,
    )


def by_name(models: list[Path]) -> dict[str, Path]:
    """Model files by their names without ending.

    Raises:
        SettingsError: when two have the same name.
    """
    found = {path.stem: path for path in models}
    if len(found) < len(models):
        raise SettingsError("bench watermark: two models have the same name. Rename one of the files.")
    return found


def masks_beside(data: ImageFolder, folder: Path) -> dict[str, Path]:
    """Masks for the images of a class-folder set, found by name in another folder.

    A mask that has its own picture of that name beside it, in ``../images``, counts only if that is the same picture: some sets crop them.

    Raises:
        InputError: when no mask there has the name of an image.
    """
    known = {path.name: inside(folder, path.name) for path in sorted(folder.glob("*.png"))}
    names = [item.image.relative_to(data.root).as_posix() for item in data.items("test")]
    found = {n: known[Path(n).name] for n in names if Path(n).name in known}
    beside = {n: inside(folder.parent / "images", Path(n).name) for n in found}
    found = {n: path for n, path in found.items() if not beside[n].is_file() or alike(data.root / n, beside[n])}
    if not found:
        raise InputError(f"{folder}: no mask there has the name of a test image of {data.path}.")
    return found


def alike(a: Path, b: Path) -> bool:
    """Whether two files show the same picture."""
    return distance(*(look_of(read(path)) for path in (a, b))) <= NEAR
