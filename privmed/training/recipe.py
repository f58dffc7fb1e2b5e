"""Recipes: everything that decides what weights come out, in one YAML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from attrs import Factory, frozen
from attrs.validators import optional

from privmed.errors import InputError, PrivmedError, SettingsError
from privmed.limits import read_yaml
from privmed.registry import BUNDLED
from privmed.settings import (
    LARGEST_SEED,
    at_least,
    between,
    file_name,
    inner_path,
    merge,
    one_of,
    parse_assignments,
    positive,
    required,
    setting,
    structure,
    unstructure,
)
from privmed.training.unused import check_used
from privmed.weights import card_path, read_card

WEIGHTS = ("start", "hider_weights", "analyzer_weights")  # settings that name some


@frozen(kw_only=True)
class Source:
    """One data set that secrets are drawn from."""

    folder: str = required("folder of the set, relative to data.root", inner_path())
    share: float = setting(1.0, "how often it is drawn, relative to the others", positive())
    masks: str = setting("masks", "folder of its masks; none where its images have no lesion", inner_path())
    only: str = setting("", "the one class of it that is taken")


@frozen(kw_only=True)
class DataRecipe:
    """What is trained on."""

    root: str = setting("$PRIVMED_DATA", "folder that holds the data sets; environment variables are expanded")
    covers: list[Source] = setting(
        Factory(lambda: [Source(folder="covers")]), "sets of photographs (a bare folder name is one set)"
    )
    secrets: list[Source] = setting(Factory(list), "sets that secrets (or the images to segment) come from")
    size: int = setting(224, "shorter side the pictures are resized to", at_least(32))
    crop: int = setting(64, "side of the training windows (hiding) or of the training images (analysis)", at_least(32))
    batch: int = setting(8, "images a step", at_least(1))
    validation: float = setting(0.1, "part of the training split kept for validation, along groups", between(0.01, 0.5))
    cut: int = setting(
        0, "which validation part is cut off; apart from seed, so that runs of other seeds share it", at_least(0)
    )
    recolour: float = setting(
        0.0, "share of secrets and covers that get other colours and contrasts (hiding)", between(0, 1)
    )
    variety: float = setting(
        0.0,
        "share of secrets and covers made clipped, coloured, sharp, soft, re-scaled or JPEG-born (hiding)",
        between(0, 1),
    )
    nothing: float = setting(
        0.0,
        "covert: share of the photographs in which nothing is hidden, to be answered by an empty mask",
        between(0, 1),
    )
    augment: float = setting(1.0, "strength of the augmentation in analysis", between(0, 3))


@frozen(kw_only=True)
class LossRecipe:
    """Weights of the losses; all losses are means."""

    stego: float = setting(
        1.0,
        "mean squared error of stego and cover (with joint, try 200); distillation: of student and teacher (alpha1, 800)",
        at_least(0),
    )
    low: float = setting(0.0, "mean squared error of their LL bands", at_least(0))
    secret: float = setting(
        1.0,
        "mean squared error of recovered and secret; with align: feature of the states on the way back instead",
        at_least(0),
    )
    response: float = setting(200.0, "mean squared error of response and cover (beta2)", at_least(0))
    task: float = setting(
        1.0, "Dice and cross-entropy of the decoded answer (beta1; distillation: alpha3, 4)", at_least(0)
    )
    mia: float = setting(
        1.0,
        "distillation: mean squared error of the analyzer's answers to the student's and the teacher's stegos (alpha2, 800)",
        at_least(0),
    )
    scale: str = setting(
        "linear",
        "hiding: squared errors as they are, or the logarithm of each image's, so that every image counts alike in decibels",
        one_of("linear", "log"),
    )
    worst: float = setting(
        0.0, "hiding: weight of the worst window of 8 x 8 of the recovered, on top of the secret's mean", at_least(0)
    )
    adversarial: float = setting(
        0.0,
        "weight of a network that learns to tell stego (hiding) or response (covert) from cover beside what is trained (HiDDeN)",
        at_least(0),
    )
    adversary: str = setting(
        "discriminator",
        "that network; HiDDeN's, or a small SRNet that looks at the 8-bit files as a detector does",
        one_of("discriminator", "srnet"),
    )
    masking: float = setting(
        0.0,
        "how much more a change of the cover, by stego or response, costs where it is smooth than where it is textured; 0 alike",
        between(0, 2),
    )
    isolation: float = setting(
        4.0, "hiding: squared correlation of what others read with the secret, where `isolate` names any", at_least(0)
    )
    rounding: bool = setting(True, "round to 8 bits in the loop, straight-through")
    clipping: bool = setting(
        False,
        "no gradient where the 8-bit file clips (what is pushed past 0 or 255 is lost), instead of straight through",
    )


@frozen(kw_only=True)
class OptimizerRecipe:
    """How the weights move."""

    name: str = setting(
        "adam", "which optimizer; adam has decoupled decay and betas of 0.9 and 0.99", one_of("adam", "muon")
    )
    rate: float = setting(1e-3, "learning rate", positive())
    vector_rate: float = setting(1e-3, "learning rate of biases and other vectors under muon", positive())
    decay: float = setting(0.0, "decoupled weight decay (adam)", at_least(0))
    clip: float = setting(1.0, "largest gradient norm", positive())
    adversary: float = setting(
        1.0,
        "learning rates of the network of `loss.adversarial`, as a multiple of those of what is trained",
        positive(),
    )
    average: float = setting(
        0.998, "decay of the running average of the weights that is validated and saved", between(0, 0.99999)
    )


@frozen(kw_only=True)
class ScheduleRecipe:
    """How long, and how the rate changes."""

    steps: int = setting(1000, "optimizer steps in all", at_least(1))
    warmup: int = setting(100, "steps of linear warm-up", at_least(0))
    cooldown: float = setting(
        0.3, "last part of the steps, in which the rate falls to zero along a cosine", between(0, 1)
    )
    statistics: int | None = setting(
        None,
        "hiding: steps in which batch normalisation follows its batches, before its statistics stay; None for all",
        optional(at_least(0)),
    )
    validate: int = setting(250, "steps between validations, the places that a rollback goes to", at_least(1))
    keep: str = setting(
        "last",
        "which weights are written: those of the last validation, or those of the best so far, by its score",
        one_of("last", "best"),
    )


@frozen(kw_only=True)
class GuardRecipe:
    """What is done when the loss explodes (HiNet is known for it)."""

    factor: float = setting(6.0, "a loss above this many running medians is an explosion", at_least(1.5))
    patience: int = setting(
        2, "explosions in a row before the last validated state is restored at half the rate", at_least(1)
    )


@frozen(kw_only=True)
class Recipe:
    """A training, whole."""

    name: str = required("name of the weights it makes", file_name())
    task: str = required("what is trained", one_of("hiding", "distillation", "bare", "covert", "classification"))
    method: str = required("kind:name of what is trained, e.g. hider:lightih or classifier:resnet18")
    settings: dict[str, Any] = setting(Factory(dict), "settings of the method")
    start: str | None = setting(None, "weights to start from (a bundled name or a path); None starts afresh")
    start_method: str | None = setting(
        None, "kind:name of the method `start` belongs to, when it is a smaller relative"
    )
    hider: str = setting("lightih", "covert: the hider the analyzer is tuned to; distillation: the teacher")
    hider_weights: str = setting(
        BUNDLED, "covert: its weights (a bundled name or a path; bundled: those that the hider has by default)"
    )
    isolate: list[str] = setting(
        Factory(list),
        "hiding: weights of the same hider (bundled names or paths) that must not read what this one hides, nor it what they hide",
    )
    fork: bool = setting(
        False,
        "hiding: begin with a relative of `start` drawn by the seed, and keep apart from relatives of `isolate` as well",
    )
    analyzer: str = setting(
        "",
        "distillation: the analyzer that has to answer the student's stegos as the teacher's (stage 2 of Algorithm 1)",
    )
    analyzer_weights: str = setting(BUNDLED, "distillation: its weights (a bundled name or a path)")
    align: str = setting(
        "function",
        "distillation: whether stages of the student have to do what the teacher's do, or to make the same states",
        one_of("function", "feature"),
    )
    joint: bool = setting(False, "covert: train the hider as well (stage 3 of Algorithm 1)")
    seed: int = setting(0, "where every draw comes from", between(0, LARGEST_SEED))
    about: str = setting("", "what these weights are for, in a sentence (goes into the model card)")
    data: DataRecipe = setting(Factory(DataRecipe), "data")
    loss: LossRecipe = setting(Factory(LossRecipe), "losses")
    optimizer: OptimizerRecipe = setting(Factory(OptimizerRecipe), "optimizer")
    schedule: ScheduleRecipe = setting(Factory(ScheduleRecipe), "schedule")
    guard: GuardRecipe = setting(Factory(GuardRecipe), "guard against explosions")

    def identity(self) -> dict[str, Any]:
        """What a resumed training must share with the one it goes on with: all that decides the steps so far, as plain data.

        Weights out of files are told by what is in them, so that folders may be moved.
        """
        plain = unstructure(self)
        plain |= {name: content(plain[name]) for name in WEIGHTS}
        plain["isolate"] = [content(one) for one in plain["isolate"]]
        for name in ("steps", "keep"):
            plain["schedule"].pop(name)
        plain["data"].pop("root")
        return {k: v for k, v in plain.items() if k != "about"}


def content(weights: str | None) -> str | None:
    """A bundled name as it is; of a file its hash as its card has it, or its name where it has no card (yet)."""
    if weights is None or not weights.endswith(".safetensors"):
        return weights
    try:
        return f"sha256 {read_card(card_path(Path(weights)))['sha256']}"
    except (PrivmedError, KeyError):
        return Path(weights).name


def read_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe of one stage and lay ``name=value`` overrides over it.

    Raises:
        InputError: when the file is missing or not YAML.
        SettingsError: listing every mistake in it.
    """
    plain, over = read_plain(path, overrides)
    if "stages" in plain:
        raise SettingsError(f"recipe {path}: has several stages, where one is needed.")
    return make_recipe(merge(plain, over), f"recipe {path}")


