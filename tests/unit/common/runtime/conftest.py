"""What tests of logs and of services change for the whole process is put back."""

import logging
from collections.abc import Generator

import pytest
import structlog


@pytest.fixture
def logs_as_before() -> Generator[None]:
    """Handlers, level and structlog's configuration are afterwards what they were."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()
