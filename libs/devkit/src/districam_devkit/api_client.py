"""Client of districam's HTTP API."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

PAGE = 1000


def format_instant(at_us: int) -> str:
    """Formats µs UTC as RFC 3339."""
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).isoformat()


def _us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """A segment as the API lists it."""

    key: str
    url: str
    start_us: int
    end_us: int
    lossy: bool


@dataclass(frozen=True, slots=True)
class TimelineState:
    """One state of the timeline; `cause` is set for gaps."""

    state: str
    from_us: int
    to_us: int
    cause: str
    detail: str


class ApiClient:
    """The API routes that the devkit uses. Methods raise httpx.HTTPError."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def json(self, path: str, **query: str) -> Any:
        return (await self._get(path, params=query)).json()

    async def _get(self, url: str, **options: Any) -> httpx.Response:
        """GET with one retry: a server may close an idle keep-alive connection just as it is reused."""
        try:
            answer = await self._client.get(url, **options)
        except httpx.RemoteProtocolError:
            answer = await self._client.get(url, **options)
        answer.raise_for_status()
        return answer

    async def segments(self, camera_id: str, from_us: int, to_us: int) -> list[ListedSegment]:
        """Returns the segments of all pages."""
        query = {"from": format_instant(from_us), "to": format_instant(to_us), "limit": str(PAGE)}
        found: list[ListedSegment] = []
        while True:
            page = await self.json(f"/v1/cameras/{camera_id}/segments", **query)
            found += [
                ListedSegment(row["key"], row["url"], row["start_us"], row["end_us"], row["lossy"])
                for row in page["segments"]
            ]
            if not page["next"]:
                return found
            query["cursor"] = page["next"]

    async def timeline(self, camera_id: str, from_us: int, to_us: int) -> list[TimelineState]:
        query = {"from": format_instant(from_us), "to": format_instant(to_us)}
        answer = await self.json(f"/v1/cameras/{camera_id}/timeline", **query)
        return [
            TimelineState(
                row["state"], _us(row["from"]), _us(row["to"]), row.get("cause") or "", row.get("detail") or ""
            )
            for row in answer["states"]
        ]

    async def streams(self) -> list[dict[str, Any]]:
        return (await self.json("/v1/streams"))["streams"]

    def playlist_url(self, camera_id: str, from_us: int, to_us: int) -> str:
        query = httpx.QueryParams({"from": format_instant(from_us), "to": format_instant(to_us)})
        return f"{str(self._client.base_url).rstrip('/')}/v1/cameras/{camera_id}/playlist.m3u8?{query}"

    async def text(self, url: str) -> str:
        return (await self._get(url)).text

    async def media(self, url: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Fetches an object by its tokened URL, or `byte_range` = (offset, length) of it."""
        headers: dict[str, str] = {}
        if byte_range is not None:
            offset, length = byte_range
            headers["Range"] = f"bytes={offset}-{offset + length - 1}"
        return (await self._get(url, headers=headers)).content


@asynccontextmanager
async def open_api_client(api_url: str, *, timeout_s: float = 10.0) -> AsyncGenerator[ApiClient]:
    """Yields an API client."""
    async with httpx.AsyncClient(base_url=api_url, timeout=timeout_s) as client:
        yield ApiClient(client)
