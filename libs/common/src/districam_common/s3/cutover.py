"""The time since which `FootageExpired` counts on `districam.retention.v1` only; in the bucket, for rebuilds of the index."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from districam_common.contract import wire
from districam_common.contract.fields import Instant
from districam_common.contract.names import CUTOVER, DAY_US
from districam_common.errors import Rejected, Retriable
from districam_common.s3.blobs import Blobs, ObjectExists, ObjectNotFound

GRACE_US = DAY_US
"""Time for a rolling upgrade of a site's indexers, during which events of earlier versions on `streams` still count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutover:
    """`_districam/retention.json`, written once.

    Attributes:
        streams_until_us: `FootageExpired` on `districam.streams.v1` counts up to this append time, µs UTC.
    """

    schema: Literal[1] = 1
    streams_until_us: Instant


async def read(blobs: Blobs) -> Cutover | None:
    """The cutover in the bucket; None if there is none yet.

    Raises:
        Retriable: the store is unavailable, or the object is malformed.
    """
    try:
        return wire.decode_json(Cutover, await blobs.get(CUTOVER))
    except ObjectNotFound:
        return None
    except Rejected as error:
        raise Retriable(f"{CUTOVER} is malformed: {error}") from error


async def ensure(blobs: Blobs, streams_until_us: int) -> Cutover:
    """Writes the cutover unless it exists, and returns the one in the bucket.

    Raises:
        Retriable: the store is unavailable, or the object is malformed.
    """
    with suppress(ObjectExists):
        await blobs.put_json(CUTOVER, wire.encode_json(Cutover(streams_until_us=streams_until_us)), once=True)
    found = await read(blobs)
    if found is None:
        raise Retriable(f"{CUTOVER} was written but does not exist")
    return found
