"""An open stream of the native reader: RTSP by our own client, its socket drained on a tick.

Waking up for each packet is what reading a camera costs. A recorder can afford to look three times a second: one `recv` a
tick takes all that came, whatever the camera's pacing. Ticks of several cameras are one wake-up where they can be: see
`Ticker`.

A picture counts as arrived when its first bytes were read. So it may count as up to a tick late, never early, which is
how the network delays pictures too: whoever wants to know when one really came looks for the least delayed. To let that
one show, ticks are short until a second after the keyframe with which an epoch begins, where its time is anchored, and
later of random length: else a camera whose rate beats with the tick would always be seen equally late.
"""

import random
from contextlib import suppress
from typing import Final

from districam_common.contract.events import Cause
from districam_common.runtime.clock import Clock
from districam_ingest.codec.nal import is_keyframe
from districam_ingest.readers.connection import Connection
from districam_ingest.readers.datagrams import Datagrams
from districam_ingest.readers.opening import spoken
from districam_ingest.readers.reading import ReadError, SourceInfo
from districam_ingest.readers.ticker import Ticker
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.pace import STEP_MOST, Pace
from districam_ingest.rtsp.session import Session
from districam_ingest.units import Picture, Sound

NAME: Final = "native"
TICK_LEAST_US: Final = 250_000
TICK_MOST_US: Final = 400_000
QUICK_TICK_US: Final = 20_000
SLACK_US: Final = 50_000
"""So much longer, ticks wait for those of other cameras; not while they are short."""
QUICK_US: Final = 1_200_000
QUICK_MOST_US: Final = 10_000_000
"""Ticks are short so long after an epoch's first keyframe, however late it comes; so long at most while none does."""
RECEIVED_MOST: Final = 1 << 20
MUCH: Final = RECEIVED_MOST // 2
"""After so much the next tick is a short one: what waits in the socket keeps the camera waiting."""
LAST_TICKS_MOST: Final = 8
LAST_US_MOST: Final = 100_000
"""Before a stream is left: 8 MiB are more than a socket of Linux keeps."""
PUNCH_US: Final = 5_000_000
TOO_FAST: Final = "for a minute it has sent more packets, units or pictures than is read of one camera"


