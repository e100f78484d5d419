"""Number of examples of property tests."""

from hypothesis import settings


def examples_percent(percent: int) -> settings:
    """Settings with `percent` of the profile's examples, for properties whose examples are expensive."""
    return settings(max_examples=max(1, settings().max_examples * percent // 100))
