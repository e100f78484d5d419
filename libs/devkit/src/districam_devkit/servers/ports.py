"""Loopback ports: which are free."""

import random
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from districam_devkit.servers.process import ServerUnavailable

T = TypeVar("T")

HOST = "127.0.0.1"
# Below the range from which Linux takes ports for outgoing connections (32768–60999): none is taken between choice and use.
# Room above for companions that are 10000 higher.
_RANGE = range(11_000, 22_000)


def is_free(port: int) -> bool:
    """Whether a server may listen on the port of 127.0.0.1 now (connections in TIME_WAIT do not matter)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def pick_free_ports(count: int, *, companion_offset: int = 0) -> list[int]:
    """Distinct free ports; with `companion_offset`, `port + companion` is free as well. Raises ServerUnavailable."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if is_free(port) and is_free(port + companion_offset):
            found.append(port)
        if len(found) == count:
            return found
    raise ServerUnavailable(f"no {count} free ports between {_RANGE.start} and {_RANGE.stop} on {HOST}")


def require_free(name: str, ports: Sequence[int]) -> None:
    """Raises ServerUnavailable that names the ports that something else holds."""
    if taken := [str(port) for port in ports if not is_free(port)]:
        raise ServerUnavailable(
            f"{name} cannot listen on {HOST}: port {', '.join(taken)} is taken. End what holds it, or choose another."
        )


@asynccontextmanager
async def retry_on_taken_port(
    choose_ports: Callable[[], list[int]], start: Callable[[list[int]], AbstractAsyncContextManager[T]]
) -> AsyncGenerator[T]:
    """A server on the ports that `choose_ports` gives; if something took one before the server could, on those that it gives then, once.

    Raises:
        ServerUnavailable: it cannot be had, for another reason or a second time.
    """
    async with AsyncExitStack() as stack:
        chosen = choose_ports()
        try:
            server = await stack.enter_async_context(start(chosen))
        except ServerUnavailable:
            if all(is_free(port) for port in chosen):
                raise
            server = await stack.enter_async_context(start(choose_ports()))
        yield server
