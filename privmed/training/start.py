"""Where a training starts: afresh, from weights of the same method, or from those of a smaller relative."""

from __future__ import annotations

import torch

from privmed import registry
from privmed.errors import SettingsError, WeightsError
from privmed.interfaces.abilities import Forking, missing
from privmed.training.tasks import Task


def load_start(task: Task) -> None:
    """Load the weights a recipe starts from.

    With ``start_method`` they may belong to a smaller network of the same build (LightIH's four blocks for HiNet's sixteen):
    tensors of equal name and shape are taken over, all others keep their initial values. For invertible blocks that is exact:
    an untrained block is the identity, so the larger network begins where the smaller one ended.

    Raises:
        SettingsError: for a fork of nothing, or of a method that cannot be forked.
        WeightsError: when a tensor of the smaller network has no counterpart.
    """
    recipe = task.recipe
    if recipe.fork and (recipe.start is None or missing(task.method, Forking)):
        raise SettingsError(
            f"fork: needs weights to start from, and a method with the ability fork, which {recipe.method} "
            f"{'has not' if missing(task.method, Forking) else 'has: name them as start'}."
        )
    if recipe.start is None:
        return
    kind, _, name = (recipe.start_method or recipe.method).partition(":")
    settings = recipe.settings if recipe.start_method is None else {}
    source = registry.create(kind, name, weights=recipe.start, **settings)
    mine, theirs = task.method.state_dict(), source.state_dict()
    strange = [k for k, v in theirs.items() if k not in mine or mine[k].shape != v.shape]
    if strange:
        raise WeightsError(f"start {recipe.start}: {strange[0]} of {kind}:{name} does not fit into {recipe.method}.")
    task.method.load_state_dict({**mine, **theirs})
    if recipe.fork:
        task.method.fork(torch.Generator().manual_seed(recipe.seed))
