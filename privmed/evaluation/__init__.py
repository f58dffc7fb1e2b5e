"""Former home of :mod:`privmed.covert` and :mod:`privmed.metrics`; leaves with privmed 0.3."""
