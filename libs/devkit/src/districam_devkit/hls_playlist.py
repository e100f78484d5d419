"""Parses an HLS playlist (RFC 8216) as a player does."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"(\d+)(?:@(\d+))?")
_ATTRIBUTE = re.compile(r'([A-Z-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """One media segment; ranges are (offset, length), or None for the whole resource."""

    url: str
    range: tuple[int, int] | None
    init_url: str
    init_range: tuple[int, int] | None
    duration_s: float
    is_discontinuous: bool


def parse_playlist(text: str) -> list[MediaSegment]:
    """Returns the playlist's media segments.

    Raises:
        ValueError: the text is not a playlist, or a segment has no EXT-X-MAP.
    """
    lines = text.splitlines()
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError("not a playlist")
    out: list[MediaSegment] = []
    init: tuple[str, tuple[int, int] | None] | None = None
    span: tuple[int, int] | None = None
    duration_s, is_discontinuous = 0.0, False
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MAP":
            init = _map(value)
        elif tag == "#EXTINF":
            duration_s = float(value.split(",")[0])
        elif tag == "#EXT-X-BYTERANGE":
            span = _span(value)
        elif tag == "#EXT-X-DISCONTINUITY":
            is_discontinuous = True
        elif line and not line.startswith("#"):
            if init is None:
                raise ValueError("a segment without EXT-X-MAP")
            out.append(MediaSegment(line, span, *init, duration_s, is_discontinuous))
            span, is_discontinuous = None, False
    return out


def _map(value: str) -> tuple[str, tuple[int, int] | None]:
    attributes = {name: text.strip('"') for name, text in _ATTRIBUTE.findall(value)}
    span = attributes.get("BYTERANGE")
    return attributes["URI"], _span(span) if span else None


def _span(text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None or match[2] is None:
        raise ValueError(f"a byte range without its offset: {text!r}")
    return int(match[2]), int(match[1])
