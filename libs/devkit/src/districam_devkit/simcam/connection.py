"""One client's RTSP connection: requests in, responses and interleaved media out."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import structlog

from districam_devkit.simcam import attacks, protocol, sdp
from districam_devkit.simcam.auth import Credentials, challenges, is_authorized
from districam_devkit.simcam.behavior import Quirk
from districam_devkit.simcam.camera import LiveCamera, VideoSession
from districam_devkit.simcam.microphone import AudioSession
from districam_devkit.simcam.protocol import ProtocolError, Request, RequestParser
from districam_devkit.simcam.udp_transport import UdpTransport

SESSION_TIMEOUT_S = 60
ADVERTISED_SHORT_TIMEOUT_S = 4
"""The timeout that `short-timeout` advertises; sessions still last SESSION_TIMEOUT_S."""
DRIP_INTERVAL_S = 0.05
EARLY_MEDIA_S = 0.3
"""With `early-media`, media starts this long before the response to PLAY."""
MAX_NONCE_USES = 2
"""With `short-nonce`, a nonce is valid for this many requests."""
REDIRECT_PATH = "moved"
_POLL_S = 0.01

log = structlog.get_logger("simcam")


class Connection(asyncio.Protocol):
    """Counts its bytes, so that the camera knows which access units have left (see MediaTransport)."""

    def __init__(self, number: int, cameras: Mapping[str, LiveCamera], credentials: Credentials | None) -> None:
        self.number = number
        self.written_bytes = 0
        self.is_closed = False
        self.closed = asyncio.Event()
        self.last_received_s = asyncio.get_running_loop().time()
        self._cameras = cameras
        self._credentials = credentials
        self._nonce, self._nonce_uses = secrets.token_hex(16), 0
        self._former_cseq = "0"
        self._reader = RequestParser()
        self._session_id = ""
        self._stale: tuple[LiveCamera, VideoSession] | None = None
        self._camera: LiveCamera | None = None
        self._video_session: VideoSession | None = None
        self._audio_session: AudioSession | None = None
        self.udp_transport: UdpTransport | None = None
        self._flushed_bytes = 0
        self._is_closing = False
        self._transport: asyncio.Transport | None = None
        self._methods: dict[str, Callable[[Request], bytes]] = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._parameter,
            "SET_PARAMETER": self._parameter,
            "TEARDOWN": self._teardown,
        }

    @property
    def camera_id(self) -> str | None:
        """The id of the camera that it has been set up for."""
        return self._camera.camera_id if self._camera else None

    @property
    def flushed_bytes(self) -> int:
        """Bytes that have left this process; once closed, the last known value (the transport's buffer is gone)."""
        if self._transport is not None and not self.is_closed:
            self._flushed_bytes = max(self._flushed_bytes, self.written_bytes - self._transport.get_write_buffer_size())
        return self._flushed_bytes

    def write(self, data: bytes) -> bool:
        if self._transport is None or self.is_closed or self._is_closing:
            return False
        self._transport.write(data)
        self.written_bytes += len(data)
        return True

    def abort(self) -> None:
        """Closes the connection; the client gets what has already left this process."""
        if self._transport is None or self.is_closed:
            return
        _ = self.flushed_bytes  # reads the buffer size for the last time
        self.is_closed = True
        self._transport.abort()
        self._leave()

    async def flush_and_close(self, timeout_s: float) -> None:
        """Flushes, half-closes and waits for the client to close; aborts after `timeout_s`.

        Closing at once could reset the connection and discard data that the client has not read yet.
        """
        if self._transport is None:  # TLS handshake failed: asyncio does not call the protocol
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not self.is_closed and self.flushed_bytes < self.written_bytes:  # noqa: ASYNC110  # transports have no event for this
                    await asyncio.sleep(_POLL_S)
                self._is_closing = True
                if not self.is_closed:
                    half = self._transport.can_write_eof()  # TLS cannot half-close
                    (self._transport.write_eof if half else self._transport.close)()
                await self.closed.wait()
        except TimeoutError:
            self.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = cast("socket.socket", transport.get_extra_info("socket"))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.last_received_s = asyncio.get_running_loop().time()
        try:
            for request in self._reader.feed(data):
                self._handle_request(request)
        except ProtocolError as error:
            log.info("invalid request", connection=self.number, error=str(error))
            self.write(protocol.response(400, "0"))
            self._close()

    def eof_received(self) -> bool:
        _ = self.flushed_bytes
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and not self.is_closed:  # closed in order, after the buffer was flushed
            self._flushed_bytes = self.written_bytes
        self.is_closed = True
        self.closed.set()
        self._leave()

    # --- RTSP

    def _handle_request(self, request: Request) -> None:
        cseq = request.headers.get("cseq")
        if cseq is None:
            self.write(protocol.response(400, "0"))
            return
        camera = self._cameras.get(request.camera_id, self._camera)
        refused = self._refusal(request)
        if refused is not None:
            self.write(self._refused(*refused, cseq, camera))
            self._former_cseq = cseq
            return
        self._former_cseq = cseq
        attack = camera.response_attack if camera is not None else None
        header = request.headers.get("authorization", "")
        attack_response = attacks.attack_response(attack, request.method, cseq, authorization=header)
        response = self._methods[request.method](request) if attack_response is None else attack_response
        is_early = request.method == "PLAY" and "early-media" in _quirks(camera)
        if is_early or self._starts_stale_session(request, camera):
            asyncio.get_running_loop().call_later(EARLY_MEDIA_S, self.write, response)
            return
        self._send_response(attacks.with_long_banner(response) if attack == "banner" else response, camera)
        if attacks.is_endless(attack, request.method):
            self._go_on_for_ever()
        if request.method == "TEARDOWN":
            self._close()

    def _starts_stale_session(self, request: Request, camera: LiveCamera | None) -> bool:
        """Whether with this request an old client's session resumes over this connection (quirk `stale-session`)."""
        has_one = "stale-session" in _quirks(camera) and self._stale is None
        if camera is None or not has_one or request.method != "DESCRIBE":
            return False
        self._stale = camera, VideoSession(self, 0, 1)
        camera.join(self._stale[1])
        return True

    def _send_response(self, data: bytes, camera: LiveCamera | None) -> None:
        if camera is None or not camera.has_fault("drip"):
            self.write(data)
            return
        loop = asyncio.get_running_loop()
        for index in range(len(data)):
            loop.call_later(index * DRIP_INTERVAL_S, self.write, data[index : index + 1])

    def _go_on_for_ever(self) -> None:
        """Writes `CHUNK` as fast as the client reads, at most 6 MB/s."""
        if self.is_closed or self._is_closing:
            return
        if self.written_bytes - self.flushed_bytes < len(attacks.CHUNK):
            self.write(attacks.CHUNK)
        asyncio.get_running_loop().call_later(_POLL_S, self._go_on_for_ever)

    def _refused(self, status: int, headers: Sequence[tuple[str, str]], cseq: str, camera: LiveCamera | None) -> bytes:
        quirks = _quirks(camera)
        cseq_sent = self._former_cseq if "late-cseq" in quirks and status != 401 else cseq
        return protocol.response(status, cseq_sent, headers, quirks=quirks)

    def _refusal(self, request: Request) -> tuple[int, Sequence[tuple[str, str]]] | None:
        """Status and headers of the error response, or None if the request is accepted."""
        camera = self._cameras.get(request.camera_id, self._camera)
        quirks = _quirks(camera)
        if request.method not in self._methods:
            return 501, ()
        if self._is_unauthorized(request, quirks):
            return 401, [("WWW-Authenticate", value) for value in self._challenges(quirks)]
        if request.method == "OPTIONS":
            return None
        if camera is not None and camera.refusal_status is not None:
            challenge_values = challenges(Credentials("", ""), self._nonce) if camera.refusal_status == 401 else []
            return camera.refusal_status, [("WWW-Authenticate", value) for value in challenge_values]
        if request.camera_id not in self._cameras and request.camera_id:
            return 404, ()
        if request.method == "GET_PARAMETER" and not quirks.isdisjoint({"no-get-parameter", "get-parameter-refused"}):
            return (501 if "no-get-parameter" in quirks else 400), ()
        needs_session = request.method in ("PLAY", "TEARDOWN") or bool(request.session_id)
        is_ours = self._session_id and (
            request.session_id == self._session_id or (request.method == "PLAY" and "late-session" in quirks)
        )
        return (454, ()) if needs_session and not is_ours else None

    def _challenges(self, quirks: Collection[str]) -> list[str]:
        if self._credentials is None:
            return []
        return challenges(self._credentials, self._nonce, quirks)

    def _is_unauthorized(self, request: Request, quirks: Collection[str]) -> bool:
        """Whether the request lacks valid credentials, or its nonce is used up (quirk `short-nonce`)."""
        if self._credentials is None or (request.method == "OPTIONS" and "options-401" not in quirks):
            return False
        header = request.headers.get("authorization", "")
        method, nonce = request.method, self._nonce
        if not is_authorized(self._credentials, header, method=method, nonce=nonce, quirks=quirks):
            return True
        if "short-nonce" in quirks:
            self._nonce_uses += 1
            if self._nonce_uses > MAX_NONCE_USES:
                self._nonce, self._nonce_uses = secrets.token_hex(16), 0
                return True
        return False

    def _options(self, request: Request) -> bytes:
        is_known = "no-get-parameter" not in _quirks(self._cameras.get(request.camera_id))
        methods = [one for one in protocol.METHODS if is_known or one != "GET_PARAMETER"]
        return self._ok(request, [("Public", ", ".join(methods))])

    def _describe(self, request: Request) -> bytes:
        camera = self._cameras.get(request.camera_id)
        if camera is None:
            return protocol.response(404, request.headers["cseq"])
        if camera.has_fault("redirect") and not request.uri.endswith(REDIRECT_PATH):
            moved = urlsplit(request.uri)._replace(path=f"/{camera.camera_id}/{REDIRECT_PATH}").geturl()
            return protocol.response(302, request.headers["cseq"], [("Location", moved)])
        quirks = camera.behavior.quirks
        headers = [*sdp.content_base(request.uri, quirks), ("Content-Type", "application/sdp")]
        tone = camera.microphone.config.tone if camera.microphone else None
        return self._ok(request, headers, sdp.describe(camera.clip, request.uri, quirks, tone=tone))

    def _setup(self, request: Request) -> bytes:
        camera = self._cameras.get(request.camera_id)
        if camera is None:
            return protocol.response(404, request.headers["cseq"])
        if sdp.AUDIO_CONTROL in request.uri:
            return self._setup_audio(camera, request)
        if self._video_session is not None and self._camera is not None:
            return protocol.response(455, request.headers["cseq"])
        if camera.is_client_limit_reached:
            return protocol.response(453, request.headers["cseq"])
        found = self._negotiate_transport(camera, request.headers.get("transport", ""))
        if found is None:
            return protocol.response(461, request.headers["cseq"])
        self._camera = camera
        self._video_session, transport = found
        self._session_id = secrets.token_hex(8)
        return self._setup_response(request, transport, self._video_session.ssrc)

    def _setup_audio(self, camera: LiveCamera, request: Request) -> bytes:
        """SETUP of the audio track, after the video track's."""
        if self._video_session is None or self._audio_session is not None:
            return protocol.response(455, request.headers["cseq"])
        pictures = self.udp_transport
        found = self._negotiate_transport(camera, request.headers.get("transport", ""))
        if found is None or camera.microphone is None or camera.microphone.is_setup_refused:
            return protocol.response(461, request.headers["cseq"])
        session, transport = found
        self.udp_transport = pictures
        self._audio_session = AudioSession(session.transport, session.rtp_channel, session.rtcp_channel)
        return self._setup_response(request, transport, self._audio_session.ssrc)

    def _setup_response(self, request: Request, transport: str, ssrc: int) -> bytes:
        assert self._transport is not None
        (host, *_), (peer, *_) = (self._transport.get_extra_info(name) for name in ("sockname", "peername"))
        quirks = _quirks(self._camera)
        agreed = protocol.format_transport(transport, quirks, ssrc=ssrc, host=str(host), peer=str(peer))
        return self._ok(request, [("Transport", agreed)])

    def _negotiate_transport(self, camera: LiveCamera, transport: str) -> tuple[VideoSession, str] | None:
        """Returns a session over the client's preferred transport and its Transport header; None if unsupported."""
        channels = protocol.interleaved_channels(transport)
        if channels is not None and "tcp" in camera.behavior.carriers:
            if "other-channels" in camera.behavior.quirks:
                channels = channels[0] + 8, channels[1] + 8
            return VideoSession(self, *channels), f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"
        ports = protocol.client_ports(transport)
        if ports is None or self._transport is None or "udp" not in camera.behavior.carriers:
            return None
        (host, *_), (peer, *_) = (self._transport.get_extra_info(name) for name in ("sockname", "peername"))
        udp_transport = self.udp_transport = UdpTransport(self.number, host, (peer, *ports))
        ports_parameter = (
            f"client_port={ports[0]}-{ports[1]};server_port={udp_transport.ports[0]}-{udp_transport.ports[1]}"
        )
        return VideoSession(udp_transport, 0, 1, is_ordered_transport=False), f"RTP/AVP;unicast;{ports_parameter}"

    def _play(self, request: Request) -> bytes:
        assert self._camera is not None
        assert self._video_session is not None
        seq, timestamp = self._camera.join(self._video_session)
        if self._audio_session is not None and self._camera.microphone is not None:
            self._camera.microphone.join(self._audio_session)
        parts = urlsplit(request.uri)
        track = f"{parts.scheme}://{parts.netloc}/{self._camera.camera_id}/{sdp.CONTROL}"
        info = f"url={track};seq={seq};rtptime={timestamp}"
        log.info("camera playing", camera_id=self._camera.camera_id, connection=self.number)
        server_requests = b""
        if "own-requests" in self._camera.behavior.quirks:
            server_requests = protocol.server_requests(request.uri, self._session_id)
        return self._ok(request, [("Range", "npt=now-"), ("RTP-Info", info)]) + server_requests

    def _parameter(self, request: Request) -> bytes:
        is_silent = "no-keep-alive-response" in _quirks(self._camera)
        return b"" if is_silent else self._ok(request)

    def _teardown(self, request: Request) -> bytes:
        self._leave()
        return self._ok(request)

    def _ok(self, request: Request, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> bytes:
        quirks = _quirks(self._cameras.get(request.camera_id, self._camera))
        all_headers = [*(headers or []), *self._session_header(request.method, quirks)]
        return protocol.response(200, request.headers["cseq"], all_headers, body, quirks)

    def _session_header(self, method: str, quirks: Collection[str]) -> list[tuple[str, str]]:
        if not self._session_id or (method == "SETUP" and "late-session" in quirks):
            return []
        name = self._session_id
        if "changing-session" in quirks and method == "SETUP" and self._audio_session is not None:
            name = secrets.token_hex(8)  # the first id stays valid too
        blank = " " if "session-blanks" in quirks else ""
        timeout_s = ADVERTISED_SHORT_TIMEOUT_S if "short-timeout" in quirks else SESSION_TIMEOUT_S
        timeout = "" if "no-timeout" in quirks else f";{blank}timeout={timeout_s}"
        return [("Session", blank * 7 + name + timeout)]

    def _leave(self) -> None:
        if self._stale is not None:
            camera, viewer = self._stale
            camera.leave(viewer)
        if self._camera is not None and self._video_session is not None:
            self._camera.leave(self._video_session)
        if self._audio_session is not None and self._camera is not None and self._camera.microphone is not None:
            self._camera.microphone.leave(self._audio_session)
            if self._audio_session.transport is not self:
                self._audio_session.transport.abort()
        if self.udp_transport is not None:
            self.udp_transport.abort()

    def _close(self) -> None:
        """Closes the connection once everything is written; later writes are ignored."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()


def _quirks(camera: LiveCamera | None) -> frozenset[Quirk]:
    return camera.behavior.quirks if camera is not None else frozenset()
