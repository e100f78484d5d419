"""Words for days and times of day in Vietnamese and English, in lower case without diacritics. Pure."""

import re
from dataclasses import dataclass
from datetime import time, timedelta

_UNITS = {
    "s": "s sec secs second seconds giay",
    "m": "m min mins minute minutes p phut",
    "h": "h hour hours gio tieng",
    "d": "d day days ngay",
    "w": "w week weeks tuan",
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTHS = {word: _SECONDS[unit] for unit, words in _UNITS.items() for word in words.split()}
_LENGTH = re.compile(r"(\d{1,6}) ?([a-z]+) ?", re.ASCII)
_LENGTHS_ALONE = re.compile(f"(?:{_LENGTH.pattern})+", re.ASCII)

_NUMBERED = {"hai": 0, "ba": 1, "tu": 2, "nam": 3, "sau": 4, "bay": 5}
_WEEKDAYS = {
    **{day: n for word, n in _NUMBERED.items() for day in (f"thu {word}", f"thu {n + 2}", f"t{n + 2}")},
    "chu nhat": 6,
    "cn": 6,
    **{
        day: n
        for n, days in enumerate(
            (
                "monday mon", "tuesday tue", "wednesday wed", "thursday thur thurs", "friday fri", "saturday sat",
                "sunday sun",
            )
        )
        for day in days.split()
    },
}  # fmt: skip
"""`thu` alone is missing: it is Thursday in English, and the first word of most weekdays in Vietnamese."""
_DAYS_AGO = {
    "day before yesterday": 2, "hom kia": 2, "hom qua": 1, "yesterday": 1, "hom nay": 0, "today": 0,
}  # fmt: skip

_WEEKDAY = re.compile(rf"\b({'|'.join(sorted(_WEEKDAYS, key=len, reverse=True))})\b(?!:|h| ?gio)", re.ASCII)
_DAY_AGO = re.compile(rf"\b({'|'.join(_DAYS_AGO)})\b", re.ASCII)
_NUMBER_AGO = re.compile(r"\b(\d{1,4}) (?:ngay truoc|days? ago)\b", re.ASCII)
_DATE = re.compile(r"(?<!\S)(\d{1,2})([/.-])(\d{1,2})(?:\2(\d{4}))?(?!\S)", re.ASCII)
_ISO_DATE = re.compile(r"(?<!\S)(\d{4})-(\d\d)-(\d\d)(?!\S)", re.ASCII)
_CLOCK = re.compile(
    r"(?<!\S)(?:(\d{1,2}):(\d\d)(?::(\d\d))?|(\d{1,2}) ?(?:h|gio)(?: ?(\d\d)(?: ?(?:p|phut))?)?|(\d{1,2})(?= [ap]m\b))"
    r"(?![\w:])",
    re.ASCII,
)
_HALF = re.compile(r"\b(am|pm|sang|chieu|toi)\b", re.ASCII)
_JOINED_HALF = re.compile(r"(?<=\d)([ap]m)\b", re.ASCII)
_HOURS = {"am": range(13), "sang": range(12), "pm": range(1, 24), "chieu": range(1, 20), "toi": range(5, 24)}
_PART_OF_DAY = re.compile(r"\b(sang|chieu|toi) (nay|qua)\b")
_FILLERS = re.compile(r"\b(?:luc|vao|ngay|at|on|last)\b|,")


class UnclearTime(Exception):
    """The time is ambiguous or not understood; the message names the words."""


@dataclass(frozen=True, slots=True)
class TimePhrase:
    """A day in one of three forms, or none, and a time of day, or none. The year may be None; Monday is 0."""

    days_ago: int | None = None
    weekday: int | None = None
    date: tuple[int | None, int, int] | None = None
    clock: time | None = None

    @property
    def has_day(self) -> bool:
        return not (self.days_ago is None and self.weekday is None and self.date is None)


class _Words:
    """The words that are not parsed yet."""

    def __init__(self, text: str) -> None:
        self.left = text

    def extract(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.search(self.left)
        if match:
            self.left = f"{self.left[: match.start()]} {self.left[match.end() :]}".strip()
        return match


def parse_phrase(plain: str) -> TimePhrase:
    """Parses a day and a time of day, in either order.

    Raises:
        UnclearTime: words are left over, or there are none.
        ValueError: there is no such time of day.
    """
    words = _Words(_PART_OF_DAY.sub(r"\1 hom \2", _JOINED_HALF.sub(r" \1", plain)))
    days_ago, weekday, date = _day(words)
    clock = _clock(words)
    left = " ".join(_FILLERS.sub(" ", words.left).split())
    if left:
        raise UnclearTime(f"{left!r} is not understood")
    phrase = TimePhrase(days_ago, weekday, date, clock)
    if not phrase.has_day and clock is None:
        raise UnclearTime("it names neither a day nor a time of day")
    return phrase


def _day(words: _Words) -> tuple[int | None, int | None, tuple[int | None, int, int] | None]:
    """The first day that is named; a second one is left over."""
    if match := words.extract(_NUMBER_AGO):
        return int(match[1]), None, None
    if match := words.extract(_ISO_DATE):
        return None, None, (int(match[1]), int(match[2]), int(match[3]))
    if match := words.extract(_DATE):
        return None, None, (int(match[4]) if match[4] else None, int(match[3]), int(match[1]))
    if match := words.extract(_DAY_AGO):
        return _DAYS_AGO[match[1]], None, None
    if match := words.extract(_WEEKDAY):
        return None, _WEEKDAYS[match[1]], None
    return None, None, None


def _clock(words: _Words) -> time | None:
    found = words.extract(_CLOCK)
    if found is None:
        return None
    half = words.extract(_HALF)
    hour = int(found[1] or found[4] or found[6])
    minute, second = int(found[2] or found[5] or 0), int(found[3] or 0)
    return time(hour if half is None else _apply_half(hour, half[1]), minute, second)


def _apply_half(hour: int, half: str) -> int:
    if hour not in _HOURS[half] or (half == "toi" and hour == 12):
        raise UnclearTime(f"{hour} o'clock is ambiguous with {half!r}")
    if half in {"am", "sang"}:
        return hour % 12
    return hour if hour >= 12 else hour + 12


def parse_duration(plain: str) -> timedelta | None:
    """The duration of `2 gio`, `10 minutes`, `1h30m`; None if it is not one."""
    plain = plain.strip()
    if not _LENGTHS_ALONE.fullmatch(plain):
        return None
    found = [(int(number), _LENGTHS.get(unit)) for number, unit in _LENGTH.findall(plain)]
    seconds = [number * length for number, length in found if length]
    return timedelta(seconds=sum(seconds)) if len(seconds) == len(found) else None
