"""The api's reader and the indexer's writer agree, on a real Valkey; also with concurrent writers and restored snapshots."""
# Redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, cast

import numpy as np
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, Connected, FootageExpired, PartitionTruncated
from districam_common.contract.media import Still
from districam_common.contract.names import HOUR_US
from districam_common.errors import Retriable
from districam_common.index.index_reader import EpochParameters, IndexReader, InstantState, Meta, ReadWithMeta
from districam_common.index.redis_client import open_redis
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition
from districam_common.ledger.expectation import Revision
from districam_common.ledger.ledger import LoggedEvent
from districam_common.runtime.settings import RedisSettings
from districam_devkit.servers import valkey
from districam_indexer.core.operations import Batch, to_batch
from districam_indexer.core.plan import plan_camera, plan_event, plan_still, plan_stored
from districam_indexer.gauges import compute_coverage
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexChanged, IndexWriter
from support.announcements import EPOCHS, NOON_US, S, lost, segment

CAMERA = Camera(camera_id="cam-1", name="Cổng chính", url="rtsp://10.0.0.1/1", revision=1, updated_us=NOON_US)
PLACE = (names.SEGMENTS, 3)


@dataclass(frozen=True)
class Index:
    """Reader and writers of one empty index."""

    redis: Redis
    writer: IndexWriter
    reader: IndexReader
    state: IndexState

    async def begin(self, build: str = "first") -> None:
        await self.state.clear(site="here", partitions=60)
        await self.state.begin(build, {Partition(*PLACE): 0})


@pytest_asyncio.fixture
async def empty(tmp_path: Path) -> AsyncGenerator[Index]:
    async with valkey.running(tmp_path, log_dir=tmp_path) as server, open_redis(RedisSettings(url=server.url)) as redis:
        yield Index(redis, IndexWriter(redis, still_ttl_s=60), IndexReader(redis), IndexState(redis))


async def test_segments_are_read_back_by_window_across_hours(empty: Index):
    await empty.begin()
    starts = [NOON_US - 3600 * S, NOON_US - 4 * S, NOON_US + 6 * S, NOON_US + 3600 * S]
    stored = [segment(first_seq=5 * n, start_us=start) for n, start in enumerate(starts)]
    batch = to_batch(operation for one in reversed(stored) for operation in plan_stored(one))
    await empty.writer.apply(batch, build="first")
    rows = await empty.reader.segments("cam-1", NOON_US, NOON_US + 3600 * S)
    assert segment_array.entries_from_array(rows) == [names.entry_of(one) for one in stored[1:3]]
    assert len(await empty.reader.segments("cam-1", NOON_US + 20 * S, NOON_US + 3600 * S)) == 0
    assert len(await empty.reader.segments("cam-2", NOON_US, NOON_US + S)) == 0
    assert await empty.reader.latest_ends_us() == {"cam-1": stored[-1].end_us}
    assert await empty.reader.epoch_parameters("cam-1", NOON_US, NOON_US + S) == {
        EPOCHS[0]: EpochParameters("avc1.640020", 1920, 1080)
    }


async def test_the_newest_segment_that_ended_before_an_instant_is_found(empty: Index):
    await empty.begin()
    for hours in (-30, -2, 7):
        stored = segment(start_us=NOON_US + hours * 3600 * S)
        await empty.writer.apply(to_batch(plan_stored(stored)), build="first")
    newest_end_us = empty.reader.newest_end_us
    assert await newest_end_us("cam-1", NOON_US) == NOON_US - 2 * 3600 * S + 10 * S
    assert await newest_end_us("cam-1", NOON_US - 2 * 3600 * S + 9 * S) is None  # within the same day
    assert await newest_end_us("cam-2", NOON_US) is None


async def test_day_bitmaps_have_a_bit_for_each_ten_seconds_touched(empty: Index):
    await empty.begin()
    await empty.writer.apply(to_batch(plan_stored(segment(start_us=NOON_US + 5 * S))), build="first")
    (bitmap,) = (await empty.reader.day_bitmaps(["cam-1"], NOON_US, NOON_US + S))["cam-1"]
    (slots,) = np.nonzero(np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8)))
    assert slots.tolist() == [4320, 4321]


