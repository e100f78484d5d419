"""The native reader: RTSP by our own client, its socket drained on a tick.

Waking up for each packet is what reading a camera costs. A recorder can afford to look ten times a second: one `recv` a
tick takes all that came, whatever the camera's pacing.

A picture counts as arrived when its first bytes were read. So it may count as up to a tick late, never early, which is
how the network delays pictures too: whoever wants to know when one really came looks for the least delayed. To let that
one show, ticks are short until a second after the keyframe with which an epoch begins, where its time is anchored, and
later of random length: else a camera whose rate beats with the tick would always be seen equally late.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from random import SystemRandom

from districam_common.clock import Clock
from districam_common.credentials import Credential
from districam_common.events import Cause
from districam_ingest.connection import Connection
from districam_ingest.core.nal import is_keyframe
from districam_ingest.core.units import Picture
from districam_ingest.reading import ReadError, SourceInfo
from districam_ingest.rtsp.client import Client, is_same_host
from districam_ingest.rtsp.message import RefusedError, RtspError
from districam_ingest.rtsp.session import Session

TICK_LEAST_US, TICK_MOST_US = 75_000, 125_000
QUICK_TICK_US = 20_000
QUICK_US, QUICK_MOST_US = 1_200_000, 10_000_000
"""Ticks are short so long after the first keyframe; and so long at most if none comes."""
RECEIVED_MOST = 1 << 20
REDIRECTS_MOST = 5
_CAUSES: dict[int, Cause] = {401: "auth_failed", 403: "auth_failed", 404: "not_found", 454: "not_found"}


class NotForThisReaderError(ReadError):
    """The stream could not be opened, and another reader may cope."""


class NativeReader:
    """Opens RTSP streams with our own client: over TCP, H.264 and H.265.

    Args:
        open_s, read_s: limits of opening, and of silence; the caller's deadlines stand outside.
    """

    name = "native"

    def __init__(self, clock: Clock, *, open_s: float, read_s: float) -> None:
        self._clock, self._open_s, self._read_us = clock, open_s, round(read_s * 1e6)
        self._buffer = memoryview(bytearray(RECEIVED_MOST))  # for all streams: each empties it at once

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str
    ) -> AsyncGenerator["NativeSource"]:
        """As `Reader` says.

        Raises:
            NotForThisReaderError: this reader can't, another may.
        """
        if transport != "tcp":
            raise NotForThisReaderError("stream_error", f"no transport over {transport}")
        connection = Connection()
        try:
            session = await self._opened(connection, url, credential)
            source = NativeSource(session, connection, self._clock, self._buffer, self._read_us)
            try:
                yield source
            finally:
                source.leave()
        finally:
            connection.close()

    async def _opened(self, connection: Connection, url: str, credential: Credential | None) -> Session:
        try:
            async with asyncio.timeout(self._open_s):
                return await self._session(connection, url, credential)
        except TimeoutError:
            if connection.is_connected:
                raise ReadError("source_silent", "it takes connections and says nothing") from None
            raise ReadError("camera_unreachable", "nobody answers") from None
        except OSError as error:
            raise ReadError("camera_unreachable", error.strerror or type(error).__name__) from None
        except RefusedError as error:
            raise ReadError(_CAUSES.get(error.status, "camera_unreachable"), str(error)) from None
        except RtspError as error:
            raise NotForThisReaderError("stream_error", str(error)) from None

    async def _session(self, connection: Connection, url: str, credential: Credential | None) -> Session:
        """Plays, wherever the camera sends us. A foreign host is not told the password in clear."""
        target = url
        for _ in range(REDIRECTS_MOST):
            client = Client(target, credential, cnonce=_random_text, says_password=is_same_host(target, url))
            session = Session(client, our_ssrc=secrets.randbits(32))
            await connection.connect(client.url)
            await self._converse(session, connection)
            if client.redirect is None:
                return session
            target = client.redirect
            connection.close()
        raise RtspError("redirects without end")

    async def _converse(self, session: Session, connection: Connection) -> None:
        client = session.client
        while not client.is_playing and client.redirect is None:
            await connection.send(_spoken(client))
            session.feed(await connection.receive(), self._clock.monotonic_us())


class NativeSource:
    """One open stream. Whoever reads it drains it: without a reader nothing gathers here, and TCP holds the camera back."""

    def __init__(
        self, session: Session, connection: Connection, clock: Clock, buffer: memoryview, read_us: int
    ) -> None:
        video = session.client.video
        assert video is not None
        self.info = SourceInfo(
            codec=video.codec, sets=video.sets, reader=NativeReader.name, server=session.client.server
        )
        self._session, self._connection, self._clock = session, connection, clock
        self._buffer, self._read_us = buffer, read_us
        self._random = SystemRandom()
        self._ticked_us = self._heard_us = clock.monotonic_us()
        self._quick_until_us, self._awaits_keyframe = 0, False
        self.look_closely()
        self._waiting = session.take()
        self._over: ReadError | None = None

    async def read(self) -> list[Picture]:
        """All pictures that wait; at least one."""
        while not self._waiting:
            if self._over is not None:
                raise self._over
            await asyncio.sleep(self._until_tick_s())
            self._tick(self._clock.monotonic_us())
        pictures, self._waiting = self._waiting, []
        if self._awaits_keyframe:
            self._look_for_keyframe(pictures)
        return pictures

    def look_closely(self) -> None:
        """As `Source` says: ticks are short again."""
        self._quick_until_us = self._ticked_us + QUICK_MOST_US
        self._awaits_keyframe = True

    def leave(self) -> None:
        """Says goodbye, if anybody listens."""
        client = self._session.client
        client.leave()
        with suppress(OSError):
            self._connection.post(_spoken(client))

    def _until_tick_s(self) -> float:
        if self._ticked_us < self._quick_until_us:
            tick_us = QUICK_TICK_US
        else:
            tick_us = self._random.randint(TICK_LEAST_US, TICK_MOST_US)
        return max(0, self._ticked_us + tick_us - self._clock.monotonic_us()) / 1e6

    def _tick(self, now_us: int) -> None:
        self._ticked_us = now_us
        session, client = self._session, self._session.client
        try:
            data = self._connection.drain(self._buffer)
            if data:
                self._heard_us = now_us
                session.feed(data, now_us)
            session.keep_alive(now_us)
            if client.out:
                self._connection.post(_spoken(client))
        except OSError as error:
            self._end("camera_unreachable", error.strerror or type(error).__name__)
            return
        except RtspError as error:
            self._end("stream_error", str(error))
            return
        self._waiting = session.take()
        if session.is_over:
            self._end("camera_unreachable", "the camera ended the stream")
        elif now_us - self._heard_us >= self._read_us:
            self._end("source_silent", "it says nothing any more")

    def _end(self, cause: Cause, detail: str) -> None:
        self._waiting += self._session.end()
        self._over = ReadError(cause, detail)

    def _look_for_keyframe(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            if is_keyframe(self.info.codec, picture.nals):
                self._awaits_keyframe = False
                self._quick_until_us = min(self._quick_until_us, picture.arrival_us + QUICK_US)
                return


def _spoken(client: Client) -> bytes:
    said = bytes(client.out)
    client.out.clear()
    return said


def _random_text() -> str:
    return secrets.token_hex(8)
