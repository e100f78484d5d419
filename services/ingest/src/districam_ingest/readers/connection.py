"""The native reader's TCP or TLS connection: opened under the caller's deadline, then used without waiting."""

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
"""Bound on unsent bytes; beyond it the camera is taken for dead."""
_PORTS = {"rtsp": 554, "rtsps": 322}  # RFC 7826 section 4.2
_CHUNK, _MIN_RECEIVE_BYTES = 1 << 16, 1 << 14
_MAX_UNPACED_RECEIVES, _PAUSE_S = 64, 0.05
"""A TLS handshake takes about ten receives. After this many each is delayed, so that tiny pieces do not cost
CPU."""


class Connection:
    """TCP, with TLS over it for `rtsps` URLs. Its methods raise OSError when the connection is over.

    Args:
        tls_context: verifies certificates; None: they are not verified, since cameras sign their own.
    """

    def __init__(self, tls_context: ssl.SSLContext | None = None) -> None:
        self.is_connected = False
        self._tls_context = tls_context
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent = b""
        # Adapts to what arrives: a buffer much larger than needed is allocated and freed on each receive. It
        # shrinks slowly, since a keyframe needs more every few receives.
        self._receive_size = _MIN_RECEIVE_BYTES

    async def connect(self, url: str) -> None:
        """Connects to the URL's host, with TLS for `rtsps`. Raises RtspError for a malformed URL."""
        host, port, is_secure = _parse_endpoint(url)
        self.is_connected, self._tls, self._unsent = False, None, b""
        self._socket = await _connect_socket(host, port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_connected = True
        if is_secure:
            await self._start_tls(host)

    def close(self) -> None:
        """Closes the socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits until the system has accepted it."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await asyncio.get_running_loop().sock_sendall(self._open_socket, data)

    async def receive(self) -> bytes:
        """Waits for the next bytes; never returns empty."""
        while True:
            data = self._decrypt(await asyncio.get_running_loop().sock_recv(self._open_socket, _CHUNK))
            if data:
                return data

    def send_nowait(self, data: bytes) -> None:
        """Sends without waiting; what the system does not accept now is sent by the next call."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT_BYTES:
            raise OSError(0, "the camera does not read what is sent to it")
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._open_socket.send(self._unsent) :]

    def receive_nowait(self, max_bytes: int) -> bytes:
        """Returns what has arrived, about `max_bytes` at most; empty if nothing has. Does not wait."""
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
        with suppress(OSError):  # nothing more, or an error that the next receive meets again
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
        """Local and remote IP address."""
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
    """A TLS context that trusts the file's CA certificates and checks host names. Raises OSError if it has none."""
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
        raise RtspError("malformed URL") from None
    if not host or parts.scheme not in _PORTS:
        raise RtspError("not an rtsp:// or rtsps:// URL with a host")
    return host, port or _PORTS[parts.scheme], parts.scheme == "rtsps"


async def _connect_socket(host: str, port: int) -> socket.socket:
    """Connects to the first of the host's addresses that accepts."""
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
