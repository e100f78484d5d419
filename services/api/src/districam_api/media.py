"""Serves stored objects: byte ranges, streaming in bounded memory, and the audit log."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from districam_api.aborting import abort
from districam_api.core.conditions import honours_range, is_unchanged
from districam_api.core.ranges import ByteRange, parse_range
from districam_api.footage import NotFound
from districam_api.head_requests import is_head
from districam_api.problems import ProblemError
from districam_common.contract.names import SegmentKeyFields, format_rfc3339, parse_segment_object_key
from districam_common.s3.blobs import Blobs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RangeHeaders:
    """The request's Range, If-Range and If-None-Match headers, not parsed."""

    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


async def parse_range_headers(
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(alias="If-Range")] = None,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match")] = None,
) -> RangeHeaders:
    return RangeHeaders(range_, if_range, if_none_match)


async def require_http_1_1(request: Request) -> None:
    """Refuses HTTP/1.0 for responses without a known length: a truncated one would look complete there.

    Raises:
        ProblemError: 426 (RFC 9110 section 15.5.22).
    """
    if request.scope["http_version"] in ("0.9", "1.0"):
        raise ProblemError(
            426,
            "over HTTP/1.0 a truncated clip cannot be told from a complete one; use HTTP/1.1 "
            "(nginx as proxy: `proxy_http_version 1.1;`)",
            headers={"Upgrade": "HTTP/1.1", "Connection": "Upgrade"},
        )


async def serve_object(
    blobs: Blobs, key: str, range_headers: RangeHeaders, key_id: str, cache_control: str
) -> Response:
    """A segment's object, or the requested range. Objects never change: the entity tag is the SHA-256 digest.

    Raises:
        NotFound: no such object. RangeNotSatisfiable: no such range. Retriable: the store is unavailable.
    """
    segment = _parse_key(key)
    head = await blobs.head(key)
    if head is None:
        raise NotFound("the object is not in the store: it may have expired")
    digest = head.metadata.get("sha256")
    etag = f'"{digest}"' if digest else None
    headers = {"Accept-Ranges": "bytes", "Cache-Control": cache_control}
    if etag:
        headers["ETag"] = etag
    if is_unchanged(range_headers.if_none_match, etag):
        return Response(status_code=304, headers=headers)
    found = parse_range(range_headers.range, head.size) if honours_range(range_headers.if_range, etag) else None
    name = download_name(segment.camera_id, segment.entry.start_us, "mp4")
    sent = found or ByteRange(0, head.size, head.size)
    window_us = segment.entry.start_us, segment.entry.end_us
    log_served("media", key_id, segment.camera_id, *window_us, key=key, bytes=sent.length)
    headers |= {"Content-Disposition": f'inline; filename="{name}"', "Content-Length": str(sent.length)}
    if found:
        headers["Content-Range"] = found.content_range
    content = blobs.stream(key, start=sent.start, length=sent.length)
    return MediaStreamingResponse(content, 206 if found else 200, headers=headers)


def _parse_key(key: str) -> SegmentKeyFields:
    """The key's fields. Only segments are served, whatever else a token may name."""
    try:
        return parse_segment_object_key(key, 0)
    except ValueError as error:
        raise NotFound("this is not the key of a segment") from error


class MediaStreamingResponse(StreamingResponse):
    """Streams `content` at the client's pace and closes it on disconnect; then calls `on_close`.

    If `content` fails, the connection is reset. For HEAD nothing is read.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes],
        status: int = 200,
        *,
        headers: dict[str, str],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(content, status, headers=headers, media_type="video/mp4")
        self._content = content
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._content):
                if is_head():  # without Content-Length: the length of the stream is not known
                    start = {"type": "http.response.start", "status": self.status_code}
                    await send({**start, "headers": self.raw_headers})
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await super().__call__(scope, receive, send)
        except Exception:
            abort(scope)
            raise
        finally:
            self._on_close()


def download_name(camera_id: str, at_us: int, kind: str) -> str:
    """The file name that browsers suggest."""
    return f"{camera_id}_{format_rfc3339(at_us).replace(':', '-')}.{kind}"


def download_headers(name: str) -> dict[str, str]:
    """Headers of a response that is generated for one caller."""
    return {"Cache-Control": "private, no-cache", "Content-Disposition": f'inline; filename="{name}"'}


def log_served(route: str, key_id: str, camera_id: str, from_us: int, to_us: int, **more: object) -> None:
    """Writes the audit line of served footage; none for HEAD."""
    if is_head():
        return
    window = {"from": format_rfc3339(from_us), "to": format_rfc3339(to_us)}
    log.info("footage_served", key_id=key_id, route=route, camera_id=camera_id, **window, **more)
