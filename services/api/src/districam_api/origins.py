"""CORS (Fetch standard): pages of other origins may read playlists and media, if they are named; nothing else."""

import re
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SHARED = re.compile(r"/v1/(media/.+|cameras/[^/]+/playlist\.m3u8)")
EXPOSED = (
    "Accept-Ranges", "Content-Length", "Content-Range", "Districam-From", "Districam-To",
    "Districam-Recorded-Seconds", "Districam-Gap-Seconds", "Retry-After",
)  # fmt: skip
PREFLIGHT_S = 600


class Shared:
    """An ASGI application of which `origins` may read playlists and media. Without credentials: no cookie travels."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "Range"],
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_shared = scope["type"] == "http" and SHARED.fullmatch(scope["path"])
        await (self._shared if is_shared else self._app)(scope, receive, send)
