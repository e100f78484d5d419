"""What Redis answers of the index, as values."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import Any, Literal, TypeVar, cast

import numpy as np

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import PartitionTruncated
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.segment_array import MEMBER_DTYPE, SegmentArray
from districam_common.index.random_cache import random_cache
from districam_common.ledger.intervals import Interval, merge
from districam_common.ledger.ledger import LoggedEvent
from districam_common.runtime.unreadable import record_unreadable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """`dc1:meta`. Footage is answered for only when `state` is ready.

    Attributes:
        partitions: of `districam.fragments.v1`.
        build: changes whenever the index is built anew; empty while the old one is being cleared.
        progress: how far a rebuild is, for people.
    """

    site: str
    schema: str
    partitions: int
    state: Literal["ready", "rebuilding"]
    build: str
    progress: dict[str, Any]

    @property
    def is_ready(self) -> bool:
        return self.state == "ready" and self.schema == names.SCHEMA


@dataclass(frozen=True, slots=True)
class InstantState:
    """What is seen of a camera at an instant by a glance; it may be stored although no glance shows it."""

    is_stored: bool
    is_expired: bool


def decode_segments_in_window(hours: Iterable[Sequence[bytes]], from_us: int, to_us: int) -> SegmentArray:
    """The segments of these hours that touch [from_us, to_us), by start; a member that is none is passed over."""
    rows = list(chain.from_iterable(hours))
    try:
        found = segment_array.decode_scored_members(rows)
    except ValueError:
        found = segment_array.decode_scored_members(_valid_segment_rows(rows))
    found = found[(found["end_us"] > from_us) & (found["start_us"] < to_us)]
    return found.take(np.lexsort((found["first_seq"], found["start_us"])))


def _valid_segment_rows(rows: Sequence[bytes]) -> list[bytes]:
    out: list[bytes] = []
    for member, score in zip(rows[::2], rows[1::2], strict=True):
        if is_valid_segment(member, float(score)):
            out += (member, score)
    return out


def is_valid_segment(member: bytes, score: float) -> bool:
    """Whether the index's readers can take it for one."""
    is_one = len(member) == MEMBER_DTYPE.itemsize and isfinite(score)
    if not is_one:
        record_unreadable("segment", member.hex(), f"{len(member)} bytes, of a score of {score}")
    return is_one


def parse_number(found: bytes | None, where: str) -> int | None:
    """A whole number; None where there is none that can be read."""
    try:
        return None if found is None else int(found)
    except ValueError as error:
        record_unreadable("number", where, str(error))
        return None


def parse_numbers(found: Mapping[bytes, bytes], where: str) -> dict[int, int]:
    """A hash of whole numbers; what is none is passed over."""
    read = ((parse_number(key, where), parse_number(value, where)) for key, value in found.items())
    return {key: value for key, value in read if key is not None and value is not None}


