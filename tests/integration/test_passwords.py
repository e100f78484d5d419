"""Credentials are sent to the camera only: to whom the readers authenticate on real sockets, with malicious servers."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from districam_common.runtime.clock import SystemClock
from districam_common.runtime.credentials import Credential, parse_credentials
from districam_ingest.readers.auto_reader import AutoReader
from districam_ingest.readers.libav_reader import LibavReader
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.readers.reader import Reader, ReadError

pytestmark = [pytest.mark.hostile, pytest.mark.timeout(60)]

GATE = Credential("viewer", "hidden-word")
TOLD = base64.b64encode(b"viewer:hidden-word").decode()
OPEN_S = 3.0
Answer = Callable[["ReceivedRequest"], str]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request: its method, its number on the connection, and its Authorization header."""

    method: str
    cseq: str
    authorization: str


@dataclass
class Peer:
    """An RTSP server that responds by script and keeps the requests."""

    answer: Answer
    port: int = 0
    heard: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest])

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["Peer"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                request = ReceivedRequest(head.split(" ", 1)[0], _value(head, "CSeq"), _value(head, "Authorization"))
                self.heard.append(request)
                writer.write(self.answer(request).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def received_schemes(self) -> list[str]:
        """Schemes of the credentials that it received."""
        return [one.authorization.split(" ")[0] for one in self.heard if one.authorization]


def _value(head: str, name: str) -> str:
    found = re.search(rf"(?im)^{name}: *(.*?)\r$", head)
    return found[1] if found else ""


def responded(request: ReceivedRequest, status: str, *headers: str, body: str = "") -> str:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {request.cseq}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines) + "\r\n\r\n" + body


BASIC, DIGEST = 'WWW-Authenticate: Basic realm="r"', 'WWW-Authenticate: Digest realm="r", nonce="n"'
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n"


def asks_for(challenge: str) -> Answer:
    return lambda request: (
        responded(request, "200 OK")
        if request.method == "OPTIONS"
        else responded(request, "401 Unauthorized", challenge)
    )


def native() -> NativeReader:
    return NativeReader(SystemClock(), open_s=OPEN_S, read_s=OPEN_S)


def auto() -> AutoReader:
    return AutoReader(native(), LibavReader(SystemClock(), open_s=OPEN_S, read_s=OPEN_S))


async def refused(reader: Reader | AutoReader, url: str, credential: Credential = GATE) -> ReadError:
    with pytest.raises(ReadError) as raised:
        async with asyncio.timeout(20), reader.open(url, credential, transport="tcp"):
            pass
    return raised.value


@pytest.mark.parametrize("make", [native, auto], ids=["native", "auto"])
@pytest.mark.parametrize("challenge", [BASIC, DIGEST], ids=["basic", "digest"])
async def test_a_redirect_to_another_host_gets_no_credentials(make: Callable[[], Reader | AutoReader], challenge: str):
    async with Peer(asks_for(challenge)).listening() as foreign:
        location = f"Location: rtsp://localhost:{foreign.port}/x"
        async with Peer(lambda request: responded(request, "302 Found", location)).listening() as camera:
            error = await refused(make(), f"rtsp://127.0.0.1:{camera.port}/x")
    assert foreign.heard, "the redirect was followed"
    assert foreign.received_schemes == []
    assert error.cause == "auth_failed"


@pytest.mark.parametrize(
    "nonsense",
    [
        "nonsense\r\n\r\n",
        "RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        "RTSP/1.0 302 Found\r\nLocation: x:/\r\n\r\n",
    ],
    ids=["no response", "a body without end", "nowhere"],
)
async def test_ffmpeg_gets_no_password_for_a_redirect_that_is_not_rtsp(nonsense: str):
    async with Peer(lambda _: nonsense).listening() as camera:
        error = await refused(auto(), f"rtsp://127.0.0.1:{camera.port}/x")
    assert error.cause == "stream_error"
    assert camera.received_schemes == []
    assert len(camera.heard) == 1, "another reader connected as well"


async def test_basic_after_digest_on_one_connection_is_refused():
    def answer(request: ReceivedRequest) -> str:
        if request.method == "DESCRIBE" and not request.authorization:
            return responded(request, "401 Unauthorized", DIGEST)
        if request.method == "DESCRIBE":
            return responded(request, "200 OK", "Content-Type: application/sdp", body=SDP)
        return (
            responded(request, "401 Unauthorized", BASIC) if request.method == "SETUP" else responded(request, "200 OK")
        )

    async with Peer(answer).listening() as camera:
        error = await refused(native(), f"rtsp://127.0.0.1:{camera.port}/x")
    assert set(camera.received_schemes) == {"Digest"}
    assert error.cause == "auth_failed"
    assert "Digest before" in error.detail


async def test_basic_after_digest_on_an_earlier_connection_is_refused():
    reader = native()
    async with Peer(asks_for(DIGEST)).listening() as camera:
        url = f"rtsp://127.0.0.1:{camera.port}/x"
        await refused(reader, url)
        camera.answer = asks_for(BASIC)
        error = await refused(reader, url)
        assert "Digest before" in error.detail
        assert set(camera.received_schemes) == {"Digest"}
        await refused(native(), url)  # a reader without an earlier Digest challenge cannot detect the downgrade
        assert TOLD in camera.heard[-1].authorization


@pytest.mark.parametrize(
    "reader", [native(), LibavReader(SystemClock(), open_s=OPEN_S, read_s=OPEN_S)], ids=["native", "ffmpeg"]
)
async def test_a_credential_of_other_networks_is_not_sent(reader: Reader):
    (elsewhere,) = parse_credentials("gate: {username: viewer, password: hidden-word, hosts: [10.0.4.0/24]}").values()
    (here,) = parse_credentials("gate: {username: viewer, password: hidden-word, hosts: [127.0.0.0/8]}").values()
    async with Peer(asks_for(BASIC)).listening() as camera:
        url = f"rtsp://127.0.0.1:{camera.port}/x"
        error = await refused(reader, url, elsewhere)
        assert (error.cause, camera.received_schemes) == ("auth_failed", [])
        assert "127.0.0.1" in error.detail
        await refused(reader, url, here)
        assert set(camera.received_schemes) == {"Basic"}


async def test_ffmpeg_opens_nothing_but_rtsp():
    reader = LibavReader(SystemClock(), open_s=OPEN_S, read_s=OPEN_S)
    heard: list[bytes] = []

    async def serve(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        heard.append(await source.read(200))
        sink.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/meta-data",
            f"tcp://127.0.0.1:{port}",
            "file:///etc/hostname",
            "concat:/etc/hostname",
        ):
            await refused(reader, url)
    assert not any(one.startswith(b"GET") for one in heard)


async def test_ffmpeg_follows_redirects_only_without_a_password():
    reader = LibavReader(SystemClock(), open_s=OPEN_S, read_s=OPEN_S)
    async with Peer(asks_for(BASIC)).listening() as foreign:
        location = f"Location: rtsp://localhost:{foreign.port}/x"
        async with Peer(lambda request: responded(request, "302 Found", location)).listening() as camera:
            url = f"rtsp://127.0.0.1:{camera.port}/x"
            await refused(reader, url)
            assert (camera.heard != [], foreign.heard) == (True, [])
            with pytest.raises(ReadError):
                async with asyncio.timeout(20), reader.open(url, None, transport="tcp"):
                    pass
            assert foreign.heard != []
