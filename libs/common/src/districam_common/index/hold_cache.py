"""Writes the holds' cache in Redis; the bucket is their place of record, and `IndexReader` reads the cache."""

from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from districam_common.contract import names, wire
from districam_common.index.redis_client import translate_redis_errors
from districam_common.ledger.holds import Hold, HoldState, encode_cached_hold


class HoldCache:
    """The holds by which footage is listed as held, and how far the indexer has applied each. Every call may be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, hold: Hold) -> None:
        """Lists a hold at once; the indexer's next round does the same."""
        await self.put_encoded({hold.id: encode_cached_hold(hold)})

    async def put_encoded(self, holds: Mapping[str, bytes]) -> None:
        """Lists holds by id, as `encode_cached_hold` encodes them."""
        if holds:
            with translate_redis_errors("caching holds"):
                await self._redis.hset(names.HOLDS, mapping={**holds})

    async def put_state(self, hold_id: str, state: HoldState) -> None:
        with translate_redis_errors("caching the state of a hold"):
            await self._redis.hset(names.HOLD_STATES, hold_id, wire.encode_json(state))

    async def delete(self, hold_ids: Collection[str]) -> None:
        """Removes holds and their states."""
        if hold_ids:
            with translate_redis_errors("removing holds from the cache"):
                await self._redis.hdel(names.HOLDS, *hold_ids)
                await self._redis.hdel(names.HOLD_STATES, *hold_ids)
