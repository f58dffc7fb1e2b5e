"""Former home of :mod:`privmed.covert` and :mod:`privmed.metrics`; gone with the next release."""
