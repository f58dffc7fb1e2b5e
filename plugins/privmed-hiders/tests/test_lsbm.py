from privmed.testing import parametrize_with_checks


@parametrize_with_checks("hider:lsbm")
def test_lsbm_conforms(method, check):
    check(method)
