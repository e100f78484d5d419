"""One picture of stored footage as a JPEG, decoded in a few child processes: the loop never waits, and a bad picture ends none of ours."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from districam_common.errors import Rejected, Retriable
from districam_common.pictures.children import ChildDiedError, Children, ChildSlowError

CHILDREN = 2
WAITING_MOST = 16
DECODE_S = 15.0


class NotDecodable(Rejected):
    """No picture comes out of what is stored."""


class Decoders:
    """At most `CHILDREN` pictures at once, and a few waiting."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._waiting = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["Decoders"]:
        async with Children.open(CHILDREN) as children:
            yield cls(children)

    async def picture(self, video: bytes, at_us: int) -> tuple[bytes, int]:
        """The picture that `video`, an MP4 that starts with a keyframe, shows at `at_us` of it.

        Gives the JPEG, and the time in `video` since which it is shown; where all pictures are later, the first.

        Raises:
            NotDecodable: there is none, or decoding it takes more memory than a picture may. Retriable: too many are
                waiting, or it takes too long.
        """
        if self._waiting >= WAITING_MOST:
            raise Retriable(f"{WAITING_MOST} pictures are being decoded already")
        self._waiting += 1
        try:
            head, jpeg = await self._children.ask(
                {"do": "picture", "at_us": at_us}, video, timeout_s=DECODE_S
            )
        except ChildSlowError as error:
            raise Retriable(f"the picture was not decoded within {DECODE_S:.0f} s") from error
        except ChildDiedError as error:
            raise NotDecodable(f"what is stored cannot be decoded: {error}") from error
        finally:
            self._waiting -= 1
        if "why" in head:
            raise NotDecodable(f"what is stored cannot be decoded: {head['why']}")
        return jpeg, head["since_us"]
