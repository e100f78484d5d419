"""Names of topics, consumer groups, objects and Redis keys: built and parsed here alone."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from districam_common.contract.events import SegmentStored
from districam_common.contract.index_entry import LOSSY, STARTS_WITH_KEYFRAME, IndexEntry

CAMERAS = "districam.cameras.v1"
FRAGMENTS = "districam.fragments.v1"
KEYFRAMES = "districam.keyframes.v1"
SEGMENTS = "districam.segments.v1"
STREAMS = "districam.streams.v1"
RETENTION = "districam.retention.v1"
DEADLETTERS = "districam.deadletters.v1"
CLOCKS = "districam.clocks.v1"

INGEST_GROUP = "districam-ingest"
RECORDER_GROUP = "districam-recorder"

SITE_MARKER = "_districam/site.json"
CUTOVER = "_districam/retention.json"
HOLDS_PREFIX = "_districam/holds/"
RELEASED_PREFIX = "_districam/released/"
HOLD_EVENTS_PREFIX = "_districam/hold-events/"
PROBE_PREFIX = "_districam/probe/"

SCHEMA = "1"
"""Schema version of the whole index. Each schema has its own keys and consumer group, so that two versions can run
at the same time without touching each other's data (docs/adr/0016-an-index-for-each-schema.md)."""


def prefix_of(schema: str) -> str:
    """Prefix of all Redis keys of an index of that schema."""
    return f"dc{schema}:"


def indexer_group_of(schema: str) -> str:
    """Consumer group of the indexers that write the index of that schema."""
    return "districam-indexer" if schema == "1" else f"districam-indexer-{schema}"


PREFIX = prefix_of(SCHEMA)
INDEXER_GROUP = indexer_group_of(SCHEMA)

HOUR_US = 3_600_000_000
MAX_LOCK_H = 720
"""Maximum hours of S3 Object Lock on new footage (`recorder.lock_h`)."""
DAY_US = 24 * HOUR_US
SLOT_US = 10_000_000
"""Duration of one bit of the day bitmap."""

_MINUTE_US = 60_000_000
_EPOCH_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_SEGMENT_OBJECT_KEY = re.compile(
    r"([a-z0-9][a-z0-9-]{0,62})/(\d{4}-\d{2}-\d{2}/\d{2})/([0-5]\d)-([0-5]\d)\.(\d{6})Z"
    r"\.([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"\.(0|[1-9]\d{0,9})-(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,4})\.([0-9a-f]{2})\.mp4",
    re.ASCII,
)
_SEQ_MAX, _U32_MAX, _U16_MAX = 2**31 - 1, 2**32 - 1, 2**16 - 1
"""Limits of the fields of an index member (`segment_array.MEMBER_DTYPE`)."""


def utc(at_us: int) -> datetime:
    """An instant as an aware datetime, exact to the microsecond."""
    return _EPOCH_ORIGIN + timedelta(microseconds=at_us)


def format_rfc3339(at_us: int) -> str:
    """RFC 3339 in UTC with six decimals: `2026-11-24T14:47:00.000000Z`."""
    minute, us = divmod(at_us, _MINUTE_US)
    return f"{_minute(minute)}:{us // 1_000_000:02}.{us % 1_000_000:06}Z"


@lru_cache(maxsize=1 << 12)
def _minute(minute: int) -> str:
    """`2026-11-24T14:47` of a minute since 1970; cached, since one response formats each minute several times."""
    return utc(minute * _MINUTE_US).isoformat(timespec="minutes")[:16]


@lru_cache(maxsize=1 << 12)
def _minute_path(minute: int) -> str:
    """`2026-11-24/14/47`, as in object keys."""
    day, clock = _minute(minute).split("T")
    return f"{day}/{clock.replace(':', '/')}"


def datetime_to_us(instant: datetime) -> int:
    """Converts an aware datetime to microseconds since 1970 UTC.

    Raises:
        ValueError: the datetime has no zone.
    """
    if instant.tzinfo is None:
        raise ValueError("the instant has no time zone")
    return (instant - _EPOCH_ORIGIN) // timedelta(microseconds=1)


def parse_rfc3339(text: str) -> int:
    """Microseconds since 1970 UTC of an RFC 3339 instant with a zone.

    Raises:
        ValueError: not RFC 3339, or no zone.
    """
    return datetime_to_us(datetime.fromisoformat(text))


# ---- objects


@dataclass(frozen=True, slots=True)
class SegmentKeyFields:
    """The camera and the index entry that an object's key encodes (all but the object's size)."""

    camera_id: str
    entry: IndexEntry


def flags_of(*, starts_with_keyframe: bool, lossy: bool) -> int:
    """The flag byte of object keys and index members."""
    return (STARTS_WITH_KEYFRAME if starts_with_keyframe else 0) | (LOSSY if lossy else 0)


def segment_object_key(camera_id: str, entry: IndexEntry) -> str:
    """The object's key: sorts by time, depends on the content alone, and lets a LIST rebuild the index."""
    minute, us = divmod(entry.start_us, _MINUTE_US)
    return (
        f"{camera_id}/{_minute_path(minute)}-{us // 1_000_000:02}.{us % 1_000_000:06}Z.{entry.epoch}"
        f".{entry.first_seq}-{entry.last_seq}.{entry.end_us - entry.start_us}.{entry.init_bytes}.{entry.flags:02x}.mp4"
    )


