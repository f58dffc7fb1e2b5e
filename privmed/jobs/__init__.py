"""Long work over many items: what is done to each, where it runs, and a log of what became of it.

A command describes its work as a :class:`~privmed.jobs.contracts.Task` and hands units to :class:`~privmed.jobs.job.Job`; an executor
(:mod:`local <privmed.jobs.local>`, :mod:`processes <privmed.jobs.pool>`, :mod:`ray <privmed.jobs.actors>`) runs them in any order.
"""

from privmed.jobs.contracts import Executor, LostItem, Result, Task, Unit, seed_of
from privmed.jobs.job import Job

__all__ = ["Executor", "Job", "LostItem", "Result", "Task", "Unit", "seed_of"]
