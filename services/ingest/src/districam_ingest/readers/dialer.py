"""The native reader's way to a session that plays: connections, redirects, UDP ports."""

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
"""A conversation takes some six answers. What comes in more pieces is waited for between them."""
RECEIVE_PAUSE_S = 0.05


class Dialer:
    """Opens one; `close` undoes it.

    Attributes:
        udp_sockets: of a session over UDP.
        rate_limiter: at which the camera is read.
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
        """Plays, wherever the camera sends us. A foreign host is told no password, and none goes where TLS ends.

        Raises:
            ReadError: the credential is not for the host that answers.
        """
        target = url
        for _ in range(MAX_REDIRECTS):
            self.close()
            credential = self._credential if may_send_credential(target, url) else None
            session = await self._dial(target, credential, over_udp=over_udp)
            if session.client.redirect is None:
                return session
            target = session.client.redirect
        raise RtspError("redirects without end")

    async def _dial(self, url: str, credential: Credential | None, *, over_udp: bool) -> Session:
        if over_udp and url.lower().startswith("rtsps:"):
            raise ReadError("stream_error", "UDP would carry in clear what rtsps keeps secret: use TCP or rtsp")
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
        """After what cost so much: crumbs gather in the socket meanwhile, so that each does not wake us up."""
        now_us = self._clock.monotonic_us()
        self.rate_limiter.charge(units, now_us)
        due_s = (self.rate_limiter.ready_us - now_us) / 1e6
        if self._received > MAX_UNPACED_RECEIVES:
            due_s = max(due_s, RECEIVE_PAUSE_S)
        if due_s > 0:
            await asyncio.sleep(due_s)


def drain_send_buffer(client: Client) -> bytes:
    """What the client has to say; it is said once."""
    data = bytes(client.send_buffer)
    client.send_buffer.clear()
    return data


def _random_cnonce() -> str:
    return secrets.token_hex(8)