async def test_events_cameras_and_truncations_are_read_back(empty: Index):
    await empty.begin()
    newer = replace(CAMERA, revision=2, updated_us=NOON_US + S, enabled=False)
    fell = PartitionTruncated(partition=7, at_us=NOON_US, instance="host-1", from_us=NOON_US - S, to_us=NOON_US)
    later, earlier = lost(NOON_US + 9 * S), lost(NOON_US)
    operations = [
        *plan_camera(newer, NOON_US + S),
        *plan_camera(CAMERA, NOON_US),
        *plan_event(later, NOON_US + 10 * S),
        *plan_event(earlier, NOON_US + 2 * S),
        *plan_event(fell, NOON_US),
    ]
    await empty.writer.apply(to_batch(operations), build="first")
    assert await empty.reader.revisions("cam-1") == [CAMERA, newer]
    assert await empty.reader.cameras() == {"cam-1": newer}
    assert await empty.reader.events("cam-1") == [
        LoggedEvent(earlier, NOON_US + 2 * S),
        LoggedEvent(later, NOON_US + 10 * S),
    ]
    theirs = next(one for one in map("cam-{}".format, range(1000)) if names.partition_of(one, 60) == 7)
    assert (await empty.reader.ledger_inputs(theirs, 60, 0, 0)).truncations == [fell]
    assert await empty.reader.camera_ids() == {"cam-1"}


@pytest.mark.correctness
async def test_a_revision_indexed_without_append_time_gets_it(empty: Index):
    await empty.begin()
    newer = replace(CAMERA, revision=2, updated_us=NOON_US + S, enabled=False)
    for camera in (CAMERA, newer):  # as older versions wrote them
        await empty.redis.zadd(names.camera_key("cam-1"), {wire.encode_json(camera): camera.updated_us})
    await empty.writer.apply(to_batch(plan_camera(newer, NOON_US + 9 * S)), build="first")
    known = (await empty.reader.ledger_inputs("cam-1", 60, NOON_US, NOON_US + S)).revisions
    assert known == [Revision(CAMERA), Revision(newer, NOON_US + 9 * S)]
    assert await empty.reader.revisions("cam-1") == [CAMERA, newer]
    assert await empty.reader.cameras() == {"cam-1": newer}


async def test_the_newest_still_expires_after_a_minute(empty: Index):
    await empty.begin()
    new = Still(camera_id="cam-1", epoch=EPOCHS[0], seq=3, at_us=NOON_US, width=640, height=360, jpeg=b"\xff\xd8new")
    for still in (new, replace(new, at_us=NOON_US - S, jpeg=b"\xff\xd8old")):
        await empty.writer.apply(to_batch(plan_still(still)), build="first")
    found = await empty.reader.still("cam-1")
    assert found is not None
    assert (found.jpeg, found.at_us, found.width, found.height) == (b"\xff\xd8new", NOON_US, 640, 360)
    assert 0 < await empty.redis.ttl(names.still_key("cam-1")) <= 60
    assert await empty.reader.still("cam-2") is None


async def test_offsets_advance_with_the_index_and_never_decrease(empty: Index):
    await empty.begin()
    await empty.writer.apply(to_batch(plan_stored(segment())), build="first", offset_changes={PLACE: (0, 8)})
    await empty.writer.apply(
        Batch(), build="first", offset_changes={PLACE: (0, 5)}
    )  # by an indexer that was already running
    assert (await empty.writer.read_positions())[PLACE] == 8


async def test_marks_are_kept_with_the_offsets_until_found_truncated(empty: Index):
    await empty.begin()
    read = (Mark(7, NOON_US, "cam-1/key.mp4"), Mark(3, NOON_US - S, ""))
    await empty.writer.apply(Batch(), build="first", offset_changes={PLACE: (0, 8)}, read_marks={PLACE: read})
    assert await empty.writer.read_marks() == {PLACE: read}
    place = Partition(*PLACE)
    await empty.writer.set_positions({place: 4}, {place: read[1:]}, build="first")
    assert await empty.writer.read_marks() == {PLACE: read[1:]}
    assert (await empty.writer.read_positions())[PLACE] == 4
    await empty.redis.hset(names.MARKS, "t:1", "spoilt")
    assert (await empty.writer.read_marks())["t", 1] == ()
    await empty.begin("second")
    assert await empty.writer.read_marks() == {}


