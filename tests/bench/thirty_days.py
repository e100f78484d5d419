"""A synthetic index of thirty days of very many cameras, at Valkey's speed: one segment for an hour's 360.

It has as many keys as a real index, and as many events per camera as `/v1/streams` reads; a set of an hour
has one member in place of 360.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.synthetic import command
from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, Connected, Location, Lost, Refused
from districam_common.contract.index_entry import IndexEntry

S = 1_000_000
HOUR_BYTES = 1_800_000_000
"""An hour at 4 Mbit/s."""
EVENTS = 64
PARTITIONS = 60
BUILD = "bench"
_CAMERA = "cam-00000"
"""Placeholder in the prebuilt commands, replaced by each camera's id of the same length."""


@dataclass(frozen=True, slots=True)
class Month:
    """`hours` of `cameras`, up to the last whole hour before `now_us`."""

    cameras: int
    hours: int
    now_us: int

    @property
    def camera_ids(self) -> list[str]:
        return [f"cam-{n:05}" for n in range(self.cameras)]

    @property
    def first_us(self) -> int:
        return self.end_us - self.hours * names.HOUR_US

    @property
    def end_us(self) -> int:
        return self.now_us // names.HOUR_US * names.HOUR_US

    @property
    def keys(self) -> int:
        """Number of keys: hours, days and shapes, events and record of each camera."""
        return self.cameras * (self.hours + 2 * len(self.days) + 2)

    @property
    def days(self) -> range:
        return range(self.first_us // names.DAY_US, (self.end_us - 1) // names.DAY_US + 1)


def record(camera_id: str, month: Month, retention_days: int = 30) -> Camera:
    """The camera's record, as on the topic and in the index."""
    return Camera(
        camera_id=camera_id, name=f"Ngã tư {camera_id}", url="rtsp://10.0.0.1/1", groups=("traffic",), segment_s=10,
        location=Location(latitude=11.7, longitude=108.3, place="Liên Nghĩa, Đức Trọng"), retention_days=retention_days,
        updated_us=month.first_us - names.HOUR_US,
    )  # fmt: skip


def commands(month: Month) -> Iterator[tuple[bytes, int]]:
    """Yields (commands, number of replies)."""
    found = [_global_commands(month), *_camera_commands(month)]
    yield found[0], 5
    one, placeholder = b"".join(found[1:]), _CAMERA.encode()
    for camera_id in month.camera_ids:
        yield one.replace(placeholder, camera_id.encode()), len(found) - 1


def _global_commands(month: Month) -> bytes:
    meta = {"site": "local", "schema": "1", "partitions": str(PARTITIONS), "state": "ready", "build": BUILD}
    logged = {str(p): str(month.now_us) for p in range(PARTITIONS)}
    ids = [one.encode() for one in month.camera_ids]
    latest = [part for one in ids for part in (b"%d" % month.end_us, one)]
    return b"".join((
        _fields(names.META, meta), _fields(names.WATERMARKS, logged), command(b"SADD", names.CAMERA_IDS.encode(), *ids),
        command(b"ZADD", names.LATEST.encode(), *latest), command(b"PING"),
    ))  # fmt: skip


def _fields(key: str, fields: dict[str, str]) -> bytes:
    return command(b"HSET", key.encode(), *[part.encode() for pair in fields.items() for part in pair])


def _camera_commands(month: Month) -> Iterator[bytes]:
    epoch = str(uuid.UUID(int=(0x7000 << 64) + 1))
    for n in range(month.hours):
        start_us = month.first_us + n * names.HOUR_US
        entry = IndexEntry(
            epoch=epoch, first_seq=1800 * n, last_seq=1800 * n + 1799, start_us=start_us, end_us=start_us + names.HOUR_US,
            bytes=HOUR_BYTES, init_bytes=900, flags=1,
        )  # fmt: skip
        yield command(
            b"ZADD",
            names.segments_key(_CAMERA, start_us).encode(),
            b"%d" % start_us,
            segment_array.encode_member(entry),
        )
    bits = np.packbits(np.ones(names.DAY_US // names.SLOT_US, dtype=np.uint8)).tobytes()
    for day in month.days:
        yield command(b"SET", names.day_key(_CAMERA, day * names.DAY_US).encode(), bits)
        key = names.epochs_key(_CAMERA, day * names.DAY_US)
        yield _fields(key, {epoch: '{"codecs":"avc1.640028","width":1920,"height":1080}'})
    key = names.camera_key(_CAMERA).encode()
    camera = record(_CAMERA, month)
    yield command(b"ZADD", key, b"%d" % camera.updated_us, wire.encode_json(camera))
    rows = [
        part for one in _events(month, epoch) for part in (b"%d" % one.at_us, wire.encode_indexed_event(one, one.at_us))
    ]
    yield command(b"ZADD", names.events_key(_CAMERA).encode(), *rows)


def _events(month: Month, epoch: str) -> Iterator[Connected | Lost | Refused]:
    """An epoch, preceded by a quarter of an hour with a refusal every 15 s."""
    last_us = month.first_us - 60 * S
    for n in range(EVENTS - 1):
        yield Refused(
            camera_id=_CAMERA, at_us=last_us - (EVENTS - n) * 15 * S, instance="ingest-1", cause="camera_unreachable",
            detail="connection refused", next_retry_s=15.0,
        )  # fmt: skip
    yield Connected(
        camera_id=_CAMERA, at_us=month.first_us, instance="ingest-1", epoch=epoch, reader="native", transport="tcp",
        codecs="avc1.640028", width=1920, height=1080,
    )  # fmt: skip
