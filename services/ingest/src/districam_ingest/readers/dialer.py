"""Opens the native reader's sessions: connection, RTSP handshake, redirects, UDP ports."""

import asyncio
import secrets
from collections.abc import Collection

from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credential
from districam_ingest.readers.connection import Connection
from districam_ingest.readers.reader import ReadError
from districam_ingest.readers.udp_sockets import UdpSockets
from districam_ingest.rtsp.client import Client, may_send_credential
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rate_limiter import MAX_STEP_UNITS, ReadRateLimiter
from districam_ingest.rtsp.session import Session

MAX_REDIRECTS = 5
MAX_UNPACED_RECEIVES = 16
"""A handshake takes about six receives. After this many each is delayed, so that tiny pieces do not cost
CPU."""
RECEIVE_PAUSE_S = 0.05


class Dialer:
    """Opens one session; `close` closes its sockets.

    Attributes:
        udp_sockets: sockets of a session over UDP; otherwise None.
        rate_limiter: limits how fast the camera is read.
        needs_digest: whether the camera has asked for Digest, now or before.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        credential: Credential | None,
        audio_codecs: Collection[str],
        *,
        needs_digest: bool = False,
    ) -> None:
        self.needs_digest = needs_digest
        self.connection = connection
        self.udp_sockets: UdpSockets | None = None
        self._clock, self._credential, self._audio_codecs = clock, credential, audio_codecs
        self.rate_limiter = ReadRateLimiter(clock.monotonic_us())
        self._received = 0

    def close(self) -> None:
        self.connection.close()
        if self.udp_sockets is not None:
            self.udp_sockets.close()
            self.udp_sockets = None

    async def open_session(self, url: str, *, over_udp: bool) -> Session:
        """Opens and plays the stream, following redirects.

        The credential is not sent to another host than the URL's, nor after a redirect from rtsps to rtsp.

        Raises:
            ReadError: the credential is not allowed for the host's address, or UDP is asked for with rtsps.
            RtspError, OSError: the session could not be opened.
        """
        target = url
        for _ in range(MAX_REDIRECTS):
            self.close()
            credential = self._credential if may_send_credential(target, url) else None
            session = await self._dial(target, credential, over_udp=over_udp)
            if session.client.redirect is None:
                return session
            target = session.client.redirect
        raise RtspError(f"more than {MAX_REDIRECTS} redirects")

    async def _dial(self, url: str, credential: Credential | None, *, over_udp: bool) -> Session:
        if over_udp and url.lower().startswith("rtsps:"):
            raise ReadError("stream_error", "rtsps over UDP would send media unencrypted: use transport tcp, or rtsp")
        await self.connection.connect(url)
        if credential is not None and not credential.may_be_sent_to(self.connection.endpoints[1]):
            raise ReadError("auth_failed", f"the credential's hosts do not include {self.connection.endpoints[1]}")
        client = Client(
            url,
            credential,
            cnonce=_random_cnonce,
            needs_digest=self.needs_digest,
            audio_codecs=self._audio_codecs,
            open_ports=None if url.lower().startswith("rtsps:") else self._open_pair,
            over_udp=over_udp,
        )
        session = Session(client, our_ssrc=secrets.randbits(32))
        try:
            await self._handshake(session)
        finally:
            self.needs_digest = client.needs_digest
        return session

    def _open_pair(self) -> tuple[int, int]:
        if self.udp_sockets is None:
            self.udp_sockets = UdpSockets(*self.connection.endpoints)
        return self.udp_sockets.open_pair()

    async def _handshake(self, session: Session) -> None:
        client, connection = session.client, self.connection
        while not client.is_playing and client.redirect is None:
            if self.udp_sockets is not None:
                self.udp_sockets.set_transports(client.transports)
            await connection.send(drain_send_buffer(client))
            before = session.cost
            if session.has_pending_input:
                session.resume(MAX_STEP_UNITS)
            else:
                session.feed(await connection.receive(), self._clock.monotonic_us(), MAX_STEP_UNITS)
                self._received += 1
            await self._throttle(session.cost - before)

    async def _throttle(self, units: int) -> None:
        """Sleeps as the rate limit demands, or between tiny receives, while data gather in the socket."""
        now_us = self._clock.monotonic_us()
        self.rate_limiter.charge(units, now_us)
        due_s = (self.rate_limiter.ready_us - now_us) / 1e6
        if self._received > MAX_UNPACED_RECEIVES:
            due_s = max(due_s, RECEIVE_PAUSE_S)
        if due_s > 0:
            await asyncio.sleep(due_s)


def drain_send_buffer(client: Client) -> bytes:
    """Removes and returns the bytes that the client has to send."""
    data = bytes(client.send_buffer)
    client.send_buffer.clear()
    return data


def _random_cnonce() -> str:
    return secrets.token_hex(8)
