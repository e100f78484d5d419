"""Hostile clients' connections, on a real socket and the event loop that services use."""

import asyncio
import contextlib
import resource
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog.testing
import uvloop
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send

from districam_api import server
from districam_api.body_limit import BodyLimitMiddleware
from districam_api.connections import ConnectionLimits, Connections
from districam_api.core.deadlines import Deadlines
from districam_api.settings import ApiSettings
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import SettingsError
from support import tls_servers

pytestmark = [pytest.mark.hostile, pytest.mark.timeout(60)]

PATIENCE_S = 0.3
PIECE = bytes(256 << 10)
MANY, SOME = 80, 24
"""20 MiB, more than a connection's buffers hold; and 6 MiB, to be read slowly."""
HEAD = b"Host: x\r\n"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """/body reads the body first, /many and /some answer at length; all other answers are short."""
    if scope["path"] == "/body":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    scope["state"]["key_id"] = "0badcafe"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    if scope["path"] in ("/many", "/some"):
        for _ in range(MANY if scope["path"] == "/many" else SOME):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[int]:
    """The port; the server runs in a thread, on the event loop that services use."""
    given = {"request_s": PATIENCE_S, "reader_s": PATIENCE_S, "port": 0, **settings}
    api = ApiSettings.model_validate(given)
    sock, loop = server.listen(api), uvloop.new_event_loop()
    runtime = Runtime("api")

    def run() -> None:
        connections = Connections(server.connection_limits(api), api.deadlines, SystemClock())
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.serve(BodyLimitMiddleware(application), sock, api, connections, runtime))

    running = asyncio.create_task(asyncio.to_thread(run))
    try:
        yield sock.getsockname()[1]
    finally:
        while CLIENTS:
            CLIENTS.pop().writer.close()
        loop.call_soon_threadsafe(runtime.stopping.set)
        async with asyncio.timeout(15):
            await running


CLIENTS: list["Client"] = []


class Client:
    """A connection, and what it received."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        CLIENTS.append(self)

    @classmethod
    async def connected(cls, port: int, source: str = "127.0.0.1", **more: Any) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), limit=1024, **more))

    async def asks(self, path: str, method: str = "GET", extra: bytes = b"") -> "Client":
        self.writer.write(f"{method} {path} HTTP/1.1\r\n".encode() + HEAD + extra + b"\r\n")
        await self.writer.drain()
        return self

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Everything until the end of the connection; raises if it is reset."""
        out = b""
        while data := await self.reader.read(1 << 16):
            out += data
        return out

    async def trickles(self, data: bytes, each_s: float = 0.05) -> bytes:
        """Sends a byte now and then until it is disconnected; returns what it received, empty if it was not."""
        ended = asyncio.create_task(self.rest())
        for byte in data:
            if ended.done():
                return await ended
            self.writer.write(bytes([byte]))
            await asyncio.sleep(each_s)
        ended.cancel()
        return b""


async def quick(port: int, source: str = "127.0.0.1", **more: Any) -> bytes:
    """The first line of the response to an ordinary client; empty: the connection was closed."""
    try:
        one = await Client.connected(port, source, **more)
    except OSError:
        return b""
    try:
        return (await (await one.asks("/", extra=b"Connection: close\r\n")).reader.readline()).strip()
    finally:
        one.writer.close()


OK = b"HTTP/1.1 200 OK"


def ended(cause: str) -> float:
    return REGISTRY.get_sample_value("districam_api_connections_ended_total", {"cause": cause}) or 0


# ---- heads and bodies


async def test_a_silent_connection_is_closed():
    async with serving() as port:
        before = ended("head")
        assert (await (await Client.connected(port)).rest()).startswith(b"HTTP/1.1 408 ")
        assert ended("head") == before + 1


async def test_a_request_head_sent_too_slowly_is_closed():
    async with serving() as port:
        one = await Client.connected(port)
        got = await one.trickles(b"GET / HTTP/1.1\r\nHost: " + b"x" * 100)
        assert got.startswith(b"HTTP/1.1 408 ")


