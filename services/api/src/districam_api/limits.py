"""What is refused before anything reads it: bodies that no question of ours needs."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from districam_api.problems import problem

BODY_MOST = 64 << 10
CLOSE = {"Connection": "close"}
"""Where the body of a refused request ends is not known for certain; what follows must not be taken for a request."""


class Bounded:
    """An ASGI application whose requests have short bodies of a known length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            length = request.headers.get("content-length", "0")
            if "transfer-encoding" in request.headers:
                answer = problem(request, 411, "a body needs Content-Length", headers=CLOSE)
                return await answer(scope, receive, send)
            if not length.isdecimal() or int(length) > BODY_MOST:
                answer = problem(request, 413, f"no body is longer than {BODY_MOST >> 10} KiB here")
                return await answer(scope, receive, send)
        await self._app(scope, receive, send)
        return None
