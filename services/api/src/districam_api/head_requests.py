"""HEAD on every GET route: the same response without its content (RFC 9110 section 9.3.2)."""

from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_is_head_request = ContextVar("is_head_request", default=False)


def is_head() -> bool:
    """Whether the current request is a HEAD: no footage is read or sent."""
    return _is_head_request.get()


class HeadMiddleware:
    """ASGI middleware that handles HEAD as GET and drops the content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        token = _is_head_request.set(True)
        try:
            await self._app({**scope, "method": "GET"}, receive, send_without_body)
        finally:
            _is_head_request.reset(token)