async def test_each_request_head_has_its_own_deadline():
    async with serving() as port:
        one = await Client.connected(port)
        for n in range(3):
            await asyncio.sleep(PATIENCE_S * 0.6)
            head = await (await one.asks("/")).head()
            assert head.startswith(OK), n
            assert await one.reader.readexactly(len(CHUNKS)) == CHUNKS


async def test_a_request_body_sent_too_slowly_is_closed():
    async with serving() as port:
        before = ended("body")
        one = await (await Client.connected(port)).asks("/body", "POST", b"Content-Length: 1000\r\n")
        assert (await one.trickles(b"x" * 100)).startswith(b"HTTP/1.1 408 ")
        assert ended("body") == before + 1


async def test_a_slow_body_is_closed_even_if_the_route_does_not_read_it():
    """The response is sent at once; the rest of the request keeps the connection open."""
    async with serving() as port:
        one = await (await Client.connected(port)).asks("/", "GET", b"Content-Length: 1000\r\n")
        got = await one.trickles(b"x" * 100)
        assert got.startswith(OK)


@pytest.mark.parametrize("length", [5, 60_000])
async def test_a_client_still_sending_a_refused_body_receives_the_response(length: int):
    """The connection is closed, and a reset would discard the response."""
    async with serving() as port:
        for _ in range(5):
            extra = b"Transfer-Encoding: chunked\r\n"
            one = await (await Client.connected(port)).asks("/body", "POST", extra)
            assert (await one.head()).startswith(b"HTTP/1.1 411 ")
            rest = b""
            with contextlib.suppress(ConnectionError):
                one.writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (length, b"x" * length))
                await one.writer.drain()
                rest = await one.rest()
            assert b"Content-Length" in rest


# ---- readers


@dataclass(frozen=True, slots=True)
class Tls:
    """What the server is configured with, and the client's side."""

    served: dict[str, Any]
    asked: dict[str, Any]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    signer = tls_servers.create_ca(folder)
    pair = tls_servers.certificate(folder, signer, "api")
    trust = ssl.create_default_context(cafile=signer.certificate)
    return Tls(
        {"tls_cert_file": pair.certificate, "tls_key_file": pair.key}, {"ssl": trust, "server_hostname": "localhost"}
    )


@pytest.mark.parametrize("by_tls", [False, True])
async def test_a_client_that_reads_nothing_is_disconnected_and_logged(tls: Tls, *, by_tls: bool):
    with structlog.testing.capture_logs() as lines:
        async with serving(**tls.served if by_tls else {}) as port:
            before = ended("reader")
            one = await (await Client.connected(port, **tls.asked if by_tls else {})).asks("/many")
            assert (await one.head()).startswith(OK)
            async with asyncio.timeout(10):
                while ended("reader") == before:
                    await asyncio.sleep(0.05)
            with pytest.raises(ConnectionResetError):
                await one.rest()
    (line,) = [line for line in lines if line["event"] == "transfer aborted, client too slow"]
    assert (line["address"], line["path"], line["key_id"]) == ("127.0.0.1", "/many", "0badcafe")
    assert line["unsent_bytes"] > 0


async def test_a_slow_client_receives_the_whole_response():
    async with serving(reader_s=1) as port:
        one = await (await Client.connected(port)).asks("/some", extra=b"Connection: close\r\n")
        got = 0
        while data := await one.reader.read(1 << 17):
            got += len(data)
            await asyncio.sleep(0.02)  # 6 MiB/s at most
        assert got > SOME * len(PIECE)


# ---- how many


async def test_connections_of_one_address_do_not_use_up_those_of_others():
    async with serving(connections=64, connections_per_address=3, request_s=20) as port:
        before = ended("each")
        held = [await Client.connected(port) for _ in range(3)]
        assert await quick(port) == b"HTTP/1.1 503 Service Unavailable"
        assert ended("each") == before + 1
        assert await quick(port, "127.0.0.2") == OK
        held.pop().writer.close()
        async with asyncio.timeout(5):
            while await quick(port) != OK:
                await asyncio.sleep(0.02)


