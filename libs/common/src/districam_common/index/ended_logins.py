"""Logins to the api that were ended before they expired; the api's replicas share them through Redis."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis

from districam_common.contract import names
from districam_common.index.redis_client import open_pipeline, open_redis, translate_redis_errors
from districam_common.runtime.settings import RedisSettings

RETENTION_S = 24 * 3600
"""Longer than any login lasts, with a margin for hosts' clocks that differ by hours."""
_LOGIN = re.compile(r"[0-9a-f]{16}", re.ASCII)


class EndedLogins:
    """A sorted set of login ids; scores are the times at which the logins would have expired, µs UTC. The key expires too."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncGenerator["EndedLogins"]:
        async with open_redis(settings) as redis:
            yield cls(redis)

    async def read_all(self) -> dict[str, int]:
        """Login id → its original expiry, µs UTC; invalid ids are skipped. Raises Retriable: Redis is unavailable."""
        with translate_redis_errors("reading the ended logins"):
            rows = await self._redis.zrange(names.ENDED_LOGINS, 0, -1, withscores=True)
        found = {name.decode("latin-1"): round(score) for name, score in cast("list[tuple[bytes, float]]", rows)}
        return {login: expires_us for login, expires_us in found.items() if _LOGIN.fullmatch(login)}

    async def add(self, ended: Mapping[str, int], now_us: int) -> None:
        """Adds these, and removes those that expired long ago. Raises Retriable: Redis is unavailable or full."""
        async with open_pipeline(self._redis, "writing the ended logins", transaction=True) as pipe:
            pipe.zadd(names.ENDED_LOGINS, dict(ended))
            pipe.zremrangebyscore(names.ENDED_LOGINS, "-inf", now_us - RETENTION_S * 1_000_000)
            pipe.expire(names.ENDED_LOGINS, RETENTION_S)
            await pipe.execute()
