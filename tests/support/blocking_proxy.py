"""A proxy that blocks a chosen request, so that a client can be killed between two of its steps."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from districam_devkit.servers.ports import HOST, pick_free_ports

CHUNK = 1 << 16
TAIL = 256
"""`blocked_request` must not be longer."""


@dataclass(eq=False)
class BlockingProxy:
    """Forwards TCP from `port` to `target_port`.

    Attributes:
        blocked_request: text in a request that is blocked and never forwarded.
        allowed_before: number of matching requests that are forwarded first.
        has_blocked: set once a request is blocked.
    """

    port: int
    target_port: int
    blocked_request: bytes = b""
    allowed_before: int = 0
    has_blocked: asyncio.Event = field(default_factory=asyncio.Event)

    def block_on(self, blocked_request: bytes, allowed_before: int = 0) -> None:
        """Starts blocking, on open connections too."""
        self.blocked_request, self.allowed_before = blocked_request, allowed_before
        self.has_blocked.clear()

    def unblock(self) -> None:
        """Forwards everything again."""
        self.blocked_request = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            on_reader, on_writer = await asyncio.open_connection(HOST, self.target_port)
            try:
                async with asyncio.TaskGroup() as tasks:
                    downwards = tasks.create_task(_forward(on_reader, writer))
                    await self._upwards(reader, on_writer)
                    downwards.cancel()
            except* OSError:
                pass
            finally:
                on_writer.transport.abort()
        writer.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards this connection's requests up to a blocked one, which may arrive in parts."""
        tail = b""
        while data := await reader.read(CHUNK):
            if self._is_blocked(tail, data):
                self.has_blocked.set()
                while await reader.read(CHUNK):
                    pass
                return
            tail = (tail + data)[-TAIL:]
            writer.write(data)
            await writer.drain()

    def _is_blocked(self, tail: bytes, data: bytes) -> bool:
        if not self.blocked_request:
            return False
        found = (tail[1 - len(self.blocked_request) :] + data).count(self.blocked_request)
        if found <= self.allowed_before:
            self.allowed_before -= found
            return False
        self.allowed_before = 0
        return True


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def running_blocking_proxy(target_port: int) -> AsyncGenerator[BlockingProxy]:
    """Yields a proxy to that local port."""
    (port,) = pick_free_ports(1)
    proxy = BlockingProxy(port, target_port)
    server = await asyncio.start_server(proxy.serve, HOST, port)
    try:
        yield proxy
    finally:
        server.close()
