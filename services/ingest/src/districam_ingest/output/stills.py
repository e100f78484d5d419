"""Keyframes as small JPEGs, made in child processes that may fall behind and skip, never hold up a fragment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from districam_common.contract.media import Still
from districam_common.pictures.children import ChildFailedError, Children
from districam_ingest import metrics
from districam_ingest.codec.nal import Codec

log = structlog.get_logger()

WAITING_MOST = 8
DECODE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A keyframe to be made a still.

    Attributes:
        config: the decoder configuration, an avcC or hvcC record (ISO/IEC 14496-15).
        data: the access unit, each NAL unit behind its length in four bytes.
    """

    camera_id: str
    epoch: str
    seq: int
    at_us: int
    codec: Codec
    config: bytes
    data: bytes


class Stills:
    """Has stills of `width` made by `children` and hands them to `publish`."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        children: Children,
        publish: Callable[[Still], Awaitable[None]],
        *,
        width: int,
    ) -> None:
        self._tasks, self._children, self._publish, self._width = tasks, children, publish, width
        self._waiting = 0

    def offer(self, wanted: Wanted) -> None:
        """Takes the keyframe, or skips it and counts when the children are behind."""
        if self._waiting >= WAITING_MOST:
            metrics.STILLS_SKIPPED.inc()
            return
        self._waiting += 1
        self._tasks.create_task(self._make(wanted), name=f"still {wanted.camera_id}")

    async def _make(self, wanted: Wanted) -> None:
        try:
            still = await still_of(wanted, self._children, self._width)
            if still is None:
                metrics.STILLS_SKIPPED.inc()
            else:
                await self._publish(still)
        finally:
            self._waiting -= 1


async def still_of(wanted: Wanted, children: Children, width: int) -> Still | None:
    """The picture scaled to `width`; None if it can't be decoded alone."""
    asked = {"do": "still", "codec": wanted.codec, "width": width, "config": len(wanted.config)}
    try:
        found, jpeg = await children.ask(asked, wanted.config, wanted.data, timeout_s=DECODE_S)
    except ChildFailedError as error:
        log.warning("still not made", camera=wanted.camera_id, why=str(error))
        return None
    if "why" in found:
        log.debug("still not decodable", camera=wanted.camera_id, why=found["why"])
        return None
    return Still(
        camera_id=wanted.camera_id,
        epoch=wanted.epoch,
        seq=wanted.seq,
        at_us=wanted.at_us,
        width=found["width"],
        height=found["height"],
        jpeg=jpeg,
    )