async def test_an_index_restored_from_a_backup_is_not_written_to(empty: Index):
    await empty.begin()
    with pytest.raises(IndexChanged, match="set back"):
        await empty.writer.apply(to_batch(plan_stored(segment())), build="first", offset_changes={PLACE: (5, 8)})
    assert await empty.reader.latest_ends_us() == {}


async def test_an_emptied_or_rebuilt_index_is_not_written_to(empty: Index):
    await empty.begin()
    await empty.begin("second")
    batch = to_batch(plan_stored(segment()))
    with pytest.raises(IndexChanged):
        await empty.writer.apply(batch, build="first", offset_changes={PLACE: (0, 1)})
    await empty.redis.flushall()
    with pytest.raises(IndexChanged):
        await empty.writer.apply(batch, build="second", offset_changes={PLACE: (0, 1)})
    assert await empty.redis.dbsize() == 0


async def test_the_reader_detects_a_running_rebuild(empty: Index):
    assert await empty.reader.meta() is None
    assert await empty.reader.watermark_us("cam-1") == 0
    await empty.begin()
    await empty.state.write_progress({"step": "objects", "objects": 17}, build="first")
    meta = await empty.reader.meta()
    assert meta is not None
    assert (meta.is_ready, meta.progress["objects"], meta.partitions, meta.site) == (False, 17, 60, "here")
    await empty.state.finish(build="first")
    meta = await empty.reader.meta()
    assert meta is not None
    assert meta.is_ready


async def test_watermarks_are_read_by_camera_and_never_decrease(empty: Index):
    await empty.begin()
    partition = names.partition_of("cam-1", 60)
    for log_us in (NOON_US, NOON_US - S):
        await empty.writer.advance_watermarks(lambda _applied, _logged, at=log_us: {partition: at}, build="first")
    assert await empty.reader.watermark_us("cam-1") == NOON_US
    assert await empty.reader.watermarks_us() == {partition: NOON_US}


async def test_ledger_inputs_agree_with_the_single_reads(empty: Index):
    await empty.begin()
    partition = names.partition_of("cam-1", 60)
    fell = PartitionTruncated(partition=partition, at_us=NOON_US, instance="host-1", from_us=NOON_US - S, to_us=NOON_US)
    other = replace(fell, partition=partition + 1)
    stored = [segment(first_seq=5 * n, start_us=NOON_US + 10 * n * S) for n in range(3)]
    operations = [
        *plan_camera(CAMERA, NOON_US),
        *plan_event(lost(NOON_US), NOON_US + 2 * S),
        *plan_event(fell, NOON_US),
        *plan_event(other, NOON_US),
        *(operation for one in stored for operation in plan_stored(one)),
    ]
    await empty.writer.apply(to_batch(operations), build="first")
    await empty.writer.advance_watermarks(lambda _applied, _logged: {partition: NOON_US}, build="first")
    window = NOON_US + 10 * S, NOON_US + 12 * S
    found = await empty.reader.ledger_inputs("cam-1", 60, *window)
    assert (found.log_us, found.revisions, found.truncations) == (NOON_US, [Revision(CAMERA, NOON_US)], [fell])
    assert found.events == await empty.reader.events("cam-1") == [LoggedEvent(lost(NOON_US), NOON_US + 2 * S)]
    assert segment_array.entries_from_array(found.segments) == [names.entry_of(stored[1])]
    assert found.meta == await empty.reader.meta()
    assert found.meta is not None
    unknown = await empty.reader.ledger_inputs("cam-2", 60, *window)
    assert (unknown.revisions, unknown.events, len(unknown.segments)) == ([], [], 0)


