"""What Redis answers of the index, as values."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import structlog

from districam_common import index, wire
from districam_common.events import Camera, PartitionFell
from districam_common.index import SegmentArray
from districam_common.ledger import Told
from districam_common.remembered import remembered

log = structlog.get_logger()

SCHEMA = "1"
"""Of the whole index; another one is rebuilt."""


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
        return self.state == "ready" and self.schema == SCHEMA


@dataclass(frozen=True, slots=True)
class Instant:
    """What is seen of a camera at an instant by a glance; it may be stored although no glance shows it."""

    is_stored: bool
    is_expired: bool


def touching(hours: Iterable[Sequence[bytes]], from_us: int, to_us: int) -> SegmentArray:
    """The segments of these hours that touch [from_us, to_us), by start."""
    found = index.scored_segments(list(chain.from_iterable(hours)))
    found = found[(found["end_us"] > from_us) & (found["start_us"] < to_us)]
    return found.take(np.lexsort((found["first_seq"], found["start_us"])))


def log_us_of(found: bytes | None) -> int:
    """Of a partition; 0 while nothing is known."""
    return 0 if found is None else int(found)


def length_at(hours: Iterable[Sequence[bytes]], end_us: int) -> int:
    """Length of the longest segment of these hours that ends then, or goes on."""
    found = touching(hours, end_us - 1, end_us)
    return int((found["end_us"] - found["start_us"]).max(initial=0))


def fell(members: Iterable[bytes]) -> list[PartitionFell]:
    """Of a partition's events."""
    return [one for one in _events(members) if isinstance(one, PartitionFell)]


def records(members: Iterable[tuple[str, bytes]]) -> Iterable[tuple[str, Camera]]:
    """By id; one that cannot be read is left out and logged: it must not hide the others."""
    for camera_id, member in members:
        try:
            yield camera_id, camera(member)
        except wire.WireError as error:
            log.warning("indexed camera left out", camera_id=camera_id, why=str(error))


@remembered(1 << 16)
def camera(member: bytes) -> Camera:
    """A revision never changes, and each question reads them all."""
    return wire.parse(Camera, member)


@remembered(1 << 17)
def _event(member: bytes) -> Told | PartitionFell:
    """Nor does an event; a camera has thousands in a month."""
    event, appended_us = wire.parse_indexed(member)
    return event if isinstance(event, PartitionFell) else Told(event, appended_us)


def _events(members: Iterable[bytes]) -> Iterable[Told | PartitionFell]:
    for member in members:
        try:
            yield _event(member)
        except wire.WireError as error:
            log.warning("indexed event left out", why=str(error))


def told(members: Iterable[bytes]) -> list[Told]:
    """Of a camera's events; one that cannot be read is left out and logged."""
    return [one for one in _events(members) if isinstance(one, Told)]


def parse_meta(fields: dict[bytes, bytes]) -> Meta | None:
    """`dc1:meta` as a value; None for an absent or unfinished one."""
    text = {name.decode(): value.decode() for name, value in fields.items()}
    if not {"site", "schema", "partitions", "state"} <= text.keys():
        return None
    return Meta(
        site=text["site"],
        schema=text["schema"],
        partitions=int(text["partitions"]),
        state="ready" if text["state"] == "ready" else "rebuilding",
        build=text.get("build", ""),
        progress=json.loads(text.get("progress", "{}")),
    )