def parse_segment_object_key(key: str, size: int) -> SegmentKeyFields:
    """The inverse of `segment_object_key`; `size` is the object's, which the key does not contain.

    Raises:
        ValueError: not the key of a segment that the index can hold.
    """
    match = _SEGMENT_OBJECT_KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"not a segment's key: {key!r}")
    camera_id, hour, minute, second, us, epoch, first, last, duration, init, flags = match.groups()
    start_us = _hour_us(hour) + (int(minute) * 60 + int(second)) * 1_000_000 + int(us)
    entry = IndexEntry(
        epoch=epoch,
        first_seq=int(first),
        last_seq=int(last),
        start_us=start_us,
        end_us=start_us + int(duration),
        bytes=size,
        init_bytes=int(init),
        flags=int(flags, 16),
    )
    if not _fits_index(entry):
        raise ValueError(f"out of bounds: {key!r} of {size} bytes")
    return SegmentKeyFields(camera_id, entry)


@lru_cache(maxsize=1 << 12)
def _hour_us(hour: str) -> int:
    """Start of an hour of object keys, `2026-11-24/14`; cached, since a listing names each hour hundreds of times."""
    day, _, clock = hour.partition("/")
    return parse_rfc3339(f"{day}T{clock}:00:00+00:00")


def _fits_index(entry: IndexEntry) -> bool:
    return (
        entry.first_seq <= entry.last_seq <= _SEQ_MAX
        and 0 <= entry.start_us <= entry.end_us <= entry.start_us + _U32_MAX
        and entry.bytes <= _U32_MAX
        and entry.init_bytes <= _U16_MAX
    )


def day_prefix(camera_id: str, at_us: int) -> str:
    """Prefix of the object keys of the camera's segments of that UTC day."""
    return f"{camera_id}/{utc(at_us).strftime('%Y-%m-%d')}/"


def hour_prefix(camera_id: str, at_us: int) -> str:
    """Prefix of the object keys of the camera's segments that start in the UTC hour of `at_us`."""
    return f"{camera_id}/{utc(at_us).strftime('%Y-%m-%d/%H')}/"


def parse_hour_prefix(prefix: str) -> int:
    """Start of the hour or day, µs UTC, whose prefix this is.

    Raises:
        ValueError: not a prefix of an hour or a day.
    """
    _, day, *hour = prefix.removesuffix("/").split("/")
    return _hour_us(f"{day}/{hour[0] if hour else '00'}")


def hold_events_key(hold_id: str) -> str:
    return f"{HOLD_EVENTS_PREFIX}{hold_id}.json"


_HOLD_KEY = re.compile(r".*/([0-9a-f]{16})\.json", re.ASCII)


def hold_key(hold_id: str) -> str:
    return f"{HOLDS_PREFIX}{hold_id}.json"


def parse_hold_key(key: str) -> str | None:
    """The id of the hold, released or not, whose key this is; None for other objects, such as a folder's marker."""
    match = _HOLD_KEY.fullmatch(key)
    is_ours = match is not None and key in (hold_key(match[1]), released_key(match[1]))
    return match[1] if match is not None and is_ours else None


def released_key(hold_id: str) -> str:
    """Key of the object (`ReleasedHold`) that replaces a hold's when it is released."""
    return f"{RELEASED_PREFIX}{hold_id}.json"


def entry_of(stored: SegmentStored) -> IndexEntry:
    """The index entry of an announced segment."""
    lossy = stored.lost_packets > 0 or stored.damaged > 0
    return IndexEntry(
        epoch=stored.epoch,
        first_seq=stored.first_seq,
        last_seq=stored.last_seq,
        start_us=stored.start_us,
        end_us=stored.end_us,
        bytes=stored.bytes,
        init_bytes=stored.init_bytes,
        flags=flags_of(starts_with_keyframe=stored.starts_with_keyframe, lossy=lossy),
    )


# ---- Redis


def format_hour(at_us: int) -> str:
    return utc(at_us).strftime("%Y%m%d%H")


def format_day(at_us: int) -> str:
    return utc(at_us).strftime("%Y%m%d")


def segments_key(camera_id: str, at_us: int) -> str:
    """The sorted set of the camera's segments that start in the hour of `at_us`."""
    return segments_key_of(camera_id, format_hour(at_us))


def segments_key_of(camera_id: str, hour: str) -> str:
    """As `segments_key`, with `hour` from `format_hour`: for reading the same hours of many cameras."""
    return f"{_SEGMENTS_PREFIX}{camera_id}:{hour}"


def parse_segments_key(key: str) -> tuple[str, str] | None:
    """Camera id and hour (as from `format_hour`) of a key made by `segments_key`; None for any other key."""
    match = _SEGMENTS_KEY_PATTERN.fullmatch(key)
    return (match[1], match[2]) if match is not None else None


