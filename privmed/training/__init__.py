"""Training: recipes, tasks, the loop (see :func:`privmed.training.run`)."""

from privmed.training.recipe import Recipe, read_recipe
from privmed.training.run import run

__all__ = ["Recipe", "read_recipe", "run"]
