"""Resolves cameras' host names. A name server that does not answer delays no other lookup."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""An item of `socket.getaddrinfo`'s result."""


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a camera's host name, or of an IP address, which needs no lookup.

    Each lookup has its own thread until the system gives up. A shared pool would fill with the names of dead
    cameras, and lookups of Kafka's brokers would queue after them.

    Raises:
        OSError: the name cannot be resolved.
    """
    with suppress(OSError, UnicodeError):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def set_outcome(function: Callable[[Any], None], value: object) -> None:
        if not found.done():
            function(value)

    def resolve_blocking() -> None:
        try:
            outcome = (found.set_result, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            outcome = (found.set_exception, error)
        except UnicodeError:
            outcome = (found.set_exception, OSError(0, "not a valid host name"))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_outcome, *outcome)

    threading.Thread(target=resolve_blocking, daemon=True, name="lookup").start()
    return await found
