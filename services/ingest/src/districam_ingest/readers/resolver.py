"""Cameras' host names into addresses. A name server that does not answer keeps nobody else waiting."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` gives them."""


async def resolve(host: str, port: int) -> list[Address]:
    """Of a camera. What is an address already is not looked up.

    A lookup has a thread of its own for as long as the system takes to give up. A pool would fill with the names of dead
    cameras, and Kafka's brokers would wait behind them.

    Raises:
        OSError: the name is not known.
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
            outcome = (found.set_exception, OSError(0, "no host has such a name"))
        with suppress(RuntimeError):  # the loop has closed meanwhile: nobody is left to tell
            loop.call_soon_threadsafe(set_outcome, *outcome)

    threading.Thread(target=resolve_blocking, daemon=True, name="lookup").start()
    return await found