class NativeSource:
    """One open stream. Whoever reads it drains it: without a reader nothing gathers here, and TCP holds the camera back."""

    def __init__(
        self,
        session: Session,
        connection: Connection,
        datagrams: Datagrams | None,
        clock: Clock,
        *,
        ticker: Ticker,
        buffer: memoryview,
        read_us: int,
        pace: Pace,
    ) -> None:
        self.info = _info_of(session.client, "tcp" if datagrams is None else "udp")
        self._session, self._connection, self._clock = session, connection, clock
        self._datagrams, self._punched_us = datagrams, clock.monotonic_us()
        self._buffer, self._read_us = buffer, read_us
        self._ticker, self._random = ticker, random.Random()  # noqa: S311  # no secret: it shall not beat with the camera
        self._ticked_us = self._heard_us = clock.monotonic_us()
        self._quick_until_us, self._awaits_keyframe = 0, False
        self._got_much = False
        self._pace, self._spent = pace, session.spent
        self.look_closely()
        self._waiting = session.take()
        self._over: ReadError | None = None

    async def read(self) -> list[Picture]:
        """All pictures that wait; at least one."""
        while not self._waiting:
            if self._over is not None:
                raise self._over
            await self._ticker.until(*self._next_tick())
            self._tick(self._clock.monotonic_us())
        pictures, self._waiting = self._waiting, []
        if self._awaits_keyframe:
            self._look_for_keyframe(pictures)
        return pictures

    def rest(self) -> list[Picture]:
        """As `Source` says."""
        pictures, self._waiting = self._waiting, list[Picture]()
        now_us = self._clock.monotonic_us()
        until_us, self._got_much = now_us + LAST_US_MOST, True
        for _ in range(LAST_TICKS_MOST):
            if self._over is not None or not self._got_much or now_us >= until_us:
                break
            self._tick(now_us)
            pictures += self._waiting
            self._waiting = list[Picture]()
            now_us = self._clock.monotonic_us()
        return pictures + self._session.rest()

    def take_sound(self) -> list[Sound]:
        """As `Source` says."""
        return self._session.take_sound()

    def look_closely(self) -> None:
        """As `Source` says: ticks are short again."""
        self._quick_until_us = self._ticked_us + QUICK_MOST_US
        self._awaits_keyframe = True

    def leave(self) -> None:
        """Says goodbye, if anybody listens."""
        client = self._session.client
        client.leave()
        with suppress(OSError):
            self._connection.post(spoken(client))

    def _next_tick(self) -> tuple[int, int]:
        """When it is due, and how much later it may be."""
        if self._got_much or self._ticked_us < self._quick_until_us:
            most_us, slack_us = QUICK_TICK_US, QUICK_TICK_US // 2
        else:
            more_us = int(self._random.random() * (TICK_MOST_US - TICK_LEAST_US))
            most_us, slack_us = TICK_LEAST_US + more_us, SLACK_US
        if self._datagrams is not None:
            most_us = min(most_us, self._datagrams.tick_us)
        return max(self._ticked_us + most_us - slack_us, self._pace.ready_us), slack_us

    def _tick(self, now_us: int) -> None:
        self._ticked_us = now_us
        session, client = self._session, self._session.client
        try:
            self._listen(now_us)
            if self._datagrams is not None:
                self._exchange(self._datagrams, now_us)
            session.keep_alive(now_us)
            if client.out:
                self._connection.post(spoken(client))
        except OSError as error:
            self._end("camera_unreachable", error.strerror or type(error).__name__)
            return
        except RtspError as error:
            self._end("stream_error", str(error))
            return
        self._waiting = session.take()
        self._pace.charge(session.spent - self._spent, now_us)
        self._spent = session.spent
        if session.is_over:
            self._end("camera_unreachable", "the camera ended the stream")
        elif self._pace.is_lost(now_us):
            self._end("stream_error", TOO_FAST)
        elif now_us - self._heard_us >= self._read_us:
            self._end("source_silent", "it says nothing any more")

    def _listen(self, now_us: int) -> None:
        """Takes what has come over the connection, or goes on with what came before, within one step of the pace."""
        session = self._session
        if session.is_behind:
            self._heard_us = now_us
            session.go_on(STEP_MOST)
            self._got_much = self._got_much or session.is_behind
            return
        data = self._connection.drain(RECEIVED_MOST)
        self._got_much = len(data) >= MUCH
        if data:
            self._heard_us = now_us
            session.feed(data, now_us, STEP_MOST)
            self._got_much = self._got_much or session.is_behind

    def _exchange(self, datagrams: Datagrams, now_us: int) -> None:
        session = self._session
        last = session.spent + STEP_MOST
        for track, is_control, packet in datagrams.drain(self._buffer):
            self._heard_us = now_us
            session.receive(packet, now_us, track=track, is_control=is_control)
            if session.spent >= last:
                self._got_much = True
                break
        for track, report in session.reports:
            datagrams.report(track, report)
        session.reports.clear()
        if now_us - self._punched_us >= PUNCH_US:
            self._punched_us = now_us
            datagrams.punch()

    def _end(self, cause: Cause, detail: str) -> None:
        if self._datagrams is not None:
            with suppress(RtspError):  # what came before the end may still be there
                self._exchange(self._datagrams, self._ticked_us)
        self._waiting += self._session.end()
        self._over = ReadError(cause, detail)

    def _look_for_keyframe(self, pictures: list[Picture]) -> None:
        for picture in pictures:
            if is_keyframe(self.info.codec, picture.nals):
                self._awaits_keyframe = False
                self._quick_until_us = picture.arrival_us + QUICK_US
                return


def _info_of(client: Client, transport: str) -> SourceInfo:
    video, audio = client.video, client.audio
    assert video is not None
    return SourceInfo(
        codec=video.codec,
        sets=video.sets,
        reader=NAME,
        server=client.server,
        transport=transport,
        auth=client.scheme,
        sound=audio.shape if audio is not None and client.hearing is not None else None,
        gives_g711=audio is not None and client.hearing is not None and audio.shape is None,
        sound_name=audio.name if audio is not None else None,
    )
