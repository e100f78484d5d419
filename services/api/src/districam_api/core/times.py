"""Times as callers write them ↔ µs UTC: RFC 3339 with an offset, or local with an explicit zone; never guessed."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from districam_api.core.invalid_parameter import InvalidParameter
from districam_common.contract.names import DAY_US, HOUR_US, datetime_to_us, parse_rfc3339, utc

MAX_TIMELINE_US = 31 * DAY_US
MAX_PLAYLIST_US = MAX_CLIP_US = DAY_US

_INSTANT = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(?P<zone>[Zz]|[-+ ]\d{2}:\d{2})?",
    re.ASCII,
)
_MIN_US = parse_rfc3339("2000-01-01T00:00:00Z")
_END_US = parse_rfc3339("2100-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open, µs UTC."""

    from_us: int
    to_us: int

    @property
    def length_us(self) -> int:
        return self.to_us - self.from_us


def parse_zone(name: str, field: str = "tz") -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        InvalidParameter: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"{name[:60]!r} is not an IANA time zone; write one such as Asia/Ho_Chi_Minh"
        raise InvalidParameter(field, message) from error


def parse_instant(text: str, field: str, zone: ZoneInfo | None) -> int:
    """µs UTC of `text`; its own offset takes precedence over `zone`. A space before it is a `+` after URL decoding.

    Raises:
        InvalidParameter: not an instant, or no zone is known; the message says how to correct it.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        raise InvalidParameter(field, f"{text[:60]!r} is not RFC 3339; write 2026-11-24T14:47:00+07:00 (+ as %2B)")
    offset = (match["zone"] or "").upper().replace(" ", "+")
    try:
        at = datetime.fromisoformat(f"{match['date']}T{match['time']}{offset}")
    except ValueError as error:
        raise InvalidParameter(field, f"{text[:60]!r} is not an instant: {error}") from error
    at_us = datetime_to_us(at if offset else _resolve_local(at, field, zone))
    if not _MIN_US <= at_us < _END_US:
        raise InvalidParameter(field, "is outside the years 2000 to 2099")
    return at_us


def _resolve_local(local: datetime, field: str, zone: ZoneInfo | None) -> datetime:
    if zone is None:
        raise InvalidParameter(
            field, "has no time zone; add Z or an offset such as %2B07:00, or give tz=Asia/Ho_Chi_Minh"
        )
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():  # PEP 495: ambiguous or missing at a clock change
        raise InvalidParameter(
            field, f"is ambiguous or missing in {zone.key} because of a clock change; give an offset"
        )
    return first


def parse_window(from_text: str, to_text: str, zone: ZoneInfo | None, max_us: int) -> Window:
    """The requested window: `from` inclusive, `to` exclusive.

    Raises:
        InvalidParameter: a bound is not an instant, the window is empty, or longer than `max_us`.
    """
    result = Window(parse_instant(from_text, "from", zone), parse_instant(to_text, "to", zone))
    if result.length_us <= 0:
        raise InvalidParameter("to", "must be later than from")
    if result.length_us > max_us:
        raise InvalidParameter("to", f"is more than {_limit(max_us)} after from, the maximum of one answer")
    return result


def _limit(max_us: int) -> str:
    return f"{max_us // DAY_US} days" if max_us > DAY_US else f"{max_us // HOUR_US} hours"


def format_local(at_us: int, zone: ZoneInfo) -> str:
    """RFC 3339 with six decimals and the offset of `zone` at that instant."""
    return utc(at_us).astimezone(zone).isoformat(timespec="microseconds")


def seconds(length_us: int) -> float:
    """A duration in seconds, exact to the microsecond."""
    return timedelta(microseconds=length_us).total_seconds()
