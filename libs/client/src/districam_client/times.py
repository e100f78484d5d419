"""Times as people write them → µs UTC: ISO, day/month/year, words in Vietnamese and English. Pure.

Diacritics and case are optional. An unknown word is an error: the time might mean something else.
"""

import re
import unicodedata
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from districam_client.errors import UsageError
from districam_client.time_phrases import TimePhrase, UnclearTime, parse_duration, parse_phrase

EXAMPLES = (
    "2026-11-24T21:40:00+07:00", "24/11/2026 21:40", "hôm qua 21:40", "thứ hai 7:15", "2 giờ trước", "yesterday 21:40",
    "10 minutes ago", "-15m",
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_YEARS = range(2000, 2100)
_ISO = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[t ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?) ?(?P<zone>z|[-+]\d\d:\d\d)?", re.ASCII
)
_AGO = re.compile(r"-(.+)|(?:cach day )?(.+?) ?(?:truoc|ago)|cach day (.+)", re.ASCII)
_NOW = frozenset({"now", "bay gio"})


class InvalidTime(UsageError):
    """A time that cannot be resolved; the message names the option, what was not understood, and examples."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}; write for example {', '.join(map(repr, EXAMPLES))}")


def normalize_text(text: str) -> str:
    """Lower case without diacritics (đ is d), single spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(plain.replace("đ", "d").split())


def parse_instant(text: str, field: str, *, now_us: int, zone: ZoneInfo) -> int:
    """The instant that `text` names for someone whose clock shows `now_us` in `zone`.

    A day without a time is its midnight. A time, a weekday or a day without a year is the most recent one.

    Raises:
        InvalidTime: a word is unknown, or there is no such time.
    """
    try:
        return _instant(normalize_text(text), now_us, zone)
    except (UnclearTime, ValueError, OverflowError) as error:
        raise InvalidTime(field, f"{text[:60]!r}: {error}") from error


def parse_window(from_text: str, to_text: str, *, now_us: int, zone: ZoneInfo) -> tuple[int, int]:
    """The window of two times. `--to` may be a duration (`+10m`); a time alone is the first after `--from`.

    Raises:
        InvalidTime: either is invalid, or the window is empty.
    """
    from_us = parse_instant(from_text, "--from", now_us=now_us, zone=zone)
    try:
        to_us = _end(normalize_text(to_text), from_us, now_us, zone)
    except (UnclearTime, ValueError, OverflowError) as error:
        raise InvalidTime("--to", f"{to_text[:60]!r}: {error}") from error
    if to_us <= from_us:
        raise InvalidTime("--to", f"{to_text[:60]!r} is not later than --from {from_text[:60]!r}")
    return from_us, to_us


def format_iso(at_us: int, zone: ZoneInfo) -> str:
    """RFC 3339 with the zone's offset; decimals only where needed."""
    at = (_EPOCH + at_us * _US).astimezone(zone)
    return at.isoformat() if at.microsecond else at.isoformat(timespec="seconds")


def parse_us(text: str) -> int:
    """µs UTC of an instant that the api wrote.

    Raises:
        ValueError: it is not an instant.
    """
    return (datetime.fromisoformat(text) - _EPOCH) // _US


def _instant(plain: str, now_us: int, zone: ZoneInfo) -> int:
    if plain in _NOW:
        return now_us
    if match := _ISO.fullmatch(plain):
        at = datetime.fromisoformat(f"{match['date']}t{match['time']}{match['zone'] or ''}".upper())
        return _us(at) if match["zone"] else _resolve_local(at.date(), at.time(), zone)
    if (match := _AGO.fullmatch(plain)) and (length := parse_duration(next(filter(None, match.groups())))):
        return _check_range(now_us - length // _US)
    return _resolve_phrase(parse_phrase(plain), now_us, zone)


def _end(plain: str, from_us: int, now_us: int, zone: ZoneInfo) -> int:
    if plain.startswith("+"):
        length = parse_duration(plain[1:])
        if length is None:
            raise UnclearTime("is not a duration such as +10m")
        return _check_range(from_us + length // _US)
    if plain in _NOW or _ISO.fullmatch(plain) or _AGO.fullmatch(plain):
        return _instant(plain, now_us, zone)
    phrase = parse_phrase(plain)
    if phrase.clock is None or phrase.has_day:
        return _resolve_phrase(phrase, now_us, zone)
    day = _local(from_us, zone).date()
    at_us = _resolve_local(day, phrase.clock, zone)
    return at_us if at_us > from_us else _resolve_local(day + timedelta(days=1), phrase.clock, zone)


def _resolve_phrase(phrase: TimePhrase, now_us: int, zone: ZoneInfo) -> int:
    """The instant; of a phrase that names no certain day, the most recent one that is not in the future."""
    today, clock = _local(now_us, zone).date(), phrase.clock or time()
    if phrase.days_ago is not None:
        return _resolve_local(today - timedelta(days=phrase.days_ago), clock, zone)
    if phrase.weekday is not None:
        day = today - timedelta(days=(today.weekday() - phrase.weekday) % 7)
        return _latest(day, day - timedelta(days=7), clock, now_us, zone)
    if phrase.date is None:
        return _latest(today, today - timedelta(days=1), clock, now_us, zone)
    year, month, number = phrase.date
    if year is None:
        this, last = _day(today.year, month, number), _day(today.year - 1, month, number)
        return _latest(this, last, clock, now_us, zone)
    return _resolve_local(_day(year, month, number), clock, zone)


def _latest(day: date | None, before: date | None, clock: time, now_us: int, zone: ZoneInfo) -> int:
    """The instant at `day`, or at `before` if that is in the future or does not exist."""
    at_us = None if day is None else _resolve_local(day, clock, zone)
    if at_us is not None and at_us <= now_us:
        return at_us
    return _resolve_local(before, clock, zone)


def _day(year: int, month: int, number: int) -> date | None:
    try:
        return date(year, month, number)
    except ValueError:
        return None


def _resolve_local(day: date | None, clock: time, zone: ZoneInfo) -> int:
    if day is None:
        raise UnclearTime("there is no such day")
    first, second = (datetime.combine(day, clock, zone).replace(fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():  # PEP 495: ambiguous or missing at a clock change
        raise UnclearTime(f"is ambiguous or missing in {zone.key} because of a clock change; give an offset")
    return _us(first)


def _us(at: datetime) -> int:
    return _check_range((at - _EPOCH) // _US)


def _check_range(at_us: int) -> int:
    if (_EPOCH + at_us * _US).year not in _YEARS:
        raise UnclearTime("is outside the years 2000 to 2099")
    return at_us


def _local(at_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + at_us * _US).astimezone(zone)
