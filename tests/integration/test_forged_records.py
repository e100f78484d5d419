"""Records forged by another producer: their claims about footage are rejected, and nothing is lost."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, DeadLetter, FootageExpired, SegmentStored
from districam_common.contract.names import DAY_US
from districam_common.kafka.consumer import GroupConsumer, Partition, TopicReader
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings
from districam_common.s3 import cutover
from integration.test_indexer import District, district, until
from support.announcements import S, lost, segment

__all__ = ["district"]
REFUSED = "districam_indexer_expired_refused_total "
pytestmark = [pytest.mark.hostile, pytest.mark.timeout(120)]


def expired(district: District, from_us: int, to_us: int, instance: str = "forger") -> wire.Message:
    event = FootageExpired(
        camera_id=district.camera_id, at_us=to_us, instance=instance, from_us=from_us, to_us=to_us, reason="forged"
    )  # fmt: skip
    return wire.event_message(event, 1, site="local", service="indexer")


def footage(district: District) -> list[SegmentStored]:
    """Segments of three days ago, and of now."""
    now_us = SystemClock().now_us()
    starts = (now_us - 3 * DAY_US, now_us - 20 * S, now_us - 10 * S)
    return [segment(district.camera_id, first_seq=5 * n, start_us=at_us, size=100) for n, at_us in enumerate(starts)]


async def are_found(district: District, wanted: Sequence[SegmentStored]) -> bool:
    rows = await district.reader.segments(district.camera_id, wanted[0].start_us, wanted[-1].end_us + DAY_US)
    return segment_array.entries_from_array(rows) == [names.entry_of(one) for one in wanted]


async def dead_letters(district: District, kafka: KafkaSettings) -> list[DeadLetter]:
    """Dead letters about our camera; duplicates come from reading the topics again."""
    async with TopicReader.open(kafka, [names.DEADLETTERS]) as reader:
        found = [wire.decode_json(DeadLetter, record.value) for record in await reader.read_all()]
    return [one for one in found if one.key == district.camera_id]


async def has_refused(district: District, kafka: KafkaSettings, count: int) -> bool:
    return len(await dead_letters(district, kafka)) >= count


async def test_footage_with_a_forged_expiration_stays_in_the_index(district: District, kafka: KafkaSettings):
    await cutover.ensure(district.blobs, 0)
    now_us = SystemClock().now_us()
    stored = [await district.store(one) for one in footage(district)]
    forged = (
        (names.RETENTION, expired(district, 0, now_us + DAY_US)),
        (names.RETENTION, expired(district, 0, (1 << 53) - 1)),
        (names.STREAMS, expired(district, 0, now_us + DAY_US)),
        (names.STREAMS, expired(district, 0, now_us - 2 * DAY_US)),
        (names.RETENTION, wire.event_message(lost(now_us, district.camera_id), 1, site="local", service="ingest")),
    )  # fmt: skip
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await district.announce(stored[:2])
        for topic, message in forged:
            await district.publisher.publish(topic, message)
        await until(lambda: has_refused(district, kafka, len(forged)))
        await district.announce(stored[2:])
        await until(lambda: are_found(district, stored))
        await district.redis.flushall()
        await until(lambda: are_found(district, stored))
        await until(lambda: has_refused(district, kafka, 2 * len(forged)))
        assert (await district.reader.expired_intervals([district.camera_id]))[district.camera_id] == []
        assert await district.reader.events(district.camera_id) == []
        refused = [line for line in (await indexer.ask("/metrics")).splitlines() if line.startswith(REFUSED)]
    assert float(refused[0].split()[-1]) >= 8
    assert len({(one.topic, one.partition, one.offset) for one in await dead_letters(district, kafka)}) == len(forged)


async def test_expirations_on_streams_before_the_cutover_count_in_a_rebuilt_index_too(
    district: District, kafka: KafkaSettings
):
    """Expirations on the new topic always count."""
    now_us = SystemClock().now_us()
    first, second, third = (now_us - n * DAY_US for n in (9, 8, 7))
    ack = await district.publisher.publish(names.STREAMS, expired(district, 0, first, "indexer-1"))
    await cutover.ensure(district.blobs, ack.append_us)

    async def ranges() -> list[tuple[int, int]]:
        return (await district.reader.expired_intervals([district.camera_id]))[district.camera_id]

    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await district.publisher.publish(names.STREAMS, expired(district, 0, third))
        await district.publisher.publish(names.RETENTION, expired(district, first, second, "indexer-2"))
        await until(lambda: has_refused(district, kafka, 1))
        await until(lambda: _are(ranges, [(0, second)]))
        await district.redis.flushall()
        await until(lambda: _are(ranges, [(0, second)]))
        await until(lambda: has_refused(district, kafka, 2))
    found = json.loads(await district.blobs.get(names.CUTOVER))
    assert found == {"schema": 1, "streams_until_us": ack.append_us}


async def _are(ranges: Callable[[], Awaitable[list[tuple[int, int]]]], wanted: list[tuple[int, int]]) -> bool:
    return await ranges() == wanted


async def test_an_upgraded_site_gets_a_cutover_a_day_ahead_and_keeps_it(district: District):
    """Its other indexers keep publishing on `streams` until all are upgraded."""
    before_us = SystemClock().now_us()
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        found = await cutover.read(district.blobs)
        assert found is not None
        assert 0 <= found.streams_until_us - cutover.GRACE_US - before_us < 60 * S
        old_us = before_us - 2 * DAY_US
        await district.publisher.publish(names.STREAMS, expired(district, 0, old_us, "older-indexer"))
        await until(lambda: district.reader.events(district.camera_id))
        assert (await district.reader.expired_intervals([district.camera_id]))[district.camera_id] == [(0, old_us)]
        await indexer.stop_gracefully()
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        assert await cutover.read(district.blobs) == found


async def test_an_invalid_camera_record_leaves_the_last_valid_one(district: District, kafka: KafkaSettings):
    now_us = SystemClock().now_us()
    good = Camera(camera_id=district.camera_id, name="Cổng", url="rtsp://10.0.0.1/1", updated_us=now_us)
    forged = (
        replace(good, revision=2, url="file:///etc/passwd"),
        replace(good, revision=2, url="rtsp://viewer:S3cret@10.0.0.1/1"),
        replace(good, revision=2, name="x" * 301),
    )
    ahead = replace(good, revision=2, name="forged", updated_us=(1 << 53) - 1)
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        for one in (good, *forged):
            await district.publisher.publish(names.CAMERAS, wire.camera_message(one, site="local"))
        ack = await district.publisher.publish(names.CAMERAS, wire.camera_message(ahead, site="local"))
        last = replace(good, revision=3, name="Cổng chính", updated_us=ack.append_us + 1000)
        await district.publisher.publish(names.CAMERAS, wire.camera_message(last, site="local"))
        await until(lambda: _is(district, last))
        assert len(await district.reader.revisions(district.camera_id)) == 3
        await until(lambda: has_refused(district, kafka, len(forged)))
    rejections = await dead_letters(district, kafka)
    assert {one.topic for one in rejections} == {names.CAMERAS}
    assert not any("S3cret" in one.reason for one in rejections)


async def _is(district: District, wanted: Camera) -> bool:
    return (await district.reader.cameras()).get(district.camera_id) == wanted


async def test_the_topic_is_read_alongside_an_indexer_of_an_earlier_version(district: District, kafka: KafkaSettings):
    """The other one is in the same group and does not know the topic, even as the group's leader."""
    taken: set[Partition] = set()

    async def assigned(partitions: frozenset[Partition]) -> None:
        taken.clear()
        taken.update(partitions)
        for partition in partitions:
            older.seek(partition, 0)

    async def revoked(partitions: frozenset[Partition]) -> None:
        taken.difference_update(partitions)

    known = (names.SEGMENTS, names.STREAMS, names.KEYFRAMES)
    async with AsyncExitStack() as stack:
        older = await stack.enter_async_context(
            GroupConsumer.open(
                kafka,
                names.INDEXER_GROUP,
                known,
                "older",
                on_assigned=assigned,
                on_revoked=revoked,
                clock=SystemClock(),
            )
        )

        async def leads() -> bool:
            older.pause(taken)
            await older.poll(timeout_s=0.2)
            return bool(taken)

        await until(leads)
        indexer = await stack.enter_async_context(district.indexer())
        old_us = SystemClock().now_us() - 2 * DAY_US
        await district.publisher.publish(names.RETENTION, expired(district, 0, old_us, "indexer-2"))

        async def is_known() -> bool:
            await leads()
            return bool((await district.reader.expired_intervals([district.camera_id]))[district.camera_id])

        await until(is_known)
        assert {one.topic for one in taken} <= set(known)
        assert indexer.child.returncode is None
