"""Which logins to the api were ended before their time, as its replicas tell one another through Redis."""
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
"""Longer than any login: hosts' clocks may differ by hours."""
_LOGIN = re.compile(r"[0-9a-f]{16}", re.ASCII)


class EndedLogins:
    """A sorted set: the login's id, and as score when it would have expired, in µs. It expires as a whole, too."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RedisSettings) -> AsyncGenerator["EndedLogins"]:
        async with open_redis(settings) as redis:
            yield cls(redis)

    async def read_all(self) -> dict[str, int]:
        """All that Redis knows; what is no login's id is passed over. Raises Retriable: it is away."""
        with translate_redis_errors("reading which logins were ended"):
            rows = await self._redis.zrange(names.ENDED_LOGINS, 0, -1, withscores=True)
        found = {name.decode("latin-1"): round(score) for name, score in cast("list[tuple[bytes, float]]", rows)}
        return {login: expires_us for login, expires_us in found.items() if _LOGIN.fullmatch(login)}

    async def add(self, ended: Mapping[str, int], now_us: int) -> None:
        """Tells of these, and lets go of those that have long expired. Raises Retriable: it is away, or full."""
        async with open_pipeline(self._redis, "telling which logins were ended", transaction=True) as pipe:
            pipe.zadd(names.ENDED_LOGINS, dict(ended))
            pipe.zremrangebyscore(names.ENDED_LOGINS, "-inf", now_us - RETENTION_S * 1_000_000)
            pipe.expire(names.ENDED_LOGINS, RETENTION_S)
            await pipe.execute()
