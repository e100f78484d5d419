"""Hypothesis profiles: `ci` (the default) is quick and repeats itself exactly, `deep` searches. HYPOTHESIS_PROFILE chooses."""

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.cpu_time_plugin"]
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _COMMON, max_examples=100, derandomize=True, database=None)
settings.register_profile("deep", _COMMON, max_examples=5000)
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A deep search takes minutes a property; who starts it ends it."""
    if PROFILE == "deep":
        config.option.timeout = 0
