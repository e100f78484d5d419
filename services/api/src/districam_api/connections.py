"""The api's connections: how many there are, whose they are, and which of them keep it waiting for too long."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import structlog

from districam_api.core.addresses import neighbourhood
from districam_api.core.crowd import Crowd
from districam_api.core.patience import Late, Patience, Waiting
from districam_api.measure import ENDED, OPEN
from districam_common.runtime.clock import Clock

if TYPE_CHECKING:
    from districam_api.protocol import Protocol

log = structlog.get_logger()

Cause = Literal["head", "body", "reader", "handshake", "all", "each"]
"""What a client was late with, or why it was not let in: as many are open as may be, of all or of its address."""

TOLD_EACH_US = 10_000_000
LOOK_S = 1.0
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections may be open: of all, of one address, and of those that speak no HTTP any more."""

    most: int
    most_each: int
    apart: int


@dataclass(slots=True, eq=False)
class Connection:
    """One that was let in. `who`: under which name it counts; None: a proxy, which speaks for many.

    `protocol` and `waiting` are there once a request may come: with TLS, after the handshake.
    """

    address: str
    who: str | None
    protocol: "Protocol | None" = None
    waiting: Waiting | None = None
    transport: asyncio.Transport | None = None
    is_apart: bool = False


@dataclass(slots=True)
class _Told:
    """What was ended since the last line in the log, and an address of them."""

    at_us: int
    counts: Counter[Cause] = field(default_factory=Counter[Cause])
    address: str = ""


class Connections:
    """All that are open. `is_proxy`: whether an address speaks for many."""

    def __init__(
        self,
        limits: Limits,
        patience: Patience,
        clock: Clock,
        is_proxy: Callable[[str], bool] = lambda _address: False,
    ) -> None:
        self.patience = patience
        self._clock = clock
        self._is_proxy = is_proxy
        self._http = Crowd(limits.most, limits.most_each)
        self._apart = Crowd(limits.apart, limits.apart)
        self._open: set[Connection] = set()
        self._told = _Told(clock.monotonic_us() - TOLD_EACH_US)
        self._show()

    def enter(self, address: str) -> Connection | None:
        """Lets a connection in, unless there are too many; `leave` must follow."""
        who = None if self._is_proxy(address) else neighbourhood(address)
        if full := self._http.enter(who):
            self.ended(full, address)
            return None
        found = Connection(address, who)
        self._open.add(found)
        self._show()
        return found

    def leave(self, one: Connection) -> None:
        """Counts it out; once is enough, and again does no harm."""
        if one not in self._open:
            return
        self._open.remove(one)
        self._apart.leave(None) if one.is_apart else self._http.leave(one.who)
        self._show()

    def speaks(self, one: Connection, protocol: "Protocol") -> None:
        """From now on requests are awaited."""
        one.protocol, one.transport = protocol, protocol.transport
        one.waiting = Waiting(self.patience, self._clock.monotonic_us())

    def answered(self, one: Connection) -> None:
        """An answer is complete."""
        if one.waiting:
            one.waiting.answered(self._clock.monotonic_us())

    def set_apart(self, one: Connection) -> bool:
        """Counts among those that speak no HTTP any more, and are not hurried here; whether there is room."""
        if self._apart.enter(None):
            self.ended("all", one.address)
            return False
        self._http.leave(one.who)
        one.is_apart, one.protocol, one.waiting = True, None, None
        self._show()
        return True

    def look(self) -> None:
        """Ends those that have kept us waiting for too long."""
        now_us = self._clock.monotonic_us()
        for one in list(self._open):
            if one.is_apart and one.transport and one.transport.is_closing():
                self.leave(one)
            elif one.protocol and one.waiting and one.transport:
                untaken = one.transport.get_write_buffer_size()
                late = one.waiting.late(one.protocol.phase, untaken, now_us)
                if late:
                    self._give_up(one.protocol, one, late, untaken)
        self._tell(now_us)

    def ended(self, cause: Cause, address: str) -> None:
        """Counts one that was ended or refused; the log has their sums."""
        ENDED.labels(cause).inc()
        self._told.counts[cause] += 1
        self._told.address = address

    def _give_up(self, protocol: "Protocol", one: Connection, late: Late, untaken: int) -> None:
        self.ended(late, one.address)
        if late == "reader":  # of somebody who was given something: it stands in the log with who and what
            log.warning("transfer given up", address=one.address, untaken=untaken, **protocol.about())
            protocol.reset()
        else:
            protocol.dismiss()

    def _tell(self, now_us: int) -> None:
        """A line in the log for many: who opens thousands must not write thousands."""
        if self._told.counts and now_us - self._told.at_us >= TOLD_EACH_US:
            log.warning(
                "connections ended", address=self._told.address, open=len(self._open), **self._told.counts
            )
            self._told = _Told(now_us)

    def _show(self) -> None:
        OPEN.labels("http").set(len(self._http))
        OPEN.labels("upgraded").set(len(self._apart))


async def watched(connections: Connections) -> None:
    """Looks at them until it is cancelled."""
    patience = connections.patience
    each_s = min(LOOK_S, patience.request_us / 4e6, patience.reader_us / 4e6)
    while True:
        await asyncio.sleep(each_s)
        connections.look()


def turned_away(connection: socket.socket, *, is_plain: bool) -> None:
    """Closes a connection that finds no room, with a word where one can be said."""
    with connection:
        if is_plain:
            connection.setblocking(False)  # noqa: FBT003  # the word fits into its buffer, or is not said
            with contextlib.suppress(OSError):
                connection.send(UNAVAILABLE)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1 << 16)  # what is left unread would make a reset of the end