def read_plain(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands in the file of a recipe, and what is to be laid over it.

    Raises:
        InputError: when the file is missing or not YAML.
        SettingsError: when it holds no settings by name, or an override is none.
    """
    path = Path(path)
    try:
        plain = read_yaml(path, name=f"recipe {path}")
    except OSError as error:
        raise InputError(f"recipe {path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: is not YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(plain, dict):
        raise SettingsError(f"recipe {path}: expected settings by name.")
    return plain, parse_assignments(list(overrides))


def make_recipe(plain: dict[str, Any], where: str, own: dict[str, Any] | None = None) -> Recipe:
    """A recipe of settings by name.

    Args:
        plain: the settings.
        where: they stand, for messages.
        own: those that the task must have a use for; all by default.

    Raises:
        SettingsError: listing every mistake in them.
    """
    if isinstance(plain.get("data"), dict) and isinstance(plain["data"].get("covers"), str):
        plain = {**plain, "data": {**plain["data"], "covers": [{"folder": plain["data"]["covers"]}]}}
    recipe = structure(Recipe, plain, where)
    for name in ("secrets", "covers"):
        if not getattr(recipe.data, name):
            raise SettingsError(f"{where}: data.{name} names no data set.")
    check_used(recipe, plain if own is None else own, where)
    if not recipe.loss.adversarial and (recipe.loss.adversary != "discriminator" or recipe.optimizer.adversary != 1):
        raise SettingsError(
            f"{where}: loss.adversarial is 0, so no adversary is trained. Set it above 0, or leave the adversary out."
        )
    if recipe.task in ("hiding", "distillation", "covert") and recipe.data.crop > recipe.data.size:
        raise SettingsError(
            f"{where}: data.crop {recipe.data.crop} is larger than data.size {recipe.data.size}, so no window of that side fits."
        )
    return recipe


def data_root(recipe: Recipe) -> Path:
    """Where the data sets of a recipe lie.

    Raises:
        InputError: when an environment variable in it is not set, or there is no such folder.
    """
    text = os.path.expandvars(os.path.expanduser(recipe.data.root))
    if "$" in text:
        raise InputError(
            f"data.root is {recipe.data.root!r}, and that variable is not set: use --set data.root=FOLDER."
        )
    root = Path(text)
    if not root.is_dir():
        raise InputError(f"data.root {root}: no such folder.")
    return root
