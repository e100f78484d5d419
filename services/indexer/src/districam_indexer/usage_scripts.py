"""How much is indexed, kept beside the index itself: bytes of each hour, and of each camera (`dc1:used`).

Whatever adds segments to an hour, or takes them out, changes the counts in the same transaction: nobody has to walk over
the hours to know them. An indexer of an earlier version adds segments and counts nothing. So it is kept up to which
offsets of `segments` the counts are right (`dc1:counted`): whoever writes records raises that with `dc1:applied`, but only
from where it stands, and where it has stayed behind `dc1:applied` somebody has written who did not count.
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
"""Members of an hour that stand there already count for nothing. Bytes 29 to 32 of one are its size (`index.MEMBER`).

Refused where Redis is at `maxmemory`, like the transaction it is in.
"""

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
"""The counts of these hours become what their members say, whatever they were; also where Redis is full: hours are dropped then."""

ADVANCE_POSITION_LUA = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
local before, after = tonumber(ARGV[2]), tonumber(ARGV[3])
if not known or known < after then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
local counted = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '')
if counted and counted >= before and counted < after then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
"""
"""`applied` never falls: a member that does not know yet that it is out may still write its last batch."""

BEGIN_COUNT_LUA = """
redis.call('DEL', KEYS[2])
local applied = redis.call('HGETALL', KEYS[1])
for n = 1, #applied, 2 do
  if string.sub(applied[n], 1, #ARGV[1]) == ARGV[1] then redis.call('HSET', KEYS[2], applied[n], applied[n + 1]) end
end
"""
"""What is written from now on, by whoever counts, is counted; what was written before is to be counted."""


def queue_add_segments(pipe: Pipeline, camera_id: str, hour: str, scored: Mapping[bytes, int]) -> None:
    """Segments of one hour, by their members."""
    rows = [part for member, score in scored.items() for part in (score, member)]
    keys = (names.segments_key_of(camera_id, hour), names.usage_key(camera_id), names.USAGE)
    pipe.eval(ADD_SEGMENTS_LUA, 3, *keys, camera_id, hour, *rows)


def queue_count_hours(pipe: Pipeline, hours: Sequence[tuple[str, str]]) -> None:
    """(camera, `hour_text`): counted anew."""
    keys = [
        key for camera_id, hour in hours for key in (names.segments_key_of(camera_id, hour), names.usage_key(camera_id))
    ]
    pipe.eval(COUNT_HOURS_LUA, 1 + len(keys), names.USAGE, *keys, *[part for one in hours for part in one])


def queue_advance_position(pipe: Pipeline, partition: TopicPartition, before: int, after: int) -> None:
    """The index holds all below `after`, and the counts what they had below `before` and all from there on."""
    field = position_field(partition)
    pipe.eval(ADVANCE_POSITION_LUA, 2, names.APPLIED, names.USAGE_POSITION, field, str(before), str(after))


def queue_begin_count(pipe: Pipeline) -> None:
    """Nobody believes the counts until `build` stands in `dc1:counted`."""
    pipe.eval(BEGIN_COUNT_LUA, 2, names.APPLIED, names.USAGE_POSITION, f"{names.SEGMENTS}:")


def has_uncounted(counted: Mapping[bytes, bytes], applied: Mapping[bytes, bytes]) -> bool:
    """Whether somebody has written segments who did not count them."""
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
    """Of a partition, in `dc1:applied` and `dc1:counted`."""
    return f"{partition[0]}:{partition[1]}"
