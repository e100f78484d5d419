"""Lua scripts that count the stored bytes of each hour (`dc1:used:CAMERA`) and of each camera (`dc1:used`).

The counts change in the transaction that adds or removes segments, so reading them needs no walk over the
hours. Indexers of an earlier version add segments without counting. `dc1:counted` therefore holds the offsets
of `segments` up to which the counts are right: it advances together with `dc1:applied`, but only from where
it is. Where it is lower than `dc1:applied`, such an indexer has written.
"""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping, Sequence

from redis.asyncio.client import Pipeline

from districam_common.contract import names
from districam_common.index.index_codec import parse_number
from districam_indexer.core.progress import TopicPartition

ADD_SEGMENTS_LUA = """#!lua
local added, bytes = false, 0
for n = 3, #ARGV, 2 do
  if redis.call('ZADD', KEYS[1], ARGV[n], ARGV[n + 1]) == 1 then
    added, bytes = true, bytes + struct.unpack('>I4', ARGV[n + 1], 29)
  end
end
if added then
  redis.call('HINCRBY', KEYS[2], ARGV[2], string.format('%.0f', bytes))
  redis.call('HINCRBY', KEYS[3], ARGV[1], string.format('%.0f', bytes))
end
"""
"""Adds segments to an hour and counts the new ones. Bytes 29 to 32 of a member (1-based) are its size
(`index.MEMBER`). Refused if Redis is at `maxmemory`, like the transaction that it is in. """

COUNT_HOURS_LUA = """#!lua flags=allow-oom
for n = 1, #ARGV / 2 do
  local camera, hour = ARGV[2 * n - 1], ARGV[2 * n]
  local members, bytes = redis.call('ZRANGE', KEYS[2 * n], 0, -1), 0
  for _, one in ipairs(members) do
    if #one == 35 then bytes = bytes + struct.unpack('>I4', one, 29) end
  end
  local used = KEYS[2 * n + 1]
  local before = tonumber(redis.call('HGET', used, hour) or '0')
  if #members > 0 then redis.call('HSET', used, hour, string.format('%.0f', bytes))
  else redis.call('HDEL', used, hour) end
  redis.call('HINCRBY', KEYS[1], camera, string.format('%.0f', bytes - before))
  if redis.call('EXISTS', used) == 0 then redis.call('HDEL', KEYS[1], camera) end
end
"""
"""Recounts hours from their members. Also runs at `maxmemory`, since eviction of an hour uses it."""

ADVANCE_POSITION_LUA = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
local before, after = tonumber(ARGV[2]), tonumber(ARGV[3])
if not known or known < after then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
local counted = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '')
if counted and counted >= before and counted < after then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
"""
"""Raises `dc1:applied`, never lowers it: a member that was removed from the group may still write its last
batch. `dc1:counted` follows if the counts were right up to `before`. """

BEGIN_COUNT_LUA = """
redis.call('DEL', KEYS[2])
local applied = redis.call('HGETALL', KEYS[1])
for n = 1, #applied, 2 do
  if string.sub(applied[n], 1, #ARGV[1]) == ARGV[1] then redis.call('HSET', KEYS[2], applied[n], applied[n + 1]) end
end
"""
"""Resets `dc1:counted` to the present `dc1:applied` of `segments`: later writes count themselves, earlier
ones must be recounted."""


def queue_add_segments(pipe: Pipeline, camera_id: str, hour: str, scored: Mapping[bytes, int]) -> None:
    """Queues the adding of an hour's segments: member → score."""
    rows = [part for member, score in scored.items() for part in (score, member)]
    keys = (names.segments_key_of(camera_id, hour), names.usage_key(camera_id), names.USAGE)
    pipe.eval(ADD_SEGMENTS_LUA, 3, *keys, camera_id, hour, *rows)


def queue_count_hours(pipe: Pipeline, hours: Sequence[tuple[str, str]]) -> None:
    """Queues a recount of these (camera, `hour_text`)."""
    keys = [
        key for camera_id, hour in hours for key in (names.segments_key_of(camera_id, hour), names.usage_key(camera_id))
    ]
    pipe.eval(COUNT_HOURS_LUA, 1 + len(keys), names.USAGE, *keys, *[part for one in hours for part in one])


def queue_advance_position(pipe: Pipeline, partition: TopicPartition, before: int, after: int) -> None:
    """Queues: the index holds all records below `after`, and those from `before` on are counted."""
    field = position_field(partition)
    pipe.eval(ADVANCE_POSITION_LUA, 2, names.APPLIED, names.USAGE_POSITION, field, str(before), str(after))


def queue_begin_count(pipe: Pipeline) -> None:
    """Queues the begin of a recount, which invalidates the counts until `build` is set in `dc1:counted`."""
    pipe.eval(BEGIN_COUNT_LUA, 2, names.APPLIED, names.USAGE_POSITION, f"{names.SEGMENTS}:")


def has_uncounted(counted: Mapping[bytes, bytes], applied: Mapping[bytes, bytes]) -> bool:
    """Whether segments were added without being counted, by an indexer of an earlier version."""
    segments_prefix = f"{names.SEGMENTS}:".encode()
    return any(
        _parse_offset(counted.get(field)) < _parse_offset(offset)
        for field, offset in applied.items()
        if field.startswith(segments_prefix)
    )


def _parse_offset(value: bytes | None) -> int:
    offset = parse_number(value, names.USAGE_POSITION)
    return -1 if offset is None else offset


def position_field(partition: TopicPartition) -> str:
    """The field of a partition in `dc1:applied` and `dc1:counted`."""
    return f"{partition[0]}:{partition[1]}"
