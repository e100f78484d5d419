"""How much is stored: bytes of each camera and hour, as the index counts them."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import numpy as np
from redis.asyncio import Redis

from districam_common import names
from districam_common.index import MEMBER
from districam_common.redis_door import redis_errors

_SCAN_COUNT = 1000
_AT_ONCE = 200
"""Hours read in one round trip: some 2 MB."""

Hours = dict[str, dict[int, int]]
"""Camera → start of the hour → bytes."""


class Usage:
    """Reads an hour again only when it holds another number of segments than before. Raises `Retriable`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, tuple[int, int]] = {}

    async def hours(self) -> dict[str, list[int]]:
        """Camera → starts of the hours of which anything is indexed, in order."""
        out: dict[str, list[int]] = {}
        for key in await self._keys():
            camera_id, hour_us = _parse(key)
            out.setdefault(camera_id, []).append(hour_us)
        return {camera_id: sorted(found) for camera_id, found in out.items()}

    async def bytes_by_hour(self) -> Hours:
        """All that is indexed."""
        keys = await self._keys()
        counts = dict(zip(keys, await self._counts(keys), strict=True))
        changed = [key for key in keys if self._known.get(key, (-1, 0))[0] != counts[key]]
        known = {key: self._known[key] for key in keys if key in self._known}
        for n in range(0, len(changed), _AT_ONCE):
            chunk = changed[n : n + _AT_ONCE]
            for key, members in zip(chunk, await self._members(chunk), strict=True):
                known[key] = (counts[key], _bytes_of(members))
        self._known = known
        out: Hours = {}
        for key, (_, size) in known.items():
            camera_id, hour_us = _parse(key)
            out.setdefault(camera_id, {})[hour_us] = size
        return out

    async def _keys(self) -> list[str]:
        out: set[str] = set()
        with redis_errors("finding the hours"):
            async for key in self._redis.scan_iter(match="dc1:seg:*", count=_SCAN_COUNT):
                out.add(cast("bytes", key).decode())
        return sorted(out)

    async def _counts(self, keys: Sequence[str]) -> list[int]:
        out: list[int] = []
        with redis_errors("counting segments"):
            for n in range(0, len(keys), _SCAN_COUNT):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for key in keys[n : n + _SCAN_COUNT]:
                        pipe.zcard(key)
                    out += cast("list[int]", await pipe.execute())
        return out

    async def _members(self, keys: Sequence[str]) -> list[list[bytes]]:
        with redis_errors("reading hours"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.zrange(key, 0, -1)
                return cast("list[list[bytes]]", await pipe.execute())


def _parse(key: str) -> tuple[str, int]:
    _, _, camera_id, hour = key.split(":")
    at = datetime(int(hour[:4]), int(hour[4:6]), int(hour[6:8]), int(hour[8:]), tzinfo=UTC)
    return camera_id, names.us_of(at)


def _bytes_of(members: Sequence[bytes]) -> int:
    return int(np.frombuffer(b"".join(members), dtype=MEMBER)["bytes"].sum(dtype=np.int64))
