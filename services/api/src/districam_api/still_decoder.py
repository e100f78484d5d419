"""Decodes stored pictures to JPEG in child processes, so that a bad picture cannot block or crash the service."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from districam_common.errors import Rejected, Retriable
from districam_common.pictures.decoder_pool import DecoderExitedError, DecoderPool, DecoderTimeoutError

MAX_DECODER_PROCESSES = 2
MAX_PENDING = 16
DECODE_TIMEOUT_S = 15.0


class NotDecodable(Rejected):
    """No picture can be decoded from what is stored."""


class StillDecoder:
    """Decodes MAX_DECODER_PROCESSES pictures at once, with at most MAX_PENDING requests."""

    def __init__(self, pool: DecoderPool) -> None:
        self._pool = pool
        self._pending = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["StillDecoder"]:
        async with DecoderPool.open(MAX_DECODER_PROCESSES) as children:
            yield cls(children)

    async def decode_at(self, video: bytes, at_us: int) -> tuple[bytes, int]:
        """The picture that `video`, an MP4 that starts with a keyframe, shows at `at_us` of its own time.

        Returns the JPEG, and the time in `video` from which it is shown; the first picture if all are later.

        Raises:
            NotDecodable: there is none, or decoding it takes more memory than allowed.
            Retriable: too many requests are pending, or it takes too long.
        """
        if self._pending >= MAX_PENDING:
            raise Retriable(f"{MAX_PENDING} pictures are already being decoded")
        self._pending += 1
        try:
            head, jpeg = await self._pool.request({"do": "picture", "at_us": at_us}, video, timeout_s=DECODE_TIMEOUT_S)
        except DecoderTimeoutError as error:
            raise Retriable(f"the picture was not decoded within {DECODE_TIMEOUT_S:.0f} s") from error
        except DecoderExitedError as error:
            raise NotDecodable(f"the stored picture cannot be decoded: {error}") from error
        finally:
            self._pending -= 1
        if "why" in head:
            raise NotDecodable(f"the stored picture cannot be decoded: {head['why']}")
        return jpeg, head["since_us"]