async def test_connections_are_accepted_again_after_the_limit_was_reached():
    async with serving(connections=16, connections_per_address=16) as port:
        for _ in range(16):
            await Client.connected(port)
        before = ended("all")
        assert await quick(port, "127.0.0.2") == b"HTTP/1.1 503 Service Unavailable"
        assert ended("all") == before + 1
        async with asyncio.timeout(5):
            while await quick(port, "127.0.0.2") != OK:
                await asyncio.sleep(0.05)


async def test_hundreds_of_refusals_are_one_log_line():
    with structlog.testing.capture_logs() as lines:
        async with serving(connections_per_address=1, request_s=20) as port:
            await Client.connected(port)
            for _ in range(300):
                await quick(port)
            await asyncio.sleep(1.2)
    closed_lines = [line for line in lines if line["event"] == "connections closed or refused"]
    assert len(closed_lines) == 1
    assert closed_lines[0]["address"] == "127.0.0.1"


def test_upgraded_connections_are_counted_apart_without_deadlines():
    connections = Connections(ConnectionLimits(2, 1, 1), Deadlines(1, 1), SystemClock())
    first, transport = connections.acquire("10.0.0.1"), SimpleNamespace(is_closing=lambda: False)
    assert first
    first.transport = cast("asyncio.Transport", transport)
    assert connections.acquire("10.0.0.1") is None
    assert connections.mark_upgraded(first)
    second = connections.acquire("10.0.0.1")
    assert second, "its slot is free"
    assert not connections.mark_upgraded(second), "there is room for one"
    connections.check_deadlines()  # no deadline applies
    assert not connections.mark_upgraded(second)
    transport.is_closing = lambda: True
    connections.check_deadlines()
    assert connections.mark_upgraded(second)


def test_a_trusted_proxys_connections_are_limited_in_total_only():
    connections = Connections(
        ConnectionLimits(3, 1, 1), Deadlines(1, 1), SystemClock(), lambda address: address == "10.0.0.9"
    )
    assert connections.acquire("10.0.0.1")
    assert connections.acquire("10.0.0.9")
    assert connections.acquire("10.0.0.1") is None
    assert connections.acquire("10.0.0.9")
    assert connections.acquire("10.0.0.9") is None


# ---- open files


class Files:
    """The system's limit of open files, and the limits that were set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self._now = (soft, hard)
        self.asked: tuple[int, int] | None = None
        monkeypatch.setattr(resource, "getrlimit", self._get)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self._now

    def _set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE
        self.asked = limits


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 1024, 298, 1024),
        (1024, 1 << 20, 512, 1408),
        (256, 256, 42, 256),
        (1 << 20, 1 << 20, 512, None),
        (1024, resource.RLIM_INFINITY, 512, 1408),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 512, None),
    ],
)
def test_connection_limits_leave_file_descriptors_for_health(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, raised: int | None
):
    files = Files(monkeypatch, soft, hard)
    assert server.connection_limits(ApiSettings()).max_total == connections
    assert files.asked == (raised and (raised, hard))


def test_too_few_file_descriptors_are_an_error_that_names_the_number_needed(monkeypatch: pytest.MonkeyPatch):
    Files(monkeypatch, 150, 150)
    with pytest.raises(SettingsError, match=r"150 files.*allow it 1408.*nofile"):
        server.connection_limits(ApiSettings())


# ---- TLS


async def test_a_tls_handshake_that_does_not_finish_is_closed(tls: Tls):
    async with serving(connections_per_address=2, **tls.served) as port:

        async def asks(source: str) -> bytes:
            return await quick(port, source, **tls.asked)

        before = ended("handshake")
        held = [await Client.connected(port) for _ in range(2)]
        held[0].writer.write(b"\x16\x03\x01")  # the beginning of a ClientHello
        assert await asks("127.0.0.1") == b"", "no slot is left"
        assert await asks("127.0.0.2") == OK
        for one in held:
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    assert await one.rest() == b""
        async with asyncio.timeout(5):
            while ended("handshake") < before + 2:
                await asyncio.sleep(0.02)
        assert await asks("127.0.0.1") == OK, "their slots are free"
