"""Logs: one line an event, JSON for machines or coloured for people, to standard error. Nothing secret in them."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from districam_common.settings import LogSettings

_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s?#]*@")
_QUIET = {"aiokafka": logging.ERROR, "urllib3": logging.ERROR, "asyncio": logging.WARNING}
"""Libraries whose own lines repeat at each attempt; what matters of them comes through our errors and Health."""


_PASSING = ("GroupCoordinatorNotAvailableError",)
"""What aiokafka calls an error although it only means "not yet": a fresh broker makes its topic of commits at the first
request for it. aiokafka asks again; if it lasts, Health says so."""


def redacted(text: str) -> str:
    """The text with the user and password taken out of every URL in it."""
    return _USERINFO.sub(r"\g<scheme>", text)


def configure(settings: LogSettings, *, service: str, instance: str) -> None:
    """Sets up structlog, and sends the libraries' logging the same way. Once a process, before the first line."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _identity(service, instance),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(settings))
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.name.startswith("aiokafka") and any(name in record.getMessage() for name in _PASSING))


def _rendering(settings: LogSettings) -> list[structlog.typing.Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    if people:
        return [remove, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()), _redact]
    return [
        remove,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        _redact,
    ]


def _identity(service: str, instance: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        event.setdefault("instance", instance)
        return event

    return add


def _redact(_logger: object, _method: str, line: Any) -> str:
    """Last, on the whole line: whatever a secret was wrapped in, it is text by now."""
    return redacted(line)
