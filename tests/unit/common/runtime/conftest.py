"""Restores the process-wide logging configuration after tests of logs and services."""

import logging
from collections.abc import Generator

import pytest
import structlog


@pytest.fixture
def logs_as_before() -> Generator[None]:
    """Restores handlers, level and structlog's configuration."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()
