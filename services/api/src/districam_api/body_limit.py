"""Refuses oversized request bodies, and those of unknown length, before anything reads them."""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from districam_api.problems import problem_response

MAX_BODY_BYTES = 64 << 10
LINGER_S = 1.0
CLOSE_HEADER = {"Connection": "close"}
"""Where the body of a refused request ends is not known, so the connection cannot carry another request."""


class BodyLimitMiddleware:
    """ASGI middleware: bodies need a Content-Length (411) of at most MAX_BODY_BYTES (413)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers:
                answer = problem_response(request, 411, "a request body needs Content-Length", headers=CLOSE_HEADER)
                return await _respond_and_close(answer, scope, receive, send)
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                answer = problem_response(request, 413, f"the request body is over {MAX_BODY_BYTES >> 10} KiB")
                return await answer(scope, receive, send)
        await self._app(scope, receive, send)
        return None


async def _respond_and_close(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends `answer`, discards what the client still sends for up to LINGER_S, and closes the connection.

    Closing with unread data would reset the connection, and the answer could be lost (RFC 9112 section 9.6).
    """

    async def send_unfinished(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    await answer(scope, receive, send_unfinished)
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            received_bytes, is_more = 0, True
            while is_more and received_bytes <= MAX_BODY_BYTES:
                message = await receive()
                received_bytes, is_more = (
                    received_bytes + len(message.get("body", b"")),
                    message.get("more_body", False),
                )
    await send({"type": "http.response.body", "body": b""})
