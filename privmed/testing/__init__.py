"""The conformance kit: what any method must keep, wherever it lives.

A plugin's conformance file is four lines::

    from privmed.testing import parametrize_with_checks

    @parametrize_with_checks("hider:mine", expected_failures={})
    def test_conforms(method, check):
        check(method)
"""

from privmed.testing.kit import checks_for, parametrize_with_checks
from privmed.testing.samples import sample_images

__all__ = ["checks_for", "parametrize_with_checks", "sample_images"]