class Piecemeal:
    """A client whose pipelines allow other writes after each command; `between` is called with the number executed."""

    def __init__(self, redis: Redis, between: Callable[[int], Awaitable[None]]) -> None:
        self._redis = redis
        self._between = between
        self._asked: list[Callable[[], Awaitable[object]]] = []

    def pipeline(self, *, transaction: bool) -> "Piecemeal":
        assert not transaction
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        command = getattr(self._redis, name)
        return lambda *args, **options: self._asked.append(lambda: command(*args, **options))

    async def execute(self) -> list[object]:
        answers: list[object] = []
        for asked in self._asked:
            answers.append(await asked())
            await self._between(len(answers))
        self._asked.clear()
        return answers


async def test_the_watermark_is_read_before_what_it_covers(empty: Index):
    await empty.begin()
    partition = names.partition_of("cam-1", 60)

    async def write(n: int) -> None:
        """Writes another segment, then advances the watermark."""
        one = segment(first_seq=5 * n, start_us=NOON_US + 10 * n * S)
        await empty.writer.apply(to_batch(plan_stored(one)), build="first")
        await empty.writer.advance_watermarks(lambda _applied, _logged: {partition: one.end_us}, build="first")

    await write(0)
    reader = IndexReader(cast("Redis", Piecemeal(empty.redis, write)))
    found = await reader.ledger_inputs("cam-1", 60, NOON_US, NOON_US + S)
    assert found.log_us == NOON_US + 10 * S
    found = await reader.ledger_inputs("cam-1", 60, NOON_US, NOON_US + 3600 * S)
    assert found.segments["end_us"].max() >= found.log_us > NOON_US + 10 * S


async def _known(reader: IndexReader) -> Meta | None:
    return (await reader.ledger_inputs("cam-1", 60, NOON_US, NOON_US + S)).meta


async def _at(reader: IndexReader) -> Meta | None:
    return (await reader.states_at(["cam-1"], NOON_US)).meta_after


async def _framed_cameras(reader: IndexReader) -> Meta | None:
    return (await reader.cameras_with_meta()).meta_after


async def test_a_rebuild_during_a_read_is_detected(empty: Index):
    for read in (_known, _at, _framed_cameras):
        builds: list[str] = []
        for place in range(1, 20):
            await empty.begin("first")
            last = 0

            async def between(done: int, place: int = place) -> None:
                nonlocal last
                last = done
                if done == place:
                    await empty.begin("second")

            found = await read(IndexReader(cast("Redis", Piecemeal(empty.redis, between))))
            assert found is not None
            builds.append(found.build)
            if last <= place:
                break
        assert len(builds) > 1, read
        assert set(builds[:-1]) == {"second"}, read


async def test_a_value_has_the_metadata_before_and_after_its_read(empty: Index):
    nothing = await empty.reader.cameras_with_meta()
    assert (nothing.meta_before, nothing.value, nothing.meta_after) == (None, {}, None)
    await empty.begin()
    operations = [*plan_camera(CAMERA, NOON_US), *plan_stored(segment(start_us=NOON_US))]
    await empty.writer.apply(to_batch(operations), build="first")
    meta = await empty.reader.meta()
    assert meta is not None
    assert await empty.reader.cameras_with_meta() == ReadWithMeta(meta, {"cam-1": CAMERA}, meta)
    seen = await empty.reader.states_at(["cam-1", "cam-2"], NOON_US + S)
    assert (seen.meta_before, seen.meta_after) == (meta, meta)
    assert seen.value == {
        "cam-1": InstantState(is_stored=True, is_expired=False),
        "cam-2": InstantState(is_stored=False, is_expired=False),
    }


