"""The native reader's socket: opened with deadlines of the caller's, then never waited for."""

import asyncio
import socket
import ssl
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from districam_ingest.readers.resolver import resolve
from districam_ingest.rtsp.message import RtspError

MAX_UNSENT_BYTES = 64 << 10
"""A camera that does not read what we say is one that does not answer."""
_PORTS = {"rtsp": 554, "rtsps": 322}
_CHUNK, _MIN_RECEIVE_BYTES = 1 << 16, 1 << 14
_MAX_UNPACED_RECEIVES, _PAUSE_S = 64, 0.05
"""A handshake takes some ten pieces. What comes in crumbs is waited for between them."""


class Connection:
    """TCP, and TLS over it if the URL says `rtsps`.

    Args:
        authority: verifies certificates; None: none is, since cameras make theirs themselves.

    Its methods raise OSError when the connection is over.
    """

    def __init__(self, tls_context: ssl.SSLContext | None = None) -> None:
        self.is_connected = False
        self._tls_context = tls_context
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent = b""
        # To be asked for: what is much more than comes costs memory that is taken and given back each time. It shrinks
        # slowly, since a keyframe comes every few times.
        self._receive_size = _MIN_RECEIVE_BYTES

    async def connect(self, url: str) -> None:
        """Raises RtspError for a URL that leads nowhere."""
        host, port, is_secure = _parse_endpoint(url)
        self.is_connected, self._tls, self._unsent = False, None, b""
        self._socket = await _connect_socket(host, port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_connected = True
        if is_secure:
            await self._start_tls(host)

    def close(self) -> None:
        """Also twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def send(self, data: bytes) -> None:
        """Waits until the system has taken it."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await asyncio.get_running_loop().sock_sendall(self._open_socket, data)

    async def receive(self) -> bytes:
        """Waits for what comes next."""
        while True:
            data = self._decrypt(await asyncio.get_running_loop().sock_recv(self._open_socket, _CHUNK))
            if data:
                return data

    def send_nowait(self, data: bytes) -> None:
        """Sends without waiting, now or with the next call."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT_BYTES:
            raise OSError(0, "it does not read what it is told")
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._open_socket.send(self._unsent) :]

    def receive_nowait(self, max_bytes: int) -> bytes:
        """What has come, about `max_bytes` bytes at most; nothing if nothing has. Does not wait."""
        receive_size = min(self._receive_size, max_bytes)
        try:
            received = self._open_socket.recv(receive_size)
        except BlockingIOError:
            return b""
        if len(received) == receive_size:
            received = self._receive_more(received, max_bytes)
        self._receive_size = min(max(_MIN_RECEIVE_BYTES, 2 * len(received), self._receive_size * 15 // 16), max_bytes)
        return self._decrypt(received)

    def _receive_more(self, received: bytes, max_bytes: int) -> bytes:
        parts, size = [received], len(received)
        with suppress(OSError):  # nothing more, or an end, which the next time finds again
            while size < max_bytes and (part := self._open_socket.recv(_CHUNK)):
                parts.append(part)
                size += len(part)
        return b"".join(parts)

    @property
    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise OSError(0, "the connection is closed")
        return self._socket

    def _decrypt(self, received: bytes) -> bytes:
        if not received:
            raise OSError(0, "the camera ended the connection")
        if self._tls is None:
            return received
        self._incoming.write(received)
        parts: list[bytes] = []
        with suppress(ssl.SSLWantReadError):
            while part := self._tls.read(_CHUNK):
                parts.append(part)
        return b"".join(parts)

    @property
    def endpoints(self) -> tuple[str, str]:
        """Our address and the camera's."""
        return self._open_socket.getsockname()[0], self._open_socket.getpeername()[0]

    async def _start_tls(self, host: str) -> None:
        context = self._tls_context or _unverified_context()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        loop = asyncio.get_running_loop()
        for received_before in count():
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self._open_socket, self._outgoing.read())
                if received_before > _MAX_UNPACED_RECEIVES:
                    await asyncio.sleep(_PAUSE_S)
                received = await loop.sock_recv(self._open_socket, _CHUNK)
                if not received:
                    raise OSError(0, "the camera ended the connection") from None
                self._incoming.write(received)
                continue
            await loop.sock_sendall(self._open_socket, self._outgoing.read())
            return


def load_ca_context(ca_file: Path) -> ssl.SSLContext:
    """Trusts what the file's certificates vouch for, and wants the host's name. Raises OSError, also for no certificates."""
    return ssl.create_default_context(cafile=ca_file)


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _parse_endpoint(url: str) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RtspError("no URL") from None
    if not host or parts.scheme not in _PORTS:
        raise RtspError("no RTSP URL")
    return host, port or _PORTS[parts.scheme], parts.scheme == "rtsps"


async def _connect_socket(host: str, port: int) -> socket.socket:
    """A socket to the first of the host's addresses that takes it."""
    loop = asyncio.get_running_loop()
    problem: OSError = OSError(0, "the host has no address")
    for family, kind, protocol, _, address in await resolve(host, port):
        found = socket.socket(family, kind, protocol)
        found.setblocking(False)  # noqa: FBT003  # its only parameter
        try:
            await loop.sock_connect(found, address)
        except OSError as error:
            found.close()
            problem = error
        except BaseException:
            found.close()
            raise
        else:
            return found
    raise problem
