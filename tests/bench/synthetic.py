"""A synthetic index of a district, written at Valkey's speed: whole hours as raw commands, built with numpy.

Cameras record 10 s segments; an epoch lasts some hours, followed by a gap of a few seconds with its events.
"""

import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, Connected, Lost
from districam_common.contract.segment_array import MEMBER_DTYPE

S = 1_000_000
SEGMENT_US = 10 * S
HOUR_SEGMENTS = 360
_GAP_US = 4 * S
_ROW = np.dtype([("a", "S5"), ("score", "u1", 16), ("b", "S7"), ("member", MEMBER_DTYPE), ("c", "S2")])
_TENS = 10 ** np.arange(15, -1, -1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class IndexShape:
    """Size of the index."""

    cameras: int
    first_us: int
    hours: int

    @property
    def camera_ids(self) -> list[str]:
        return [f"cam-{n:03}" for n in range(self.cameras)]

    @property
    def end_us(self) -> int:
        return self.first_us + self.hours * names.HOUR_US


def commands(shape: IndexShape) -> Iterator[tuple[bytes, int]]:
    """Yields (commands, number of replies)."""
    yield _meta(shape)
    for number, camera_id in enumerate(shape.camera_ids):
        yield _camera(camera_id, shape)
        for day in range(-(-shape.hours // 24)):
            hours = range(day * 24, min(shape.hours, day * 24 + 24))
            yield _day(camera_id, number, shape.first_us, hours)


def send(port: int, stream: Iterator[tuple[bytes, int]]) -> None:
    """Sends everything; raises on an error reply."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        wrong: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(connection, wrong))
        reader.start()
        for some, _ in stream:
            connection.sendall(some)
        connection.sendall(command(b"PING"))
        connection.shutdown(socket.SHUT_WR)
        reader.join(120)
    assert wrong == [], wrong


def _drain(connection: socket.socket, wrong: list[bytes]) -> None:
    while some := connection.recv(1 << 20):
        wrong += [line for line in some.split(b"\r\n") if line.startswith(b"-")][:1]


def command(*parts: bytes) -> bytes:
    """Encodes one command (RESP2)."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _meta(shape: IndexShape) -> tuple[bytes, int]:
    fields = [b"site", b"local", b"schema", b"1", b"partitions", b"60", b"state", b"ready", b"build", b"bench"]
    logged = [part for p in range(60) for part in (b"%d" % p, b"%d" % (shape.end_us + 200 * S))]
    ids = [one.encode() for one in shape.camera_ids]
    latest = [part for one in ids for part in (b"%d" % shape.end_us, one)]
    return (
        command(b"HSET", names.META.encode(), *fields)
        + command(b"HSET", names.WATERMARKS.encode(), *logged)
        + command(b"SADD", names.CAMERA_IDS.encode(), *ids)
        + command(b"ZADD", names.LATEST.encode(), *latest),
        4,
    )


def _camera(camera_id: str, shape: IndexShape) -> tuple[bytes, int]:
    record = Camera(
        camera_id=camera_id, name=camera_id, url="rtsp://10.0.0.1/1", updated_us=shape.first_us - names.HOUR_US
    )
    key = names.camera_key(camera_id).encode()
    return command(b"ZADD", key, b"%d" % record.updated_us, wire.encode_json(record)), 1


def _day(camera_id: str, number: int, first_us: int, hours: range) -> tuple[bytes, int]:
    """One camera's day, with a new epoch every 6 to 9 hours."""
    every = 6 + number % 4
    out, start_us = list[bytes](), first_us + hours[0] * names.HOUR_US
    starts = [np.empty(0, dtype=np.int64)]
    shapes: dict[bytes, bytes] = {}
    for hour in hours:
        epoch = uuid.UUID(int=(number << 64) + hour // every + (0x7000 << 64))
        is_new = hour % every == 0
        at_us = first_us + hour * names.HOUR_US + np.arange(HOUR_SEGMENTS, dtype=np.int64) * SEGMENT_US
        at_us = at_us[1:] if is_new else at_us
        out.append(_hour(camera_id, epoch, at_us, hour % every * HOUR_SEGMENTS * 5))
        starts.append(at_us)
        shapes[str(epoch).encode()] = b'{"codecs":"avc1.640028","width":1920,"height":1080}'
        if is_new:
            out += _change(camera_id, epoch, int(at_us[0]))
    bits = np.zeros(names.DAY_US // names.SLOT_US, dtype=np.uint8)
    bits[(np.concatenate(starts) - start_us // names.DAY_US * names.DAY_US) // names.SLOT_US % len(bits)] = 1
    day_us = start_us
    out.append(command(b"SET", names.day_key(camera_id, day_us).encode(), np.packbits(bits).tobytes()))
    fields = [part for pair in shapes.items() for part in pair]
    out.append(command(b"HSET", names.epochs_key(camera_id, day_us).encode(), *fields))
    return b"".join(out), len(out)


def _hour(camera_id: str, epoch: uuid.UUID, at_us: np.ndarray, first_seq: int) -> bytes:
    rows = np.zeros(len(at_us), dtype=_ROW)
    rows["a"], rows["b"], rows["c"] = b"$16\r\n", b"\r\n$35\r\n", b"\r\n"
    rows["score"] = at_us[:, None] // _TENS % 10 + 48
    member = rows["member"]
    member["first_seq"] = first_seq + np.arange(len(at_us)) * 5
    member["last_seq"] = member["first_seq"] + 4
    member["duration_us"], member["init_bytes"], member["flags"] = SEGMENT_US, 900, 1
    member["bytes"] = 2_400_000 + member["first_seq"] % 199_933
    raw = rows.view(np.uint8).reshape(len(rows), _ROW.itemsize)
    raw[:, 28:44] = np.frombuffer(epoch.bytes, dtype=np.uint8)
    key = names.segments_key(camera_id, int(at_us[0])).encode()
    head = b"*%d\r\n$4\r\nZADD\r\n$%d\r\n%s\r\n" % (2 + 2 * len(rows), len(key), key)
    return head + raw.tobytes()


def _change(camera_id: str, epoch: uuid.UUID, at_us: int) -> list[bytes]:
    """The previous epoch is lost ten seconds before `at_us`, and this one connects."""
    before = Lost(
        camera_id=camera_id, at_us=at_us - SEGMENT_US + _GAP_US, instance="bench", epoch=str(uuid.UUID(int=epoch.int - 1)),
        last_seq=0, end_us=at_us - SEGMENT_US, cause="camera_unreachable", detail="", next_retry_s=0.5,
    )  # fmt: skip
    after = Connected(
        camera_id=camera_id, at_us=at_us, instance="bench", epoch=str(epoch), reader="native", transport="tcp",
        codecs="avc1.640028", width=1920, height=1080,
    )  # fmt: skip
    key = names.events_key(camera_id).encode()
    return [
        command(b"ZADD", key, b"%d" % event.at_us, wire.encode_indexed_event(event, event.at_us))
        for event in (before, after)
    ]
