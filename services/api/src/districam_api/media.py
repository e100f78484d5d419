"""The objects behind media URLs: ranges, streams of bounded memory, and the audit's line."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from districam_api.core.ranges import Part, part
from districam_api.footage import NotKnown
from districam_common.blobs import Blobs
from districam_common.names import SegmentName, parse_segment_key, rfc3339

log = structlog.get_logger()


async def serve(blobs: Blobs, key: str, range_header: str | None, key_id: str) -> Response:
    """The object of a segment, or the part of it that was asked for.

    Raises:
        NotKnown: there is no such object. Unsatisfiable: no such part. Retriable: the store is away.
    """
    named = _named(key)
    head = await blobs.head(key)
    if head is None:
        raise NotKnown("the object is not in the store: it may have expired")
    asked = part(range_header, head.size)
    name = file_name(named.camera_id, named.entry.start_us, "mp4")
    sent = asked or Part(0, head.size, head.size)
    window_us = named.entry.start_us, named.entry.end_us
    served("media", key_id, named.camera_id, *window_us, key=key, bytes=sent.length)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f'inline; filename="{name}"',
        "Content-Length": str(sent.length),
    }
    if asked:
        headers["Content-Range"] = asked.content_range
    content = blobs.stream(key, start=sent.start, length=sent.length)
    return Streamed(content, 206 if asked else 200, headers=headers)


def _named(key: str) -> SegmentName:
    """What the key says. Nothing else in the bucket is served, whoever signed for it."""
    try:
        return parse_segment_key(key, 0)
    except ValueError as error:
        raise NotKnown("this is no segment's key") from error


class Streamed(StreamingResponse):
    """Passes pieces on as the client takes them, and closes their source when it goes away; then calls `done`."""

    def __init__(
        self,
        content: AsyncGenerator[bytes],
        status: int = 200,
        *,
        headers: dict[str, str],
        done: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(content, status, headers=headers, media_type="video/mp4")
        self._content = content
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._content):
                await super().__call__(scope, receive, send)
        finally:
            self._done()


def file_name(camera_id: str, at_us: int, kind: str) -> str:
    """The name under which a person keeps it."""
    return f"{camera_id}_{rfc3339(at_us).replace(':', '-')}.{kind}"


def as_file(name: str) -> dict[str, str]:
    """Headers of an answer that is made for who asks."""
    return {"Cache-Control": "private, no-cache", "Content-Disposition": f'inline; filename="{name}"'}


def served(route: str, key_id: str, camera_id: str, from_us: int, to_us: int, **more: object) -> None:
    """The audit's line: who was given what footage."""
    window = {"from": rfc3339(from_us), "to": rfc3339(to_us)}
    log.info("footage_served", key_id=key_id, route=route, camera_id=camera_id, **window, **more)
