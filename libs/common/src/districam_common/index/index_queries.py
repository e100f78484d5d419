"""Questions to the index that several readings share, on a pipeline."""
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
"""The last member of each sorted set: one answer, where a pipeline of a district has a hundred."""

_MAX_LAST_SEGMENTS = 16
"""Segments of an hour that begin last: the one that ends last is among them, unless sixteen began after it."""


def queue_segment_reads(pipe: Pipeline, camera_id: str, from_us: int, to_us: int) -> None:
    """The camera's segments of each hour that may hold some of [from_us, to_us); an answer an hour, by start."""
    for hour in names.hours(from_us, to_us):
        key = names.segments_key(camera_id, hour)
        pipe.execute_command("ZRANGE", key, 0, -1, "WITHSCORES")  # undecoded: a day has 9,000


def queue_last_segment_reads(pipe: Pipeline, camera_id: str, end_us: int) -> None:
    """Two answers: the last segments that begin before `end_us` in its hour and in the one before."""
    for hour in names.hours(end_us - 1, end_us):
        key = names.segments_key(camera_id, hour)
        pipe.execute_command(
            "ZREVRANGEBYSCORE", key, f"({end_us}", "-inf", "WITHSCORES", "LIMIT", 0, _MAX_LAST_SEGMENTS
        )