def parse_usage(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """`dc1:used`."""
    known = parse_camera_ids(found)
    read = {name.decode(errors="replace"): parse_number(size, names.USAGE) for name, size in found.items()}
    return {name: size for name, size in read.items() if size is not None and name in known}


def parse_usage_by_hour(found: Mapping[bytes, bytes], camera_id: str) -> dict[int, int]:
    """Of a camera: start of the hour → bytes."""
    out: dict[int, int] = {}
    for hour, size in found.items():
        try:
            out[names.parse_hour(hour.decode())] = int(size)
        except ValueError as error:
            record_unreadable("hour", camera_id, str(error))
    return out


def parse_watermark_us(found: bytes | None) -> int:
    """Of a partition; 0 while nothing is known."""
    return parse_number(found, names.WATERMARKS) or 0


def parse_camera_ids(found: Iterable[bytes]) -> set[str]:
    """Those of a set."""
    ids = {one: _camera_id(one) for one in found}
    for one in (one for one, name in ids.items() if not name):
        record_unreadable("camera id", one.decode(errors="replace"), "is none")
    return {name for name in ids.values() if name}


@random_cache(1 << 16)
def _camera_id(text: bytes) -> str:
    """Empty if it is none; a district's are read with every question."""
    name = text.decode(errors="replace")
    return name if CAMERA_ID.fullmatch(name) else ""


def parse_latest_ends(rows: Iterable[tuple[bytes, float]]) -> dict[str, int]:
    """`dc1:latest`."""
    read = {name.decode(errors="replace"): end_us for name, end_us in rows if isfinite(end_us)}
    known = parse_camera_ids(name.encode() for name in read)
    return {name: int(end_us) for name, end_us in read.items() if name in known}


def parse_interval_members(members: Iterable[bytes], where: str) -> list[tuple[bytes, Interval]]:
    """Of a camera's `expired` ranges, each as it stands there."""
    out: list[tuple[bytes, Interval]] = []
    for member in members:
        try:
            out.append((member, names.parse_interval(member)))
        except ValueError as error:
            record_unreadable("expired", where, str(error))
    return out


def parse_expired(members: Iterable[bytes], where: str) -> list[Interval]:
    """The same, merged."""
    return merge(interval for _, interval in parse_interval_members(members, where))


def decode_values(kind: type[T], found: Mapping[bytes, bytes], where: str) -> dict[str, T]:
    """A hash of JSON values; what is none of that kind is passed over."""
    out: dict[str, T] = {}
    for name, body in found.items():
        text = name.decode(errors="replace")
        try:
            out[text] = wire.decode_json(kind, body)
        except wire.WireError as error:
            record_unreadable(where.removeprefix(names.PREFIX), f"{where} {text}", str(error))
    return out


def segment_duration_us(hours: Iterable[Sequence[bytes]], end_us: int) -> int:
    """Length of the longest segment of these hours that ends then, or goes on."""
    found = decode_segments_in_window(hours, end_us - 1, end_us)
    return int((found["end_us"] - found["start_us"]).max(initial=0))


def decode_truncations(members: Iterable[bytes]) -> list[PartitionTruncated]:
    """Of a partition's events."""
    return [one for one in _decode_all(members) if isinstance(one, PartitionTruncated)]


def _decode_event(member: bytes) -> LoggedEvent | PartitionTruncated:
    event, appended_us = wire.decode_indexed_event(member)
    return event if isinstance(event, PartitionTruncated) else LoggedEvent(event, appended_us or None)


_decode_event_cached = random_cache(1 << 17)(_decode_event)
"""An event never changes; a camera has thousands in a month."""


def _decode_all(
    members: Iterable[bytes],
    decode: Callable[[bytes], LoggedEvent | PartitionTruncated] = _decode_event_cached,
) -> Iterable[LoggedEvent | PartitionTruncated]:
    for member in members:
        try:
            yield decode(member)
        except wire.WireError as error:
            record_unreadable("event", member[:120].decode(errors="replace"), str(error))


def decode_events(members: Iterable[bytes]) -> list[LoggedEvent]:
    """Of a camera's events; one that cannot be read is passed over."""
    return [one for one in _decode_all(members) if isinstance(one, LoggedEvent)]


def decode_events_uncached(members: Iterable[bytes]) -> list[LoggedEvent]:
    """The same for a caller that remembers what it makes of them: the events are parsed again each time.

    The last 64 events of 10,000 cameras would push everything else out of what is remembered here, and what takes its place
    is new to the garbage collector.
    """
    return [one for one in _decode_all(members, _decode_event) if isinstance(one, LoggedEvent)]


def parse_meta(fields: dict[bytes, bytes]) -> Meta | None:
    """`dc1:meta` as a value; None for an absent or unfinished one, and for one that cannot be read."""
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    if not {"site", "schema", "partitions", "state"} <= text.keys():
        return None
    partitions = parse_number(fields[b"partitions"], names.META)
    if not partitions or partitions < 1:
        return None
    return Meta(
        site=text["site"],
        schema=text["schema"],
        partitions=partitions,
        state="ready" if text["state"] == "ready" else "rebuilding",
        build=text.get("build", ""),
        progress=_progress(text.get("progress", "{}")),
    )


def _progress(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        record_unreadable("progress", names.META, str(error))
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
