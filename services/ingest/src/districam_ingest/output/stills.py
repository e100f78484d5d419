"""Decodes keyframes to small JPEGs in child processes. If these are behind, stills are skipped; fragments never wait."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from districam_common.contract.media import Still
from districam_common.pictures.decoder_pool import DecoderFailedError, DecoderPool
from districam_ingest import metrics
from districam_ingest.codec.nal import Codec

log = structlog.get_logger()

MAX_PENDING_STILLS = 8
DECODE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRequest:
    """A keyframe to decode into a still.

    Attributes:
        config: the decoder configuration, an avcC or hvcC record (ISO/IEC 14496-15).
        data: the access unit; each NAL unit has a four-byte length prefix.
    """

    camera_id: str
    epoch: str
    seq: int
    at_us: int
    codec: Codec
    config: bytes
    data: bytes


class StillMaker:
    """Makes stills `width` pixels wide with `decoder_pool` and passes them to `publish`."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        decoder_pool: DecoderPool,
        publish: Callable[[Still], Awaitable[None]],
        *,
        width: int,
    ) -> None:
        self._tasks, self._decoder_pool, self._publish, self._width = tasks, decoder_pool, publish, width
        self._pending_count = 0

    def submit(self, request: StillRequest) -> None:
        """Queues the keyframe; skips and counts it if `MAX_PENDING_STILLS` are pending."""
        if self._pending_count >= MAX_PENDING_STILLS:
            metrics.STILLS_SKIPPED.inc()
            return
        self._pending_count += 1
        self._tasks.create_task(self._make_and_publish(request), name=f"still {request.camera_id}")

    async def _make_and_publish(self, request: StillRequest) -> None:
        try:
            still = await make_still(request, self._decoder_pool, self._width)
            if still is None:
                metrics.STILLS_SKIPPED.inc()
            else:
                await self._publish(still)
        finally:
            self._pending_count -= 1


async def make_still(request: StillRequest, decoder_pool: DecoderPool, width: int) -> Still | None:
    """Returns the keyframe scaled to `width` pixels; None if decoding failed."""
    command = {"do": "still", "codec": request.codec, "width": width, "config": len(request.config)}
    try:
        reply, jpeg = await decoder_pool.request(command, request.config, request.data, timeout_s=DECODE_TIMEOUT_S)
    except DecoderFailedError as error:
        log.warning("still not made", camera_id=request.camera_id, why=str(error))
        return None
    if "why" in reply:
        log.debug("still not decodable", camera_id=request.camera_id, why=reply["why"])
        return None
    return Still(
        camera_id=request.camera_id,
        epoch=request.epoch,
        seq=request.seq,
        at_us=request.at_us,
        width=reply["width"],
        height=reply["height"],
        jpeg=jpeg,
    )
