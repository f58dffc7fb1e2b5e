"""Former name of :mod:`privmed.covert.fidelity`; gone with the next release."""

import warnings

from privmed.covert.fidelity import USES, Fidelity, error_map, fidelity, judge, recovery

__all__ = ["USES", "Fidelity", "error_map", "fidelity", "judge", "recovery"]

warnings.warn("privmed.evaluation.fidelity is now privmed.covert.fidelity.", DeprecationWarning, stacklevel=2)
