"""Encodes and decodes revisions of cameras' records in the index."""

import json

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.random_cache import random_cache


def encode_indexed_camera(camera: Camera, appended_us: int) -> bytes:
    """The record's JSON, with its append time as last field."""
    return wire.encode_json(camera)[:-1] + wire.append_time_suffix(appended_us)


def decode_indexed_camera(data: bytes) -> tuple[Camera, int | None]:
    """The inverse of `encode_indexed_camera`; the append time is None if it was indexed without one.

    Raises:
        WireError: not a valid camera record.
    """
    return wire.decode_json(Camera, data), decode_append_time(data)


@random_cache(1 << 16)
def decode_append_time(data: bytes) -> int | None:
    """The append time of an indexed JSON object, µs UTC; None if it has none.

    Raises:
        WireError: the append time is not an integer.
    """
    return wire.optional_append_time(json.loads(data).get("appended_us"))
