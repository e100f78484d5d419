"""Index queries shared by several readers, queued on a pipeline."""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from redis.asyncio.client import Pipeline

from districam_common.contract import names

NEWEST_MEMBERS_LUA = """
local found = {}
for n = 1, #KEYS do
  found[n] = redis.call('ZRANGE', KEYS[n], -1, -1)[1] or false
end
return found
"""
"""The last member of each sorted set, in one reply, where a pipeline for all cameras would need one per camera."""

_MAX_LAST_SEGMENTS = 16
"""Segments read from the end of an hour: includes the one that ends last, unless sixteen began after it."""


def queue_segment_reads(pipe: Pipeline, camera_id: str, from_us: int, to_us: int) -> None:
    """Queues reading the camera's segments of each hour that may touch [from_us, to_us); one reply per hour, by start."""
    for hour in names.hours(from_us, to_us):
        key = names.segments_key(camera_id, hour)
        pipe.execute_command(
            "ZRANGE", key, 0, -1, "WITHSCORES"
        )  # raw reply: redis-py's parsing is slow for 9,000 a day


def queue_last_segment_reads(pipe: Pipeline, camera_id: str, end_us: int) -> None:
    """Queues reading the last segments that begin before `end_us`: two replies, for its hour and the hour before."""
    for hour in names.hours(end_us - 1, end_us):
        key = names.segments_key(camera_id, hour)
        pipe.execute_command(
            "ZREVRANGEBYSCORE", key, f"({end_us}", "-inf", "WITHSCORES", "LIMIT", 0, _MAX_LAST_SEGMENTS
        )
