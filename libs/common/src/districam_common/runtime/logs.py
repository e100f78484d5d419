"""Logs to standard error, one line per event, as JSON or as coloured text; user names and passwords in URLs are removed."""

import logging
import re
import sys
import unicodedata
from collections.abc import MutableMapping
from typing import Any

import structlog

from districam_common.runtime.settings import LogSettings

_USERINFO = re.compile(r"://[^/\s?#]*@")
"""User information of a URL with any scheme. Matching the scheme too would start a search at each letter of a long word."""
_LIBRARY_LEVELS = {"aiokafka": logging.ERROR, "urllib3": logging.ERROR, "asyncio": logging.WARNING}
"""Minimum levels for libraries that log each attempt; our errors and Health report what matters."""


_IGNORED_MESSAGES = ("GroupCoordinatorNotAvailableError",)
"""Logged by aiokafka as an error although it only means "not yet": a new broker creates its offsets topic at the first
request. aiokafka retries; if it lasts, Health reports it."""


_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Unicode categories of characters that control terminals, separate lines, or change the direction of text."""


def escape_controls(text: str) -> str:
    r"""The text with control, format and line separating characters as `\uXXXX`, so that a line stays one line."""
    if text.isprintable():
        return text
    return "".join(_escape(one) if unicodedata.category(one) in _ESCAPED_CATEGORIES else one for one in text)


def _escape(character: str) -> str:
    pairs = character.encode("utf-16-be").hex()  # a surrogate pair above U+FFFF, as in JSON
    return "".join(f"\\u{pairs[n : n + 4]}" for n in range(0, len(pairs), 4))


def redact_urls(text: str) -> str:
    """The text without user name and password in any URL."""
    return _USERINFO.sub("://", text)


def configure(settings: LogSettings, *, service: str, instance: str) -> None:
    """Sets up structlog, and routes the libraries' logging through it. Call it once per process, before the first line."""
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
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(settings)))
    handler.addFilter(_is_not_ignored)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, min_level in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, min_level))


def _is_not_ignored(record: logging.LogRecord) -> bool:
    return not (record.name.startswith("aiokafka") and any(name in record.getMessage() for name in _IGNORED_MESSAGES))


def _rendering(settings: LogSettings) -> list[structlog.typing.Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    if people:
        return [remove, _escape_values, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()), _redact]
    return [
        remove,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        _redact,
        _escape_line,
    ]


def _identity(service: str, instance: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        event.setdefault("instance", instance)
        return event

    return add


def _escape_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For the console: escapes before colours are added, which are control characters too."""
    return {key: escape_controls(value) if isinstance(value, str) else value for key, value in event.items()}


def _escape_line(_logger: object, _method: str, line: Any) -> str:
    """For JSON, which has already escaped the controls below U+0020; the remaining ones are inside its strings."""
    return escape_controls(line)


def _redact(_logger: object, _method: str, line: Any) -> str:
    """Applied last, to the whole rendered line, so that nested values and tracebacks are covered too."""
    return redact_urls(line)