async def test_states_at_an_instant_are_exact_to_the_microsecond(empty: Index):
    await empty.begin()
    hour_us = NOON_US // HOUR_US * HOUR_US
    stored = segment(start_us=hour_us - S, duration_us=10 * S)  # stored under the hour before
    gone = FootageExpired(
        camera_id="cam-1", at_us=NOON_US, instance="indexer-1", from_us=hour_us, to_us=hour_us + 2 * S, reason="old"
    )
    operations = [*plan_stored(stored), *plan_event(gone, NOON_US)]
    await empty.writer.apply(to_batch(operations), build="first")
    await empty.redis.zadd(names.segments_key("cam-1", hour_us), {b"no member": hour_us})
    seen = [
        (await empty.reader.states_at(["cam-1"], at_us)).value["cam-1"]
        for edge_us in (hour_us - S, hour_us, hour_us + 2 * S, hour_us + 9 * S)
        for at_us in (edge_us - 1, edge_us)
    ]
    assert seen == [
        InstantState(is_stored=is_stored, is_expired=is_expired)
        for is_stored, is_expired in (
            (False, False), (True, False), (True, False), (True, True),
            (True, True), (True, False), (True, False), (False, False),
        )
    ]  # fmt: skip


async def test_clearing_the_index_keeps_only_holds(empty: Index):
    await empty.begin()
    await empty.redis.hset(names.HOLDS, "h1", "{}")
    operations = [*plan_stored(segment()), *plan_event(lost(), NOON_US), *plan_camera(CAMERA, NOON_US)]
    await empty.writer.apply(to_batch(operations), build="first")
    await empty.state.clear(site="here", partitions=60)
    assert set(await empty.redis.keys()) == {names.META.encode(), names.HOLDS.encode()}


async def test_only_one_indexer_rebuilds_at_a_time(empty: Index):
    assert await empty.state.acquire_rebuild_lock("a", 30)
    assert not await empty.state.acquire_rebuild_lock("b", 30)
    assert await empty.state.acquire_rebuild_lock("a", 30)
    await empty.state.release_rebuild_lock("b")
    assert not await empty.state.acquire_rebuild_lock("b", 30)
    await empty.state.release_rebuild_lock("a")
    assert await empty.state.acquire_rebuild_lock("b", 30)


async def test_without_redis_every_method_raises_retriable(tmp_path: Path):
    async with valkey.running(tmp_path, log_dir=tmp_path) as server:
        url = server.url
    async with open_redis(RedisSettings(url=url, timeout_s=1)) as redis:
        with pytest.raises(Retriable):
            await IndexReader(redis).meta()
        with pytest.raises(Retriable):
            await IndexReader(redis).segments("cam-1", NOON_US, NOON_US + S)
        with pytest.raises(Retriable):
            await IndexWriter(redis, still_ttl_s=60).apply(Batch(), build="first")


async def test_positions_are_confirmed_only_if_unchanged(empty: Index):
    await empty.begin()
    await empty.writer.apply(Batch(), build="first", offset_changes={PLACE: (0, 8)})
    await empty.writer.verify_positions({PLACE: 8}, build="first")
    with pytest.raises(IndexChanged, match="set back"):
        await empty.writer.verify_positions({PLACE: 9}, build="first")
    with pytest.raises(IndexChanged):
        await empty.writer.verify_positions({PLACE: 8}, build="second")


async def test_coverage_is_recorded_time_over_expected_time(empty: Index):
    await empty.begin()
    await empty.state.finish(build="first")
    hour_us = 3600 * S
    connected = Connected(
        camera_id="cam-1",
        at_us=NOON_US - 2 * hour_us,
        instance="host-1",
        epoch=EPOCHS[0],
        reader="auto",
        transport="tcp",
        codecs="avc1.640020",
        width=1920,
        height=1080,
    )
    enabled = replace(CAMERA, updated_us=NOON_US - 2 * hour_us)
    half = segment(start_us=NOON_US - hour_us, duration_us=hour_us // 2)
    operations = [*plan_camera(enabled, enabled.updated_us), *plan_event(connected, NOON_US), *plan_stored(half)]
    await empty.writer.apply(to_batch(operations), build="first")
    await empty.writer.advance_watermarks(
        lambda _applied, _logged: {names.partition_of("cam-1", 60): NOON_US}, build="first"
    )
    known = await empty.reader.ledger_inputs("cam-1", 60, NOON_US - 2 * hour_us, NOON_US + hour_us)
    found = compute_coverage(known, NOON_US - hour_us, NOON_US, settle_us=0)
    assert found.recorded_ratio == pytest.approx(0.5)
    assert found.gap_s == {"service_down": pytest.approx(1800)}
