"""The operator's page, where footage is found and played: static files of this package."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

INDEX_FILE = "index.html"
_MEDIA_TYPES = MappingProxyType(
    {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
)
# blob: for footage, which is appended to a MediaSource, and for stills
_POLICY = (
    "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # cached but revalidated: a new version shows at once
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "geolocation=(self), camera=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def _read() -> Mapping[str, _File]:
    """The page's files by name; no other file is served."""
    found: dict[str, _File] = {}
    for file in resources.files(__name__).joinpath("static").iterdir():
        content = file.read_bytes()
        media_type = _MEDIA_TYPES[file.name.rpartition(".")[2]]
        found[file.name] = _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return MappingProxyType(found)


_FILES = _read()
router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(request: Request) -> Response:
    return _answer(request, INDEX_FILE)


@router.get("/page/{file}")
async def static_file(request: Request, file: str) -> Response:
    return _answer(request, file)


def _answer(request: Request, name: str) -> Response:
    """The file, or 304 if the browser has it."""
    file = _FILES.get(name)
    if file is None:
        raise HTTPException(404)
    headers = {**_HEADERS, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
