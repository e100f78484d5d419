"""A connection returns all waiting bytes at once, and raises the end of the connection after them."""

import asyncio
import random
import socket
import struct
from contextlib import suppress

import pytest

from districam_ingest.readers.connection import Connection

MOST = 1 << 20


async def connected() -> tuple[Connection, socket.socket]:
    """A connection, and the camera's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        connection = Connection()
        await connection.connect(f"rtsp://127.0.0.1:{listening.getsockname()[1]}/")
        camera, _ = listening.accept()
    camera.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST)
    return connection, camera


async def drained(connection: Connection, size: int) -> list[bytes]:
    """The results of receives until `size` bytes have arrived."""
    out: list[bytes] = []
    async with asyncio.timeout(5):
        while sum(map(len, out)) < size:
            out.append(connection.receive_nowait(MOST))
            await asyncio.sleep(0.01)
    return [part for part in out if part]


async def test_receive_is_empty_if_nothing_has_arrived():
    connection, camera = await connected()
    with camera:
        assert connection.receive_nowait(MOST) == b""
    connection.close()


@pytest.mark.parametrize("sizes", [[10], [20_000, 10], [300_000, 5, 70_000, 16_384, 16_384, 65_536, 1]])
async def test_received_bytes_are_returned_in_order(sizes: list[int]):
    connection, camera = await connected()
    with camera:
        for size in sizes:
            data = random.Random(size).randbytes(size)
            camera.sendall(data)
            assert b"".join(await drained(connection, size)) == data
        assert connection.receive_nowait(MOST) == b""
    connection.close()


async def test_one_receive_returns_all_waiting_bytes_up_to_the_maximum():
    connection, camera = await connected()
    with camera:
        camera.sendall(bytes(150_000))
        await asyncio.sleep(0.1)
        assert len(connection.receive_nowait(MOST)) == 150_000
        camera.sendall(bytes(150_000))
        await asyncio.sleep(0.1)
        assert len(connection.receive_nowait(1000)) == 1000
    connection.close()


@pytest.mark.parametrize("size", [100, 16_384, 50_000])  # more may exceed the TCP window
@pytest.mark.parametrize("is_reset", [False, True])
async def test_the_end_of_the_connection_is_raised_after_the_bytes_before_it(size: int, *, is_reset: bool):
    connection, camera = await connected()
    camera.sendall(bytes(size))
    await asyncio.sleep(0.1)
    if is_reset:
        camera.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    camera.close()
    await asyncio.sleep(0.1)
    came = 0
    with suppress(OSError):
        came = len(connection.receive_nowait(MOST))
    assert came == size
    with pytest.raises(OSError, match=r"ended the connection|Connection reset"):
        connection.receive_nowait(MOST)
    connection.close()
