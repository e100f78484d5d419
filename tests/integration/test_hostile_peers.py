"""The native reader against malicious servers: it ends in bounded time with bounded memory."""

import asyncio
import random
import time
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from districam_common.runtime.clock import SystemClock
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.readers.reader import ReadError

pytestmark = pytest.mark.timeout(60)

OPEN_S, SLACK_S = 1.5, 1.5
MEMORY_MOST = 6 << 20
"""Besides the reader's own buffer: a head of 64 KiB, a body of 1 MiB, and their copies."""
SENT_MOST = 64 << 20
Attack = Callable[[], AsyncIterator[bytes]]


async def endless_headers() -> AsyncIterator[bytes]:
    yield b"RTSP/1.0 200 OK\r\n"
    while True:
        yield b"X-Header: " + b"x" * 4000 + b"\r\n"


async def a_header_without_end() -> AsyncIterator[bytes]:
    yield b"RTSP/1.0 200 OK\r\nX: "
    while True:
        yield b"x" * 65_536


async def a_body_of_2_gb() -> AsyncIterator[bytes]:
    yield b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2147483648\r\n\r\n"
    while True:
        yield b"x" * 65_536


async def a_body_that_is_announced_again_and_again() -> AsyncIterator[bytes]:
    while True:
        yield b"RTSP/1.0 200 OK\r\nCSeq: 0\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000


async def noise() -> AsyncIterator[bytes]:
    dice = random.Random(1)
    while True:
        yield dice.randbytes(65_536)


async def packets_of_nobody() -> AsyncIterator[bytes]:
    while True:
        yield (b"$\x07\xff\xff" + bytes(0xFFFF)) * 4


async def redirects() -> AsyncIterator[bytes]:
    yield b"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:1/x\r\n\r\n"


async def a_byte_at_a_time() -> AsyncIterator[bytes]:
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: " + b"x" * 10_000:
        await asyncio.sleep(0.05)
        yield bytes([byte])


async def questions_without_end() -> AsyncIterator[bytes]:
    while True:
        yield b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 1000


ATTACKS: list[Attack] = [
    endless_headers,
    a_header_without_end,
    a_body_of_2_gb,
    a_body_that_is_announced_again_and_again,
    noise,
    packets_of_nobody,
    redirects,
    a_byte_at_a_time,
    questions_without_end,
]


@asynccontextmanager
async def attacking(attack: Attack) -> AsyncGenerator[str]:
    """Yields the URL of a server that sends this to each client, `SENT_MOST` bytes at most."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        await reader.readline()
        sent = 0
        try:
            async for data in attack():
                writer.write(data)
                await writer.drain()
                sent += len(data)
                if sent > SENT_MOST:
                    break
            await asyncio.sleep(30)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_on_opening_costs_bounded_time_and_memory(attack: Attack):
    reader = NativeReader(SystemClock(), open_s=OPEN_S, read_s=3)
    tracemalloc.start()
    try:
        async with attacking(attack) as url:
            began = time.monotonic()
            with pytest.raises(ReadError) as raised:
                async with reader.open(url, None, transport="tcp"):
                    pass
            took_s = time.monotonic() - began
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.cause in {"stream_error", "source_silent", "camera_unreachable"}
    assert took_s < OPEN_S + SLACK_S
    assert most < MEMORY_MOST


SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


async def played(then: Attack) -> AsyncIterator[bytes]:
    """Responds normally up to PLAY, then attacks."""
    yield b"RTSP/1.0 200 OK\r\n\r\n"
    yield b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SDP) + SDP
    yield b"RTSP/1.0 200 OK\r\nSession: s\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
    yield b"RTSP/1.0 200 OK\r\n\r\n"
    async for data in then():
        yield data


async def a_unit_without_end() -> AsyncIterator[bytes]:
    """One NAL unit in endless fragments."""
    seq = 0
    while True:
        head = b"\x80\x60" + (seq & 0xFFFF).to_bytes(2, "big") + bytes(8)
        body = b"\x7c\x85" if seq == 0 else b"\x7c\x05"
        packet = head + body + bytes(60_000)
        yield b"$\0" + len(packet).to_bytes(2, "big") + packet
        seq += 1


async def a_picture_without_end() -> AsyncIterator[bytes]:
    """Endless slices of one picture."""
    seq = 0
    while True:
        packet = b"\x80\x60" + (seq & 0xFFFF).to_bytes(2, "big") + bytes(8) + b"\x41\x20" + bytes(60_000)
        yield b"$\0" + len(packet).to_bytes(2, "big") + packet
        seq += 1


async def reports_of_nothing() -> AsyncIterator[bytes]:
    while True:
        yield b"$\x01\x00\x04\x80\xc8\x00\x00" * 5000


async def read_for_ever(reader: NativeReader, url: str, at_most_s: float) -> None:
    async with asyncio.timeout(at_most_s), reader.open(url, None, transport="tcp") as source:
        while True:
            await source.read()


@pytest.mark.parametrize("attack", [a_unit_without_end, a_picture_without_end, noise, reports_of_nothing])
async def test_an_attack_on_reading_costs_bounded_memory(attack: Attack):
    reader = NativeReader(SystemClock(), open_s=5, read_s=2)
    tracemalloc.start()
    try:
        async with attacking(lambda: played(attack)) as url:
            with pytest.raises((ReadError, TimeoutError)):  # the caller's timeout
                await read_for_ever(reader, url, 8)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY_MOST + 3 * (16 << 20)  # the largest picture, its parts, and their concatenation
