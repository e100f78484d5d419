"""The native reader: opens RTSP streams with our own client (`NativeSource` reads them)."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from districam_common.contract.events import Cause
from districam_common.runtime.clock import Clock
from districam_common.runtime.credentials import Credential
from districam_ingest.codec.audio_codecs import STORED
from districam_ingest.readers.connection import Connection
from districam_ingest.readers.dialer import Dialer
from districam_ingest.readers.native_source import MAX_RECEIVE_BYTES, NAME, NativeSource
from districam_ingest.readers.reader import ReadError
from districam_ingest.readers.ticker import Ticker
from districam_ingest.rtsp.message import BadStatusError, RtspError, TransportRefusedError, UnsupportedError
from districam_ingest.rtsp.session import Session

_CAUSES: dict[int, Cause] = {
    401: "auth_failed",
    403: "auth_failed",
    404: "not_found",
    454: "not_found",
    461: "stream_error",
}


class UnsupportedStreamError(ReadError):
    """The stream needs a feature that this reader lacks; another reader may open it."""


class NativeReader:
    """Opens RTSP streams with our own client: H.264 or H.265, with AAC or G.711 audio.

    Over TCP; over UDP if that is asked for, or if the camera refuses TCP.

    Args:
        open_s, read_s: timeouts of opening and of silence; the caller sets deadlines besides.
        tls_context: verifies certificates of `rtsps`; None: they are not verified.
        audio_codecs: audio codecs that are delivered if audio is wanted, by the names in `sdp.AudioMedia`.
    """

    name = NAME

    def __init__(
        self,
        clock: Clock,
        *,
        open_s: float,
        read_s: float,
        tls_context: ssl.SSLContext | None = None,
        audio_codecs: Collection[str] = STORED,
    ) -> None:
        self._tls_context, self._audio_codecs = tls_context, audio_codecs
        self._digest_urls = set[str]()  # URLs of camera records, so bounded by their number
        self._clock, self._open_s, self._read_us = clock, open_s, round(read_s * 1e6)
        self._ticker = Ticker(clock)
        self._buffer = memoryview(bytearray(MAX_RECEIVE_BYTES))  # shared: each stream copies from it at once

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[NativeSource]:
        """See `Reader`.

        Raises:
            UnsupportedStreamError: the stream needs a feature that this reader lacks.
        """
        audio_codecs = self._audio_codecs if with_audio else frozenset[str]()
        dialer = Dialer(
            Connection(self._tls_context), self._clock, credential, audio_codecs, needs_digest=url in self._digest_urls
        )
        try:
            try:
                session = await self._open_session(dialer, url, over_udp=transport == "udp")
            finally:
                if dialer.needs_digest:
                    self._digest_urls.add(url)
            connection, udp_sockets = dialer.connection, dialer.udp_sockets
            source = NativeSource(
                session,
                connection,
                udp_sockets,
                self._clock,
                ticker=self._ticker,
                buffer=self._buffer,
                read_us=self._read_us,
                rate_limiter=dialer.rate_limiter,
            )
            try:
                yield source
            finally:
                source.close()
        finally:
            dialer.close()

    async def _open_session(self, dialer: Dialer, url: str, *, over_udp: bool) -> Session:
        connection = dialer.connection
        try:
            async with asyncio.timeout(self._open_s):
                try:
                    return await dialer.open_session(url, over_udp=over_udp)
                except TransportRefusedError:
                    return await dialer.open_session(url, over_udp=True)
        except TimeoutError:
            if connection.is_connected:
                detail = "the camera accepts connections but does not answer RTSP requests"
                raise ReadError("source_silent", detail) from None
            raise ReadError("camera_unreachable", "no TCP connection within the timeout") from None
        except OSError as error:
            raise ReadError("camera_unreachable", error.strerror or type(error).__name__) from None
        except BadStatusError as error:
            raise ReadError(_CAUSES.get(error.status, "camera_unreachable"), str(error)) from None
        except UnsupportedError as error:
            raise UnsupportedStreamError("stream_error", str(error)) from None
        except RtspError as error:
            raise ReadError("stream_error", str(error)) from None
