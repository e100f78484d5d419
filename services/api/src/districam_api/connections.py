"""Open connections of the api: limits in total and per network, and deadlines for slow clients."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import structlog

from districam_api.core.addresses import client_network
from districam_api.core.concurrency_limiter import ConcurrencyLimiter
from districam_api.core.deadlines import ConnectionDeadline, Deadlines, TimeoutCause
from districam_api.metrics import CLOSED_CONNECTIONS, OPEN_CONNECTIONS
from districam_common.runtime.clock import Clock

if TYPE_CHECKING:
    from districam_api.http_protocol import HttpProtocol

log = structlog.get_logger()

CloseCause = Literal["head", "body", "reader", "handshake", "all", "each"]
"""The deadline that the client missed, or the limit that was reached: in total, or of its network."""

LOG_INTERVAL_US = 10_000_000
CHECK_INTERVAL_S = 1.0
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Maximum open connections: in total, per network, and upgraded ones, which no longer speak HTTP."""

    max_total: int
    max_per_network: int
    max_upgraded: int


@dataclass(slots=True, eq=False)
class Connection:
    """An accepted connection. `network` is what it is counted under; None for a trusted proxy: in the total only.

    `protocol` and `deadline` are set once requests can arrive: with TLS, after the handshake.
    """

    address: str
    network: str | None
    protocol: "HttpProtocol | None" = None
    deadline: ConnectionDeadline | None = None
    transport: asyncio.Transport | None = None
    is_upgraded: bool = False


@dataclass(slots=True)
class _ClosedConnections:
    """Closed connections by cause since the last log line, and the address of the last one."""

    at_us: int
    counts: Counter[CloseCause] = field(default_factory=Counter[CloseCause])
    address: str = ""


class Connections:
    """All open connections. `is_proxy` tells whether an address is a trusted proxy."""

    def __init__(
        self,
        limits: ConnectionLimits,
        deadlines: Deadlines,
        clock: Clock,
        is_proxy: Callable[[str], bool] = lambda _address: False,
    ) -> None:
        self.deadlines = deadlines
        self._clock = clock
        self._is_proxy = is_proxy
        self._http_limiter = ConcurrencyLimiter(limits.max_total, limits.max_per_network)
        self._upgraded_limiter = ConcurrencyLimiter(limits.max_upgraded, limits.max_upgraded)
        self._open: set[Connection] = set()
        self._closed = _ClosedConnections(clock.monotonic_us() - LOG_INTERVAL_US)
        self._export_metrics()

    def acquire(self, address: str) -> Connection | None:
        """Registers a connection; `release` must follow. None if a limit is reached."""
        network = None if self._is_proxy(address) else client_network(address)
        if full := self._http_limiter.acquire(network):
            self.record_closed(full, address)
            return None
        connection = Connection(address, network)
        self._open.add(connection)
        self._export_metrics()
        return connection

    def release(self, connection: Connection) -> None:
        """Removes the connection. Idempotent."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        self._upgraded_limiter.release(None) if connection.is_upgraded else self._http_limiter.release(
            connection.network
        )
        self._export_metrics()

    def attach_protocol(self, connection: Connection, protocol: "HttpProtocol") -> None:
        """Starts the deadline of the first request."""
        connection.protocol, connection.transport = protocol, protocol.transport
        connection.deadline = ConnectionDeadline(self.deadlines, self._clock.monotonic_us())

    def on_response_complete(self, connection: Connection) -> None:
        """Starts the deadline of the next request."""
        if connection.deadline:
            connection.deadline.on_response_complete(self._clock.monotonic_us())

    def mark_upgraded(self, connection: Connection) -> bool:
        """Counts the connection as upgraded, without deadlines here. False if the limit of these is reached."""
        if self._upgraded_limiter.acquire(None):
            self.record_closed("all", connection.address)
            return False
        self._http_limiter.release(connection.network)
        connection.is_upgraded, connection.protocol, connection.deadline = True, None, None
        self._export_metrics()
        return True

    def check_deadlines(self) -> None:
        """Closes connections that missed a deadline."""
        now_us = self._clock.monotonic_us()
        for connection in list(self._open):
            if connection.is_upgraded and connection.transport and connection.transport.is_closing():
                self.release(connection)
            elif connection.protocol and connection.deadline and connection.transport:
                unsent_bytes = connection.transport.get_write_buffer_size()
                cause = connection.deadline.timeout_cause(connection.protocol.phase, unsent_bytes, now_us)
                if cause:
                    self._close_overdue(connection.protocol, connection, cause, unsent_bytes)
        self._log_closed(now_us)

    def record_closed(self, cause: CloseCause, address: str) -> None:
        """Counts a closed or refused connection; the log has the sums."""
        CLOSED_CONNECTIONS.labels(cause).inc()
        self._closed.counts[cause] += 1
        self._closed.address = address

    def _close_overdue(
        self, protocol: "HttpProtocol", connection: Connection, cause: TimeoutCause, unsent_bytes: int
    ) -> None:
        self.record_closed(cause, connection.address)
        if cause == "reader":  # footage may have been sent: logged with address, key and path
            log.warning(
                "transfer aborted, client too slow",
                address=connection.address,
                unsent_bytes=unsent_bytes,
                **protocol.request_info(),
            )
            protocol.reset()
        else:
            protocol.close_timed_out()

    def _log_closed(self, now_us: int) -> None:
        """One line per LOG_INTERVAL_US at most: a flood of connections must not flood the log."""
        if self._closed.counts and now_us - self._closed.at_us >= LOG_INTERVAL_US:
            log.warning(
                "connections closed or refused",
                address=self._closed.address,
                open=len(self._open),
                **self._closed.counts,
            )
            self._closed = _ClosedConnections(now_us)

    def _export_metrics(self) -> None:
        OPEN_CONNECTIONS.labels("http").set(len(self._http_limiter))
        OPEN_CONNECTIONS.labels("upgraded").set(len(self._upgraded_limiter))


async def run_deadline_checks(connections: Connections) -> None:
    """Checks the deadlines periodically until it is cancelled."""
    deadlines = connections.deadlines
    interval_s = min(CHECK_INTERVAL_S, deadlines.request_us / 4e6, deadlines.reader_us / 4e6)
    while True:
        await asyncio.sleep(interval_s)
        connections.check_deadlines()


def refuse_connection(connection: socket.socket, *, is_plain: bool) -> None:
    """Closes a connection over the limit; a plain one gets 503 first (TLS would need the handshake)."""
    with connection:
        if is_plain:
            connection.setblocking(False)  # noqa: FBT003  # the response fits into the socket's buffer, or is dropped
            with contextlib.suppress(OSError):
                connection.send(UNAVAILABLE)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1 << 16)  # unread data would turn the close into a reset
