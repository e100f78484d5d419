"""One client's RTSP connection: requests in, responses and interleaved media out."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

import structlog

from districam_devkit.simcam import attacks, protocol
from districam_devkit.simcam.auth import Credentials, challenges, is_authorized
from districam_devkit.simcam.camera import LiveCamera, Viewer
from districam_devkit.simcam.datagrams import DatagramWire
from districam_devkit.simcam.microphone import Listener
from districam_devkit.simcam.protocol import ProtocolError, Request, RequestReader

SESSION_TIMEOUT_S = 60
DRIP_S = 0.05
MOVED = "moved"
_POLL_S = 0.01

log = structlog.get_logger("simcam")


class Connection(asyncio.Protocol):
    """It counts its bytes, so that the camera knows which access units have left (see Wire)."""

    def __init__(
        self, number: int, cameras: Mapping[str, LiveCamera], credentials: Credentials | None
    ) -> None:
        self.number = number
        self.written = 0
        self.is_closed = False
        self.closed = asyncio.Event()
        self.heard_s = asyncio.get_running_loop().time()
        self._cameras = cameras
        self._credentials = credentials
        self._nonce = secrets.token_hex(16)
        self._reader = RequestReader()
        self._session_id = ""
        self._camera: LiveCamera | None = None
        self._viewer: Viewer | None = None
        self._listener: Listener | None = None
        self.datagrams: DatagramWire | None = None
        self._flushed = 0
        self._is_ending = False
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
        """The camera that it has been set up for."""
        return self._camera.camera_id if self._camera else None

    @property
    def flushed(self) -> int:
        """Once closed: as last known, since a transport that is closed has forgotten its buffer."""
        if self._transport is not None and not self.is_closed:
            self._flushed = max(self._flushed, self.written - self._transport.get_write_buffer_size())
        return self._flushed

    def write(self, data: bytes) -> bool:
        if self._transport is None or self.is_closed or self._is_ending:
            return False
        self._transport.write(data)
        self.written += len(data)
        return True

    def abort(self) -> None:
        """The client sees the end of the stream after what has already left this process."""
        if self._transport is None or self.is_closed:
            return
        _ = self.flushed  # the last look at the buffer
        self.is_closed = True
        self._transport.abort()
        self._leave()

    async def finish(self, timeout_s: float) -> None:
        """Flush, half-close, wait for the client to close; abort what takes longer.

        Closing at once could make the system reset the connection and take back what the client has not read yet.
        """
        if self._transport is None:  # its TLS handshake has failed: asyncio tells a protocol nothing of that
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not self.is_closed and self.flushed < self.written:  # noqa: ASYNC110  # transports tell no event
                    await asyncio.sleep(_POLL_S)
                self._is_ending = True
                if not self.is_closed:
                    half = self._transport.can_write_eof()  # TLS has no half-closed connections
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
        self.heard_s = asyncio.get_running_loop().time()
        try:
            for request in self._reader.feed(data):
                self._answer(request)
        except ProtocolError as error:
            log.info("request not understood", connection=self.number, error=str(error))
            self.write(protocol.response(400, "0"))
            self._close()

    def eof_received(self) -> bool:
        _ = self.flushed
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and not self.is_closed:  # closed in order, after the buffer
            self._flushed = self.written
        self.is_closed = True
        self.closed.set()
        self._leave()

    # --- RTSP

    def _answer(self, request: Request) -> None:
        cseq = request.headers.get("cseq")
        if cseq is None:
            self.write(protocol.response(400, "0"))
            return
        refusal = self._refusal(request, cseq)
        if refusal is not None:
            self.write(refusal)
            return
        camera = self._cameras.get(request.camera_id)
        attack = camera.spoken_attack if camera is not None else None
        header = request.headers.get("authorization", "")
        instead = attacks.instead(attack, request.method, cseq, authorization=header)
        said = self._methods[request.method](request) if instead is None else instead
        self._say(attacks.bannered(said) if attack == "banner" else said, camera)
        if attacks.is_endless(attack, request.method):
            self._go_on_for_ever()
        if request.method == "TEARDOWN":
            self._close()

    def _say(self, data: bytes, camera: LiveCamera | None) -> None:
        if camera is None or not camera.ails("drip"):
            self.write(data)
            return
        loop = asyncio.get_running_loop()
        for index in range(len(data)):
            loop.call_later(index * DRIP_S, self.write, data[index : index + 1])

    def _go_on_for_ever(self) -> None:
        """As fast as the other side reads, 6 MB a second at most."""
        if self.is_closed or self._is_ending:
            return
        if self.written - self.flushed < len(attacks.CHUNK):
            self.write(attacks.CHUNK)
        asyncio.get_running_loop().call_later(_POLL_S, self._go_on_for_ever)

    def _refusal(self, request: Request, cseq: str) -> bytes | None:
        if request.method not in self._methods:
            return protocol.response(501, cseq)
        if request.method == "OPTIONS":
            return None
        if self._credentials is not None:
            header = request.headers.get("authorization", "")
            if not is_authorized(self._credentials, header, method=request.method, nonce=self._nonce):
                asked = [("WWW-Authenticate", value) for value in challenges(self._credentials, self._nonce)]
                return protocol.response(401, cseq, asked)
        camera = self._cameras.get(request.camera_id, self._camera)
        if camera is not None and camera.refusal is not None:
            asked = challenges(Credentials("", ""), self._nonce) if camera.refusal == 401 else []
            return protocol.response(camera.refusal, cseq, [("WWW-Authenticate", value) for value in asked])
        if request.camera_id not in self._cameras and request.camera_id:
            return protocol.response(404, cseq)
        needs_session = request.method in ("PLAY", "TEARDOWN") or bool(request.session_id)
        if needs_session and (not self._session_id or request.session_id != self._session_id):
            return protocol.response(454, cseq)
        return None

    def _options(self, request: Request) -> bytes:
        return self._ok(request, [("Public", ", ".join(protocol.METHODS))])

    def _describe(self, request: Request) -> bytes:
        camera = self._cameras.get(request.camera_id)
        if camera is None:
            return protocol.response(404, request.headers["cseq"])
        if camera.ails("redirect") and not request.uri.endswith(MOVED):
            moved = urlsplit(request.uri)._replace(path=f"/{camera.camera_id}/{MOVED}").geturl()
            return protocol.response(302, request.headers["cseq"], [("Location", moved)])
        quirks = camera.manners.quirks
        headers = [*protocol.content_base(request.uri, quirks), ("Content-Type", "application/sdp")]
        sound = protocol.describe_sound(camera.microphone.hearing.tone) if camera.microphone else b""
        return self._ok(request, headers, protocol.describe(camera.clip, request.uri, quirks) + sound)

    def _setup(self, request: Request) -> bytes:
        camera = self._cameras.get(request.camera_id)
        if camera is None:
            return protocol.response(404, request.headers["cseq"])
        if request.uri.endswith(protocol.SOUND_CONTROL):
            return self._setup_sound(camera, request)
        if self._viewer is not None and self._camera is not None:
            return protocol.response(455, request.headers["cseq"])
        if camera.is_full:
            return protocol.response(453, request.headers["cseq"])
        found = self._carried(camera, request.headers.get("transport", ""))
        if found is None:
            return protocol.response(461, request.headers["cseq"])
        self._camera = camera
        self._viewer, transport = found
        self._session_id = secrets.token_hex(8)
        return self._ok(request, [("Transport", f"{transport};ssrc={self._viewer.ssrc:08X}")])

    def _setup_sound(self, camera: LiveCamera, request: Request) -> bytes:
        """Behind the pictures'."""
        if self._viewer is None or self._listener is not None:
            return protocol.response(455, request.headers["cseq"])
        pictures = self.datagrams
        found = self._carried(camera, request.headers.get("transport", ""))
        if found is None or camera.microphone is None or camera.microphone.is_refused:
            return protocol.response(461, request.headers["cseq"])
        sound, transport = found
        self.datagrams = pictures
        self._listener = Listener(sound.wire, sound.rtp_channel, sound.rtcp_channel)
        return self._ok(request, [("Transport", f"{transport};ssrc={self._listener.ssrc:08X}")])

    def _carried(self, camera: LiveCamera, transport: str) -> tuple[Viewer, str] | None:
        """A viewer over what the client wants, and how that is called; None if the camera does not do it."""
        channels = protocol.interleaved_channels(transport)
        if channels is not None and "tcp" in camera.manners.carriers:
            return Viewer(self, *channels), f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"
        ports = protocol.client_ports(transport)
        if ports is None or self._transport is None or "udp" not in camera.manners.carriers:
            return None
        (host, *_), (peer, *_) = (self._transport.get_extra_info(name) for name in ("sockname", "peername"))
        wire = self.datagrams = DatagramWire(self.number, host, (peer, *ports))
        said = f"client_port={ports[0]}-{ports[1]};server_port={wire.ports[0]}-{wire.ports[1]}"
        return Viewer(wire, 0, 1, in_order=False), f"RTP/AVP;unicast;{said}"

    def _play(self, request: Request) -> bytes:
        assert self._camera is not None
        assert self._viewer is not None
        seq, timestamp = self._camera.join(self._viewer)
        if self._listener is not None and self._camera.microphone is not None:
            self._camera.microphone.join(self._listener)
        parts = urlsplit(request.uri)
        track = f"{parts.scheme}://{parts.netloc}/{self._camera.camera_id}/{protocol.CONTROL}"
        info = f"url={track};seq={seq};rtptime={timestamp}"
        log.info("camera playing", camera=self._camera.camera_id, connection=self.number)
        return self._ok(request, [("Range", "npt=now-"), ("RTP-Info", info)])

    def _parameter(self, request: Request) -> bytes:
        return self._ok(request)

    def _teardown(self, request: Request) -> bytes:
        self._leave()
        return self._ok(request)

    def _ok(self, request: Request, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> bytes:
        camera = self._cameras.get(request.camera_id, self._camera)
        quirks = camera.manners.quirks if camera is not None else frozenset[str]()
        timeout = "" if "no-timeout" in quirks else f";timeout={SESSION_TIMEOUT_S}"
        session = [("Session", self._session_id + timeout)] if self._session_id else []
        return protocol.response(200, request.headers["cseq"], [*(headers or []), *session], body, quirks)

    def _leave(self) -> None:
        if self._camera is not None and self._viewer is not None:
            self._camera.leave(self._viewer)
        if self._listener is not None and self._camera is not None and self._camera.microphone is not None:
            self._camera.microphone.leave(self._listener)
            if self._listener.wire is not self:
                self._listener.wire.abort()
        if self.datagrams is not None:
            self.datagrams.abort()

    def _close(self) -> None:
        """After what has been written; nothing is written any more."""
        self._is_ending = True
        if self._transport is not None:
            self._transport.close()
