"""Chooses free loopback ports."""

import random
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from districam_devkit.servers.process import ServerUnavailable

T = TypeVar("T")

HOST = "127.0.0.1"
# Below Linux's range of ephemeral ports (32768–60999), so that no outgoing connection takes one between choice and use.
# Room above for companion ports that are 10000 higher.
_RANGE = range(11_000, 22_000)


def is_free(port: int) -> bool:
    """Whether a server can listen on the port of 127.0.0.1 now; connections in TIME_WAIT do not prevent it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def pick_free_ports(count: int, *, companion_offset: int = 0) -> list[int]:
    """Returns distinct free ports; `port + companion_offset` is free as well. Raises ServerUnavailable."""
    found: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if is_free(port) and is_free(port + companion_offset):
            found.append(port)
        if len(found) == count:
            return found
    raise ServerUnavailable(f"no {count} free ports between {_RANGE.start} and {_RANGE.stop} on {HOST}")


def require_free(name: str, ports: Sequence[int]) -> None:
    """Raises ServerUnavailable that names the ports in use."""
    if taken := [str(port) for port in ports if not is_free(port)]:
        raise ServerUnavailable(
            f"{name} cannot listen on {HOST}: port {', '.join(taken)} is taken. End what holds it, or choose another."
        )


@asynccontextmanager
async def retry_on_taken_port(
    choose_ports: Callable[[], list[int]], start: Callable[[list[int]], AbstractAsyncContextManager[T]]
) -> AsyncGenerator[T]:
    """Starts a server on the ports of `choose_ports`; if one was taken meanwhile, tries once more.

    Raises:
        ServerUnavailable: it does not start for another reason, or a second time.
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
