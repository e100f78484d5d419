"""A connection whose answer cannot be finished is reset, so that nobody takes what came for the whole."""

import socket
import struct
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

EXTENSION = "districam.abort"
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST (socket(7))."""


def abort(scope: Scope) -> None:
    """Resets the connection of that request, if the server lets us: an orderly end would look like the content's."""
    found: Callable[[], None] | None = scope.get("extensions", {}).get(EXTENSION)
    if found is not None:
        found()


class Protocol(AutoHTTPProtocol):
    """uvicorn's, of httptools or h11, which tells its application how to reset the connection."""

    app: ASGIApp
    transport: "asyncio.Transport | None"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            extensions = {**scope.get("extensions", {}), EXTENSION: self._reset}
            await inner({**scope, "extensions": extensions}, receive, send)

        self.app = app

    def _reset(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
