"""Typed access to the headers of a Kafka record."""

import re
from collections.abc import Iterable, Mapping

from districam_common.contract.fields import MAX_INSTANT_US
from districam_common.contract.media import EPOCH
from districam_common.contract.names import parse_rfc3339
from districam_common.errors import Rejected

ReceivedHeaders = Iterable[tuple[str, bytes | None]]
"""Headers as Kafka delivers them: a value may be null."""


class WireError(Rejected):
    """The record violates its topic's contract; the message names the header or field."""


class HeaderReader:
    """Looks up headers by name; every failure is a `WireError` that names the header."""

    def __init__(self, headers: ReceivedHeaders) -> None:
        self._by_name: Mapping[str, bytes | None] = dict(headers)

    def text(self, name: str) -> str:
        value = self._by_name.get(name)
        if value is None:
            raise WireError(f"header {name} is missing, or null")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"header {name} is not UTF-8") from error

    def match(self, name: str, pattern: re.Pattern[str], what: str) -> str:
        text = self.text(name)
        if pattern.fullmatch(text) is None:
            raise WireError(f"header {name} is not {what}: {text[:70]!r}")
        return text

    def epoch(self) -> str:
        return self.match("ce_epoch", EPOCH, "a UUID in lower case")

    def integer(self, name: str, default: int | None = None, *, max_value: int = 2**31 - 1) -> int:
        if default is not None and name not in self._by_name:
            return default
        text = self.text(name)
        # 19 digits hold every int64; int() of a much longer text raises (sys.get_int_max_str_digits).
        if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > max_value:
            raise WireError(f"header {name} is not an integer from 0 to {max_value}: {text[:40]!r}")
        return int(text)

    def unbounded_instant(self, name: str) -> int:
        """An instant of any clock, µs UTC: a camera's may be in 1900."""
        text = self.text(name)
        try:
            return parse_rfc3339(text)
        except (ValueError, OverflowError) as error:
            raise WireError(f"header {name} is not an RFC 3339 instant with a zone: {text[:40]!r}") from error

    def instant(self, name: str) -> int:
        at_us = self.unbounded_instant(name)
        if not 0 <= at_us <= MAX_INSTANT_US:
            raise WireError(f"header {name} is not between 1970 and 2255: {self.text(name)[:40]!r}")
        return at_us

    def expect(self, name: str, *allowed: str) -> str:
        text = self.text(name)
        if text not in allowed:
            raise WireError(f"header {name} is {text[:60]!r}, expected {' or '.join(allowed)}")
        return text

    def has(self, name: str) -> bool:
        return name in self._by_name
