"""Since when `expired` counts on `districam.retention.v1` alone. It stands in the bucket, where a rebuild from nothing finds it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from districam_common.contract import wire
from districam_common.contract.fields import Instant
from districam_common.contract.names import CUTOVER, DAY_US
from districam_common.errors import Rejected, Retriable
from districam_common.s3.blobs import Blobs, ObjectExists, ObjectNotFound

GRACE_US = DAY_US
"""A site's indexers are upgraded one after another: so long what an earlier version says on `streams` counts as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutover:
    """`_districam/retention.json`, written once.

    Attributes:
        streams_until_us: `expired` on `districam.streams.v1` counts up to this append time, µs UTC.
    """

    schema: Literal[1] = 1
    streams_until_us: Instant


async def read(blobs: Blobs) -> Cutover | None:
    """What stands in the bucket; None if nothing does yet.

    Raises:
        Retriable: the store is away, or what it gives cannot be read.
    """
    try:
        return wire.decode_json(Cutover, await blobs.get(CUTOVER))
    except ObjectNotFound:
        return None
    except Rejected as error:
        raise Retriable(f"{CUTOVER} cannot be read: {error}") from error


async def ensure(blobs: Blobs, streams_until_us: int) -> Cutover:
    """Writes it, and gives what stands in the bucket then: somebody else may have been quicker.

    Raises:
        Retriable: the store is away, or what it gives cannot be read.
    """
    with suppress(ObjectExists):
        await blobs.put_json(CUTOVER, wire.encode_json(Cutover(streams_until_us=streams_until_us)), once=True)
    found = await read(blobs)
    if found is None:
        raise Retriable(f"{CUTOVER} was written and is gone")
    return found
