"""How many examples a property gets."""

from hypothesis import settings


def examples_percent(percent: int) -> settings:
    """So much of the profile's examples, for what costs many times what other examples do."""
    return settings(max_examples=max(1, settings().max_examples * percent // 100))
