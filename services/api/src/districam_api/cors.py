"""CORS (Fetch standard): pages of the allowed origins may read playlists and media, nothing else."""

import re
from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SHARED_PATHS = re.compile(r"/v1/(media/.+|cameras/[^/]+/playlist\.m3u8)")
EXPOSED_HEADERS = (
    "Accept-Ranges", "Content-Length", "Content-Range", "Districam-From", "Districam-To",
    "Districam-Recorded-Seconds", "Districam-Gap-Seconds", "Retry-After",
)  # fmt: skip
PREFLIGHT_MAX_AGE_S = 600


class FootageCorsMiddleware:
    """ASGI middleware that lets pages of `origins` read playlists and media, without credentials (no cookies)."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._cors_app = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET"],
            allow_headers=["Authorization", "Range"],
            expose_headers=EXPOSED_HEADERS,
            max_age=PREFLIGHT_MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_shared = scope["type"] == "http" and SHARED_PATHS.fullmatch(scope["path"])
        await (self._cors_app if is_shared else self._app)(scope, receive, send)
