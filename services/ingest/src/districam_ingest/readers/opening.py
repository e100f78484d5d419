"""The native reader's way to a session that plays: connections, redirects, UDP ports."""

import asyncio
import secrets
from collections.abc import Collection

from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credential
from districam_ingest.readers.connection import Connection
from districam_ingest.readers.datagrams import Datagrams
from districam_ingest.readers.reading import ReadError
from districam_ingest.rtsp.client import Client, may_be_told
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.pace import STEP_MOST, Pace
from districam_ingest.rtsp.session import Session

REDIRECTS_MOST = 5
RECEIVED_AT_ONCE = 16
"""A conversation takes some six answers. What comes in more pieces is waited for between them."""
PAUSE_S = 0.05


class Opening:
    """Opens one; `close` undoes it.

    Attributes:
        datagrams: of a session over UDP.
        pace: at which the camera is read.
        knows_digest: whether the camera has asked for Digest, now or before.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        credential: Credential | None,
        hears: Collection[str],
        *,
        knows_digest: bool = False,
    ) -> None:
        self.knows_digest = knows_digest
        self.connection = connection
        self.datagrams: Datagrams | None = None
        self._clock, self._credential, self._hears = clock, credential, hears
        self.pace = Pace(clock.monotonic_us())
        self._received = 0

    def close(self) -> None:
        self.connection.close()
        if self.datagrams is not None:
            self.datagrams.close()
            self.datagrams = None

    async def session(self, url: str, *, over_udp: bool) -> Session:
        """Plays, wherever the camera sends us. A foreign host is told no password, and none goes where TLS ends.

        Raises:
            ReadError: the credential is not for the host that answers.
        """
        target = url
        for _ in range(REDIRECTS_MOST):
            self.close()
            credential = self._credential if may_be_told(target, url) else None
            session = await self._conversation(target, credential, over_udp=over_udp)
            if session.client.redirect is None:
                return session
            target = session.client.redirect
        raise RtspError("redirects without end")

    async def _conversation(self, url: str, credential: Credential | None, *, over_udp: bool) -> Session:
        if over_udp and url.lower().startswith("rtsps:"):
            raise ReadError(
                "stream_error", "UDP would carry in clear what rtsps keeps secret: use TCP or rtsp"
            )
        await self.connection.connect(url)
        if credential is not None and not credential.is_for(self.connection.ends[1]):
            raise ReadError("auth_failed", f"the credential's hosts do not include {self.connection.ends[1]}")
        client = Client(
            url,
            credential,
            cnonce=_random_text,
            knows_digest=self.knows_digest,
            hears=self._hears,
            open_ports=None if url.lower().startswith("rtsps:") else self._open_pair,
            over_udp=over_udp,
        )
        session = Session(client, our_ssrc=secrets.randbits(32))
        try:
            await self._converse(session)
        finally:
            self.knows_digest = client.knows_digest
        return session

    def _open_pair(self) -> tuple[int, int]:
        if self.datagrams is None:
            self.datagrams = Datagrams(*self.connection.ends)
        return self.datagrams.open_pair()

    async def _converse(self, session: Session) -> None:
        client, connection = session.client, self.connection
        while not client.is_playing and client.redirect is None:
            if self.datagrams is not None:
                self.datagrams.agree(client.carried)
            await connection.send(spoken(client))
            before = session.spent
            if session.is_behind:
                session.go_on(STEP_MOST)
            else:
                session.feed(await connection.receive(), self._clock.monotonic_us(), STEP_MOST)
                self._received += 1
            await self._rest(session.spent - before)

    async def _rest(self, units: int) -> None:
        """After what cost so much: crumbs gather in the socket meanwhile, so that each does not wake us up."""
        now_us = self._clock.monotonic_us()
        self.pace.charge(units, now_us)
        due_s = (self.pace.ready_us - now_us) / 1e6
        if self._received > RECEIVED_AT_ONCE:
            due_s = max(due_s, PAUSE_S)
        if due_s > 0:
            await asyncio.sleep(due_s)


def spoken(client: Client) -> bytes:
    """What the client has to say; it is said once."""
    said = bytes(client.out)
    client.out.clear()
    return said


def _random_text() -> str:
    return secrets.token_hex(8)
