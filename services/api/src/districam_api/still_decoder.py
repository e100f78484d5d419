"""One picture of stored footage as a JPEG, decoded in a few child processes: the loop never waits, and a bad picture ends none of ours."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from districam_common.errors import Rejected, Retriable
from districam_common.pictures.decoder_pool import DecoderExitedError, DecoderPool, DecoderTimeoutError

MAX_DECODER_PROCESSES = 2
MAX_PENDING = 16
DECODE_TIMEOUT_S = 15.0


class NotDecodable(Rejected):
    """No picture comes out of what is stored."""


class StillDecoder:
    """At most `CHILDREN` pictures at once, and a few waiting."""

    def __init__(self, pool: DecoderPool) -> None:
        self._pool = pool
        self._pending = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["StillDecoder"]:
        async with DecoderPool.open(MAX_DECODER_PROCESSES) as children:
            yield cls(children)

    async def decode_at(self, video: bytes, at_us: int) -> tuple[bytes, int]:
        """The picture that `video`, an MP4 that starts with a keyframe, shows at `at_us` of it.

        Gives the JPEG, and the time in `video` since which it is shown; where all pictures are later, the first.

        Raises:
            NotDecodable: there is none, or decoding it takes more memory than a picture may. Retriable: too many are
                waiting, or it takes too long.
        """
        if self._pending >= MAX_PENDING:
            raise Retriable(f"{MAX_PENDING} pictures are being decoded already")
        self._pending += 1
        try:
            head, jpeg = await self._pool.request({"do": "picture", "at_us": at_us}, video, timeout_s=DECODE_TIMEOUT_S)
        except DecoderTimeoutError as error:
            raise Retriable(f"the picture was not decoded within {DECODE_TIMEOUT_S:.0f} s") from error
        except DecoderExitedError as error:
            raise NotDecodable(f"what is stored cannot be decoded: {error}") from error
        finally:
            self._pending -= 1
        if "why" in head:
            raise NotDecodable(f"what is stored cannot be decoded: {head['why']}")
        return jpeg, head["since_us"]
