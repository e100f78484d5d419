"""A TCP proxy between two components that can be cut, reset, slowed down, made to answer itself, or to corrupt data."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 1 << 16
HOST = "127.0.0.1"


@dataclass(eq=False)
class Proxy:
    """Forwards TCP from `port` to `target_port`. Settings apply at once, to open connections too.

    Attributes:
        answer: the response to each request in place of forwarding it.
        upwards_bytes_s: bandwidth towards the target, of all connections together.
        spoils: flips one bit of the next large HTTP upload.
    """

    port: int
    target_port: int
    answer: bytes | None = None
    upwards_bytes_s: float | None = None
    corrupts_next_upload: bool = False
    corrupted_uploads: int = 0
    carried: int = 0
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _free_s: float = 0.0
    _refuses: bool = False

    def cut(self) -> None:
        """Forwards nothing and closes nothing, like an unplugged cable."""
        self._flows.clear()

    def heal(self) -> None:
        """Forwards everything again, including data held back."""
        self.answer, self.upwards_bytes_s, self._refuses = None, None, False
        self._flows.set()

    def refuse(self) -> None:
        """Resets open and new connections."""
        self._refuses = True
        self.reset()

    def reset(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, ExceptionGroup):
            await self._flows.wait()
            if self._refuses:
                writer.transport.abort()
            elif self.answer is not None:
                await self._answered(self.answer, reader, writer)
            else:
                await self._passed(reader, writer)
        self._open.discard(writer)
        writer.transport.abort()

    async def _answered(self, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(CHUNK)
        writer.write(answer)
        await writer.drain()
        async with asyncio.timeout(5):
            while await reader.read(CHUNK):
                pass

    async def _passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_reader, on_writer = await asyncio.open_connection(HOST, self.target_port)
        self._open.add(on_writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._upwards(reader, on_writer))
                tasks.create_task(self._downwards(on_reader, writer))
        finally:
            self._open.discard(on_writer)
            on_writer.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_upload = False
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            await self._slowed(len(data))
            if self.corrupts_next_upload and is_upload and len(data) > CHUNK // 16:
                data, self.corrupts_next_upload, self.corrupted_uploads = (
                    _with_flipped_bit(data),
                    False,
                    self.corrupted_uploads + 1,
                )
            is_upload = data.startswith(b"PUT /") or (is_upload and not data.startswith((b"GET ", b"HEAD ")))
            self.carried += len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _slowed(self, size: int) -> None:
        if self.upwards_bytes_s is None:
            return
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(self._free_s, now_s) + size / self.upwards_bytes_s
        await asyncio.sleep(self._free_s - now_s)


def _with_flipped_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@asynccontextmanager
async def running(port: int, target_port: int) -> AsyncGenerator[Proxy]:
    """Yields a running proxy."""
    proxy = Proxy(port, target_port)
    proxy.heal()
    server = await asyncio.start_server(proxy.serve, HOST, port)
    try:
        yield proxy
    finally:
        server.close()
        proxy.heal()
        proxy.reset()
