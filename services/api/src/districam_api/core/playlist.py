"""HLS media playlists, version 7, VOD (RFC 8216): one entry per segment, byte ranges into whole objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from districam_common.contract.names import format_rfc3339
from districam_common.contract.segment_array import IndexEntry

CONTENT_TYPE = "application/vnd.apple.mpegurl"
GAP_US = 500_000
"""A shorter hole is not a gap (the ledger's rule)."""


@dataclass(frozen=True, slots=True)
class SegmentWithUrl:
    """A stored segment, its object key, and the path at which players fetch it."""

    entry: IndexEntry
    key: str
    url: str

    @property
    def length_us(self) -> int:
        return self.entry.end_us - self.entry.start_us


def format_playlist(listed: Sequence[SegmentWithUrl]) -> str:
    """The playlist of `listed` (playing order, at least one); each entry is a segment's whole media part.

    EXT-X-DISCONTINUITY is written where decode times are not contiguous: between epochs, at missing or repeated
    `seq`, at gaps. EXT-X-MAP is written only where the epoch changes: it applies until the next one (RFC 8216
    section 4.3.2.5), and FFmpeg warns of each after its first.
    """
    lines = list(_head(listed))
    before: IndexEntry | None = None
    for item in listed:
        if before and not _continues(before, item.entry):
            lines.append("#EXT-X-DISCONTINUITY")
        if before is None or before.epoch != item.entry.epoch:
            lines.append(_map(item))
        lines.append(_entry(item))
        before = item.entry
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def _continues(before: IndexEntry, after: IndexEntry) -> bool:
    return (
        before.epoch == after.epoch
        and before.last_seq + 1 == after.first_seq
        and abs(after.start_us - before.end_us) < GAP_US
    )


def _head(listed: Sequence[SegmentWithUrl]) -> Iterator[str]:
    longest_us = max(item.length_us for item in listed)
    yield "#EXTM3U"
    yield "#EXT-X-VERSION:7"
    yield f"#EXT-X-TARGETDURATION:{max(1, -(-longest_us // 1_000_000))}"
    yield "#EXT-X-PLAYLIST-TYPE:VOD"
    if all(item.entry.starts_with_keyframe for item in listed):
        yield "#EXT-X-INDEPENDENT-SEGMENTS"


def _map(item: SegmentWithUrl) -> str:
    return f'#EXT-X-MAP:URI="{item.url}",BYTERANGE="{item.entry.init_bytes}@0"'


def _entry(item: SegmentWithUrl) -> str:
    entry, length_us = item.entry, item.length_us
    return (
        f"#EXT-X-PROGRAM-DATE-TIME:{format_rfc3339(entry.start_us)}\n"
        f"#EXTINF:{length_us // 1_000_000}.{length_us % 1_000_000:06d},\n"
        f"#EXT-X-BYTERANGE:{entry.bytes - entry.init_bytes}@{entry.init_bytes}\n"
        f"{item.url}"
    )
