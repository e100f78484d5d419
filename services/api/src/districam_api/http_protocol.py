"""uvicorn's HTTP protocol of one connection, registered with `Connections`; it can be reset."""

import socket
import struct
from typing import TYPE_CHECKING, Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from districam_api.aborting import EXTENSION
from districam_api.connections import UNAVAILABLE, Connection, Connections

if TYPE_CHECKING:
    import asyncio

    from districam_api.core.deadlines import Phase

_ZERO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST (socket(7))."""
_REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class HttpProtocol(H11Protocol):
    """Based on h11, which exposes its parser state and bounds request heads; httptools does neither."""

    def __init__(self, connections: Connections, connection: Connection, config: Config, state: ServerState) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._connections = connections
        self._connection = connection
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            extensions = {**scope.get("extensions", {}), EXTENSION: self._abort_response}
            await inner({**scope, "extensions": extensions}, receive, send)

        self.app = app

    @property
    def phase(self) -> "Phase":
        """What the connection waits for."""
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        return "head" if self.conn.their_state is h11.IDLE else "answer"

    def request_info(self) -> dict[str, Any]:
        """Path and key id of the last request, for a log line. Without the query, which may hold a token."""
        scope = self.scope or {}
        return {"path": scope.get("path", "")[:200], "key_id": scope.get("state", {}).get("key_id", "-")}

    def connection_made(self, transport: "asyncio.Transport") -> None:
        super().connection_made(transport)
        self._connections.attach_protocol(self._connection, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.release(self._connection)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._connections.on_response_complete(self._connection)
        super().on_response_complete()

    def resume_writing(self) -> None:
        if self._connection.deadline:
            self._connection.deadline.on_write_resumed()
        super().resume_writing()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        if self._connections.mark_upgraded(self._connection):
            super().handle_websocket_upgrade(event)
        else:
            self.transport.write(UNAVAILABLE)
            self.transport.close()

    def close_timed_out(self) -> None:
        """Closes a connection whose request missed its deadline: 408, or a reset if a response has begun."""
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.reset()  # a second response cannot start inside the first
            return
        self.transport.write(_REQUEST_TIMEOUT)
        self.transport.close()

    def reset(self) -> None:
        """Closes the connection with RST; unsent data is dropped."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ZERO_LINGER)
        self.transport.abort()

    def _abort_response(self) -> None:
        if not self.transport.is_closing():
            self.reset()
