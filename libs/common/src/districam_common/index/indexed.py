"""Revisions of cameras' records as they stand in the index."""

import json

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.remembered import remembered


def indexed_camera(camera: Camera, appended_us: int) -> bytes:
    """The record's JSON, and when the log took it behind."""
    return wire.json_bytes(camera)[:-1] + wire.behind(appended_us)


def parse_indexed_camera(data: bytes) -> tuple[Camera, int | None]:
    """The inverse of `indexed_camera`; None of what was indexed without.

    Raises:
        WireError: not one.
    """
    return wire.parse(Camera, data), appended_us_of(data)


@remembered(1 << 16)
def appended_us_of(data: bytes) -> int | None:
    """When the log took what stands in the index like this, which is JSON.

    Raises:
        WireError: it says so in a way that cannot be read.
    """
    return wire.instant_or_none(json.loads(data).get("appended_us"))
