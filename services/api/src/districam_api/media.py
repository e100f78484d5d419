"""The objects behind media URLs: ranges, streams of bounded memory, and the audit's line."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from districam_api.aborting import abort
from districam_api.core.conditions import divides, is_unchanged
from districam_api.core.ranges import Part, part
from districam_api.footage import NotKnown
from districam_api.heads import is_head
from districam_api.problems import Refusal
from districam_common.contract.names import SegmentName, parse_segment_key, rfc3339
from districam_common.s3.blobs import Blobs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of an object is wanted, and on what condition: headers as they came."""

    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


async def asked(
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(alias="If-Range")] = None,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match")] = None,
) -> Asked:
    """Of a request's headers."""
    return Asked(range_, if_range, if_none_match)


async def sent_in_pieces(request: Request) -> None:
    """Refuses HTTP/1.0 where an answer is sent without its length: one that broke off would look whole there.

    Raises:
        Refusal: 426 (RFC 9110 section 15.5.22).
    """
    if request.scope["http_version"] in ("0.9", "1.0"):
        raise Refusal(
            426,
            "over HTTP/1.0 a clip that broke off could not be told from a whole one; ask over HTTP/1.1 "
            "(a proxy in between: `proxy_http_version 1.1;` in nginx)",
            headers={"Upgrade": "HTTP/1.1", "Connection": "Upgrade"},
        )


async def serve(blobs: Blobs, key: str, wanted: Asked, key_id: str, kept: str) -> Response:
    """The object of a segment, or the part of it that was asked for. An object never changes: its tag is its digest.

    Raises:
        NotKnown: there is no such object. Unsatisfiable: no such part. Retriable: the store is away.
    """
    named = _named(key)
    head = await blobs.head(key)
    if head is None:
        raise NotKnown("the object is not in the store: it may have expired")
    digest = head.metadata.get("sha256")
    etag = f'"{digest}"' if digest else None
    headers = {"Accept-Ranges": "bytes", "Cache-Control": kept}
    if etag:
        headers["ETag"] = etag
    if is_unchanged(wanted.if_none_match, etag):
        return Response(status_code=304, headers=headers)
    found = part(wanted.range, head.size) if divides(wanted.if_range, etag) else None
    name = file_name(named.camera_id, named.entry.start_us, "mp4")
    sent = found or Part(0, head.size, head.size)
    window_us = named.entry.start_us, named.entry.end_us
    served("media", key_id, named.camera_id, *window_us, key=key, bytes=sent.length)
    headers |= {"Content-Disposition": f'inline; filename="{name}"', "Content-Length": str(sent.length)}
    if found:
        headers["Content-Range"] = found.content_range
    content = blobs.stream(key, start=sent.start, length=sent.length)
    return Streamed(content, 206 if found else 200, headers=headers)


def _named(key: str) -> SegmentName:
    """What the key says. Nothing else in the bucket is served, whoever signed for it."""
    try:
        return parse_segment_key(key, 0)
    except ValueError as error:
        raise NotKnown("this is no segment's key") from error


class Streamed(StreamingResponse):
    """Passes pieces on as the client takes them, and closes their source when it goes away; then calls `done`.

    If the source fails, the connection is reset. Nothing is read for HEAD.
    """

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
                if is_head():  # of what is not sent the length stays unsaid
                    start = {"type": "http.response.start", "status": self.status_code}
                    await send({**start, "headers": self.raw_headers})
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await super().__call__(scope, receive, send)
        except Exception:
            abort(scope)
            raise
        finally:
            self._done()


def file_name(camera_id: str, at_us: int, kind: str) -> str:
    """The name under which a person keeps it."""
    return f"{camera_id}_{rfc3339(at_us).replace(':', '-')}.{kind}"


def as_file(name: str) -> dict[str, str]:
    """Headers of an answer that is made for who asks."""
    return {"Cache-Control": "private, no-cache", "Content-Disposition": f'inline; filename="{name}"'}


def served(route: str, key_id: str, camera_id: str, from_us: int, to_us: int, **more: object) -> None:
    """The audit's line: who was given what footage. HEAD gives none."""
    if is_head():
        return
    window = {"from": rfc3339(from_us), "to": rfc3339(to_us)}
    log.info("footage_served", key_id=key_id, route=route, camera_id=camera_id, **window, **more)
