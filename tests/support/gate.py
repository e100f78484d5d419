"""A way to a server on which a request can be stopped: whoever is killed meanwhile was killed between two of its steps."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from districam_devkit.servers.ports import HOST, choose

CHUNK = 1 << 16
TAIL = 256
"""No `stops` is longer."""


@dataclass(eq=False)
class Gate:
    """TCP from `port` to `target_port`.

    Attributes:
        stops: what a request says that is stopped, and never passed on.
        passes: so many of them pass before.
        has_stopped: set once one is.
    """

    port: int
    target_port: int
    stops: bytes = b""
    passes: int = 0
    has_stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def watch(self, stops: bytes, passes: int = 0) -> None:
        """From now on; for connections that are open as well."""
        self.stops, self.passes = stops, passes
        self.has_stopped.clear()

    def open(self) -> None:
        """Everything passes."""
        self.stops = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            on_reader, on_writer = await asyncio.open_connection(HOST, self.target_port)
            try:
                async with asyncio.TaskGroup() as tasks:
                    downwards = tasks.create_task(_carry(on_reader, writer))
                    await self._upwards(reader, on_writer)
                    downwards.cancel()
            except* OSError:
                pass
            finally:
                on_writer.transport.abort()
        writer.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of this connection, up to one that is stopped; a request may come in parts."""
        tail = b""
        while data := await reader.read(CHUNK):
            if self._is_stopped(tail, data):
                self.has_stopped.set()
                while await reader.read(CHUNK):
                    pass
                return
            tail = (tail + data)[-TAIL:]
            writer.write(data)
            await writer.drain()

    def _is_stopped(self, tail: bytes, data: bytes) -> bool:
        if not self.stops:
            return False
        found = (tail[1 - len(self.stops) :] + data).count(self.stops)
        if found <= self.passes:
            self.passes -= found
            return False
        self.passes = 0
        return True


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def gate_to(target_port: int) -> AsyncGenerator[Gate]:
    """A way to that port of this machine, for the length of a block."""
    (port,) = choose(1)
    gate = Gate(port, target_port)
    server = await asyncio.start_server(gate.serve, HOST, port)
    try:
        yield gate
    finally:
        server.close()
