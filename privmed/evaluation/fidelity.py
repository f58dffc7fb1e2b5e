"""Former name of :mod:`privmed.covert.fidelity`; leaves with privmed 0.3."""

import warnings

from privmed.covert.fidelity import USES, Fidelity, error_map, fidelity, judge, recovery

__all__ = ["USES", "Fidelity", "error_map", "fidelity", "judge", "recovery"]

warnings.warn(
    "privmed.evaluation.fidelity is now privmed.covert.fidelity; the old name leaves with privmed 0.3.",
    DeprecationWarning,
    stacklevel=2,
)
