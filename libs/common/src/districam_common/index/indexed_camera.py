"""Revisions of cameras' records as they stand in the index."""

import json

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.random_cache import random_cache


def encode_indexed_camera(camera: Camera, appended_us: int) -> bytes:
    """The record's JSON, and when the log took it behind."""
    return wire.encode_json(camera)[:-1] + wire.append_time_suffix(appended_us)


def decode_indexed_camera(data: bytes) -> tuple[Camera, int | None]:
    """The inverse of `indexed_camera`; None of what was indexed without.

    Raises:
        WireError: not one.
    """
    return wire.decode_json(Camera, data), decode_append_time(data)


@random_cache(1 << 16)
def decode_append_time(data: bytes) -> int | None:
    """When the log took what stands in the index like this, which is JSON.

    Raises:
        WireError: it says so in a way that cannot be read.
    """
    return wire.optional_append_time(json.loads(data).get("appended_us"))