def parse_hour(hour: str) -> int:
    """The inverse of `format_hour`: the start of the hour, µs UTC.

    Raises:
        ValueError: not ten digits of a valid hour.
    """
    if len(hour) != 10 or not (hour.isascii() and hour.isdigit()):
        raise ValueError(f"not an hour: {hour[:40]!r}")
    return datetime_to_us(datetime(int(hour[:4]), int(hour[4:6]), int(hour[6:8]), int(hour[8:]), tzinfo=UTC))


def usage_key(camera_id: str) -> str:
    """Hash: hour (`format_hour`) → bytes of the camera's segments that start in that hour."""
    return f"{USAGE}:{camera_id}"


def epochs_key(camera_id: str, at_us: int) -> str:
    """Hash: epoch → JSON of its codecs, width and height, by the UTC day in which its segments start."""
    return f"{PREFIX}epoch:{camera_id}:{format_day(at_us)}"


def day_key(camera_id: str, at_us: int) -> str:
    """Bitmap: a bit per `SLOT_US` of the UTC day, set if a segment touches it."""
    return day_key_of(camera_id, format_day(at_us))


def day_key_of(camera_id: str, day: str) -> str:
    """As `day_key`, with `day` from `format_day`: for reading the same days of many cameras."""
    return f"{PREFIX}day:{camera_id}:{day}"


def events_key(camera_id: str) -> str:
    """Sorted set of the camera's events; scores are `at_us`."""
    return f"{PREFIX}events:{camera_id}"


def expired_key(camera_id: str) -> str:
    """Ranges deleted by retention, from `FootageExpired` events: small, so that it can be read for many cameras at once."""
    return f"{PREFIX}expired:{camera_id}"


def format_interval(from_us: int, to_us: int) -> str:
    """A member of the sorted sets `dc1:expired:*`; its score is `to_us`."""
    return f"{from_us}-{to_us}"


def parse_interval(member: bytes) -> tuple[int, int]:
    from_us, _, to_us = member.decode().partition("-")
    return int(from_us), int(to_us)


def truncations_key(partition: int) -> str:
    """Sorted set of the `districam.partition.fell.v1` events of a partition of `fragments`."""
    return f"{PREFIX}fell:{partition}"


def still_key(camera_id: str) -> str:
    """Hash of the newest still: `jpeg`, `at_us`, `width`, `height`; expires after a minute."""
    return f"{PREFIX}still:{camera_id}"


def camera_key(camera_id: str) -> str:
    """Sorted set of all revisions of the camera's record."""
    return f"{PREFIX}cameras:{camera_id}"


CAMERA_IDS = f"{PREFIX}camera-ids"
"""Set of all camera ids ever indexed, so that no client has to SCAN the keyspace."""
LATEST = f"{PREFIX}latest"
MAX_CLOCK_AHEAD_US = 60_000_000
"""A segment that ends more than this after now was recorded by an ingest whose clock was ahead."""
APPLIED = f"{PREFIX}applied"
MARKS = f"{PREFIX}marks"
ENDED_LOGINS = f"{PREFIX}ended-logins"
WATERMARKS = f"{PREFIX}logged"
HOLDS = f"{PREFIX}holds"
HOLD_STATES = f"{PREFIX}hold-states"
META = f"{PREFIX}meta"
USAGE = f"{PREFIX}used"
"""Hash: camera → bytes of all its segments; the sum of its `usage_key`."""
USAGE_POSITION = f"{PREFIX}counted"
"""Hash: the index build for which `USAGE` is valid, and the offsets of `segments` up to which it counts."""
_SEGMENTS_PREFIX = f"{PREFIX}seg:"
_SEGMENTS_KEY_PATTERN = re.compile(
    rf"{_SEGMENTS_PREFIX}([a-z0-9][a-z0-9-]{{0,62}}):(\d{{4}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3]))",
    re.ASCII,
)


def hours(from_us: int, to_us: int) -> list[int]:
    """Starts of the hours whose segments may touch [from_us, to_us): the window's own, and the hour before it."""
    first = from_us // HOUR_US - 1
    last = (to_us - 1) // HOUR_US
    return [hour * HOUR_US for hour in range(first, last + 1)]


def slots(start_us: int, end_us: int) -> list[tuple[int, range]]:
    """Bits of the day bitmaps touched by [start_us, end_us): (start of the day in µs UTC, bit offsets) per day."""
    out: list[tuple[int, range]] = []
    first, last = start_us // SLOT_US, max(start_us, end_us - 1) // SLOT_US
    per_day = DAY_US // SLOT_US
    for day in range(first // per_day, last // per_day + 1):
        low, high = max(first, day * per_day), min(last, day * per_day + per_day - 1)
        out.append((day * DAY_US, range(low - day * per_day, high - day * per_day + 1)))
    return out


# ---- partitions


def partition_of(key: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner chooses (murmur2, as the Java client), for any client to compute."""
    return (_murmur2(key.encode()) & 0x7FFF_FFFF) % partitions  # Kafka's `Utils.toPositive`


def _murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, with the seed of Kafka's `Utils.murmur2`."""
    m, mask = 0x5BD1E995, 0xFFFF_FFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)
