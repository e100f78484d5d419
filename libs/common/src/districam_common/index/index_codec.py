"""Decodes Redis replies of the index; malformed values are skipped and reported (`record_unreadable`)."""

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
    """`dc1:meta`. Queries about footage are answered only if `state` is ready.

    Attributes:
        partitions: number of partitions of `districam.fragments.v1`.
        build: id of this build of the index, new at each rebuild; empty while the old index is being deleted.
        progress: progress of a rebuild, for display.
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
    """State of a camera at an instant by a quick check; `is_stored` may be False although it is stored."""

    is_stored: bool
    is_expired: bool


def decode_segments_in_window(hours: Iterable[Sequence[bytes]], from_us: int, to_us: int) -> SegmentArray:
    """The segments of these hours that touch [from_us, to_us), by start; malformed members are skipped."""
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
    """Whether a member and its score can be decoded as a segment; reports it if not."""
    is_one = len(member) == MEMBER_DTYPE.itemsize and isfinite(score)
    if not is_one:
        record_unreadable("segment", member.hex(), f"{len(member)} bytes, with a score of {score}")
    return is_one


def parse_number(found: bytes | None, where: str) -> int | None:
    """An integer; None if absent or malformed."""
    try:
        return None if found is None else int(found)
    except ValueError as error:
        record_unreadable("number", where, str(error))
        return None


def parse_numbers(found: Mapping[bytes, bytes], where: str) -> dict[int, int]:
    """A hash of integers; malformed entries are skipped."""
    read = ((parse_number(key, where), parse_number(value, where)) for key, value in found.items())
    return {key: value for key, value in read if key is not None and value is not None}


def parse_usage(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Camera id → bytes, from `dc1:used`."""
    known = parse_camera_ids(found)
    read = {name.decode(errors="replace"): parse_number(size, names.USAGE) for name, size in found.items()}
    return {name: size for name, size in read.items() if size is not None and name in known}


def parse_usage_by_hour(found: Mapping[bytes, bytes], camera_id: str) -> dict[int, int]:
    """Start of the hour, µs UTC → bytes, from `dc1:used:{camera_id}`."""
    out: dict[int, int] = {}
    for hour, size in found.items():
        try:
            out[names.parse_hour(hour.decode())] = int(size)
        except ValueError as error:
            record_unreadable("hour", camera_id, str(error))
    return out


def parse_watermark_us(found: bytes | None) -> int:
    """`log_us` of a partition; 0 if unknown."""
    return parse_number(found, names.WATERMARKS) or 0


def parse_camera_ids(found: Iterable[bytes]) -> set[str]:
    """The valid camera ids of a set."""
    ids = {one: _camera_id(one) for one in found}
    for one in (one for one, name in ids.items() if not name):
        record_unreadable("camera id", one.decode(errors="replace"), "not a valid camera id")
    return {name for name in ids.values() if name}


@random_cache(1 << 16)
def _camera_id(text: bytes) -> str:
    """The id as text, empty if invalid; cached, since queries read the ids of all cameras."""
    name = text.decode(errors="replace")
    return name if CAMERA_ID.fullmatch(name) else ""


def parse_latest_ends(rows: Iterable[tuple[bytes, float]]) -> dict[str, int]:
    """Camera id → end of its newest segment, µs UTC, from `dc1:latest`."""
    read = {name.decode(errors="replace"): end_us for name, end_us in rows if isfinite(end_us)}
    known = parse_camera_ids(name.encode() for name in read)
    return {name: int(end_us) for name, end_us in read.items() if name in known}


def parse_interval_members(members: Iterable[bytes], where: str) -> list[tuple[bytes, Interval]]:
    """The members of a camera's `dc1:expired:*`, each with its interval."""
    out: list[tuple[bytes, Interval]] = []
    for member in members:
        try:
            out.append((member, names.parse_interval(member)))
        except ValueError as error:
            record_unreadable("expired", where, str(error))
    return out


def parse_expired(members: Iterable[bytes], where: str) -> list[Interval]:
    """The intervals of a camera's `dc1:expired:*`, merged."""
    return merge(interval for _, interval in parse_interval_members(members, where))


def decode_values(kind: type[T], found: Mapping[bytes, bytes], where: str) -> dict[str, T]:
    """A hash of JSON values of type `kind`; malformed values are skipped."""
    out: dict[str, T] = {}
    for name, body in found.items():
        text = name.decode(errors="replace")
        try:
            out[text] = wire.decode_json(kind, body)
        except wire.WireError as error:
            record_unreadable(where.removeprefix(names.PREFIX), f"{where} {text}", str(error))
    return out


def segment_duration_us(hours: Iterable[Sequence[bytes]], end_us: int) -> int:
    """Duration of the longest segment of these hours that contains the last microsecond before `end_us`; 0 if none."""
    found = decode_segments_in_window(hours, end_us - 1, end_us)
    return int((found["end_us"] - found["start_us"]).max(initial=0))


def decode_truncations(members: Iterable[bytes]) -> list[PartitionTruncated]:
    """The `PartitionTruncated` events of a partition."""
    return [one for one in _decode_all(members) if isinstance(one, PartitionTruncated)]


def _decode_event(member: bytes) -> LoggedEvent | PartitionTruncated:
    event, appended_us = wire.decode_indexed_event(member)
    return event if isinstance(event, PartitionTruncated) else LoggedEvent(event, appended_us or None)


_decode_event_cached = random_cache(1 << 17)(_decode_event)
"""Cached, since events never change, and a camera has thousands in a month."""


def _decode_all(
    members: Iterable[bytes], decode: Callable[[bytes], LoggedEvent | PartitionTruncated] = _decode_event_cached
) -> Iterable[LoggedEvent | PartitionTruncated]:
    for member in members:
        try:
            yield decode(member)
        except wire.WireError as error:
            record_unreadable("event", member[:120].decode(errors="replace"), str(error))


def decode_events(members: Iterable[bytes]) -> list[LoggedEvent]:
    """A camera's events; malformed ones are skipped."""
    return [one for one in _decode_all(members) if isinstance(one, LoggedEvent)]


def decode_events_uncached(members: Iterable[bytes]) -> list[LoggedEvent]:
    """As `decode_events`, without the cache, for callers that cache their own results.

    The last 64 events of 10,000 cameras would evict everything else from the cache, and make its new entries work for
    the garbage collector.
    """
    return [one for one in _decode_all(members, _decode_event) if isinstance(one, LoggedEvent)]


def parse_meta(fields: dict[bytes, bytes]) -> Meta | None:
    """`dc1:meta` as a value; None if absent, incomplete or malformed."""
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
