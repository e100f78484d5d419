"""What every answer tells browsers: what its content may do, who may show it, and that nobody keeps it."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from districam_api.cors import SHARED_PATHS

_POLICY = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    b"base-uri 'none'; form-action 'none'"
)
"""For what is no page of ours: no script at all. A picture or a film in a tab of its own is a document that loads itself."""
_YEAR_S = 31_536_000


class SecurityHeadersMiddleware:
    """An ASGI application whose answers have these headers where they set none of their own.

    It stands outside of everything that answers, errors included.

    Args:
        app: what answers.
        is_secure: whether people come by HTTPS: then browsers are told to do nothing else for a year.
        origins: whose pages may use playlists and media, as they may not anything else (CORP, Fetch standard).
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
