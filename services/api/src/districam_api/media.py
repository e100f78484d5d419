"""Media URLs and the objects behind them: signed links, ranges, streams of bounded memory."""

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from districam_api.core.ranges import Part, part
from districam_api.core.tokens import LIFETIME_US, Verdict, sign, verify
from districam_api.footage import NotKnown
from districam_api.settings import token_key
from districam_common.blobs import Blobs
from districam_common.names import parse_segment_key, rfc3339

log = structlog.get_logger()

ANONYMOUS = "-"
"""The key id of requests without one: this version has no keys."""


class Links:
    """Signs and checks media URLs. Without a file the key is random, and a restart ends all links."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._secret = secrets.token_bytes(32) if file is None else token_key(file)

    def url(self, key: str, now_us: int) -> str:
        """The path of the object with a token for 24 hours from now."""
        return f"/v1/media/{quote(key)}?token={sign(self._secret, key, now_us + LIFETIME_US)}"

    def check(self, key: str, token: str, now_us: int) -> Verdict:
        return verify(self._secret, key, token, now_us)

    def reread(self) -> None:
        """Takes up a key that has changed; one that cannot be read leaves the old in force. Reads a file."""
        if self._file is None:
            return
        try:
            self._secret = token_key(self._file)
        except ValueError as error:
            log.warning("token key not taken up", why=str(error))


async def serve(blobs: Blobs, key: str, range_header: str | None) -> Response:
    """The object of a segment, or the part of it that was asked for.

    Raises:
        NotKnown: there is no such object. Unsatisfiable: no such part. Retriable: the store is away.
    """
    head = await blobs.head(key)
    if head is None:
        raise NotKnown("the object is not in the store: it may have expired")
    named = parse_segment_key(key, head.size)
    asked = part(range_header, head.size)
    name = file_name(named.camera_id, named.entry.start_us, "mp4")
    sent = asked or Part(0, head.size, head.size)
    served("media", named.camera_id, named.entry.start_us, named.entry.end_us, key=key, bytes=sent.length)
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


def served(route: str, camera_id: str, from_us: int, to_us: int, **more: object) -> None:
    """The audit's line: who was given what footage."""
    window = {"from": rfc3339(from_us), "to": rfc3339(to_us)}
    log.info("footage_served", key_id=ANONYMOUS, route=route, camera_id=camera_id, **window, **more)
