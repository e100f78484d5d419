"""Security headers of every response: content policy, framing, referrer and caching."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from districam_api.cors import SHARED_PATHS

_POLICY = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    b"base-uri 'none'; form-action 'none'"
)
"""For all but the page: no script. An image or video opened in its own tab is a document that loads itself."""
_YEAR_S = 31_536_000


class SecurityHeadersMiddleware:
    """ASGI middleware that sets these headers unless the response has its own.

    It is the outermost one, so that it covers error responses too.

    Args:
        app: the application.
        is_secure: whether clients use HTTPS: then browsers are told to use nothing else for a year (RFC 6797).
        origins: whose pages may embed playlists and media, and nothing else (CORP, Fetch standard).
    """

    def __init__(self, app: ASGIApp, *, is_secure: bool, origins: Collection[str] = ()) -> None:
        self._app = app
        self._headers = [
            (b"cache-control", b"no-store"),
            (b"content-security-policy", _POLICY),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
        ]
        if is_secure:
            self._headers.append((b"strict-transport-security", b"max-age=%d" % _YEAR_S))
        self._has_origins = bool(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_shared = self._has_origins and SHARED_PATHS.fullmatch(scope["path"]) is not None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                own = {name for name, _ in headers}
                headers += [one for one in self._headers if one[0] not in own]
                headers.append((b"cross-origin-resource-policy", b"cross-origin" if is_shared else b"same-origin"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers)
