"""MedLocker passes the kit, with every search, and so does the control."""

from privmed.testing import parametrize_with_checks

SMALL = {"population": 6, "generations": 1, "hops": 1}


@parametrize_with_checks("watermarker:medlocker", **SMALL)
def test_hopping_conforms(method, check):
    check(method)


@parametrize_with_checks("watermarker:medlocker", **SMALL, search="cma", loss="margin", jitter=60)
def test_covariance_adaptation_conforms(method, check):
    check(method)


@parametrize_with_checks("watermarker:medlocker", **SMALL, search="grid", restarts=1)
def test_grid_conforms(method, check):
    check(method)


@parametrize_with_checks("watermarker:medlocker", **SMALL, search="random")
def test_random_conforms(method, check):
    check(method)


@parametrize_with_checks("watermarker:plain")
def test_the_control_conforms(method, check):
    check(method)


@parametrize_with_checks("watermarker:plain", place="random", jitter=60)
def test_the_control_at_random_places_conforms(method, check):
    check(method)
