"""The Range header of one object (RFC 9110 section 14)."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """No byte of the range exists in an object of `size` bytes (416)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no byte of the range exists in {size}")
        self.size = size


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start` of an object of `size`."""

    start: int
    length: int
    size: int

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range to send; None (the whole object) without a header that we support (RFC 9110 section 14.2).

    Raises:
        RangeNotSatisfiable: it starts beyond the end, or asks for the last 0 bytes.
    """
    match = _ONE_RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(start, end - start, size)
