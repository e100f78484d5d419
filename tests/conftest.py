"""Hypothesis profiles: `ci` (default) is fast and deterministic, `deep` searches; HYPOTHESIS_PROFILE selects one."""

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
    """A deep search takes minutes per property, so it has no timeout."""
    if PROFILE == "deep":
        config.option.timeout = 0
