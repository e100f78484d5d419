"""The recorder as a process on real Kafka and S3: stored and announced segments under all kinds of disturbances."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition
from pydantic import SecretStr

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, PartitionTruncated, SegmentStored
from districam_common.contract.media import Fragment
from districam_common.kafka import topics
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.consumer import Committed, KafkaInspector, Partition, Record, TopicReader
from districam_common.kafka.producer import Ack, Publisher
from districam_common.runtime.settings import KafkaSettings, S3Settings, TopicsSettings
from districam_common.s3.blobs import Blobs
from districam_devkit.servers import Servers, seaweedfs
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.checkpoint import decode_checkpoint
from districam_recorder.core.objects import build_object, decode_metadata, encode_metadata
from districam_recorder.core.partition_log import MAX_FRAGMENT_DELAY_US
from integration.conftest import a_bucket
from support.fragments import S, fragment

pytestmark = pytest.mark.timeout(120)

SITE = "local"
QUICK = {
    "DISTRICAM_RECORDER__IDLE_S": "2",
    "DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "0.3",
    "DISTRICAM_RECORDER__CONTACT_S": "0",
    "DISTRICAM_RECORDER__DRAIN_S": "5",
    "DISTRICAM_HEALTH__PORT": "0",
    "DISTRICAM_LOG__FORMAT": "json",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
    "DISTRICAM_KAFKA__HEARTBEAT_S": "0.5",
    "DISTRICAM_KAFKA__REQUEST_TIMEOUT_S": "5",
}


@dataclass
class Bench:
    """A bucket and a publisher; the broker's topics are shared, so cameras have unique names."""

    kafka: KafkaSettings
    s3: S3Settings
    blobs: Blobs
    publisher: Publisher
    env: dict[str, str]
    folder: Path
    cameras: list[str] = field(default_factory=list[str])
    published: list[tuple[Fragment, Ack]] = field(default_factory=list[tuple[Fragment, Ack]])

    def camera(self) -> str:
        self.cameras.append(f"cam-{uuid.uuid4().hex[:10]}")
        return self.cameras[-1]

    def epoch(self) -> str:
        return str(uuid.uuid4())

    async def publish(self, *fragments: Fragment) -> list[Ack]:
        acks: list[Ack] = []
        for one in fragments:
            message = wire.fragment_message(one, site=SITE)
            acks.append(await self.publisher.publish(names.FRAGMENTS, message))
            self.published.append((one, acks[-1]))
        return acks

    async def delete_before(self, ack: Ack) -> None:
        """Deletes records as retention does."""
        partition = TopicPartition(names.FRAGMENTS, ack.partition)
        async with open_admin_client(self.kafka, "tests") as admin:
            await admin.delete_records({partition: RecordsToDelete(before_offset=ack.offset)})

    async def read(self, topic: str) -> list[Record]:
        async with TopicReader.open(self.kafka, [topic]) as reader:
            return await reader.read_all()

    async def announced(self) -> list[SegmentStored]:
        """This bench's announcements in order."""
        records = await self.read(names.SEGMENTS)
        ours = [record for record in records if (record.key or b"").decode() in self.cameras]
        return [wire.decode_stored(record.key, record.headers, record.value) for record in ours]

    async def committed(self, partition: int) -> Committed:
        asked = Partition(names.FRAGMENTS, partition)
        async with KafkaInspector.open(self.kafka) as groups:
            return (await groups.committed(names.RECORDER_GROUP, [asked]))[asked] or Committed(0, "")

    async def until_recorded(self, *, timeout_s: float = 40) -> list[SegmentStored]:
        """Waits until every published fragment is announced."""
        wanted = {(one.info.epoch, one.info.seq) for one, _ in self.published}
        stored: list[SegmentStored] = []
        try:
            async with asyncio.timeout(timeout_s):
                while fragments_of(stored := await self.announced()) != wanted:
                    await asyncio.sleep(0.2)
        except TimeoutError:
            missing = sorted(wanted - fragments_of(stored))
            raise AssertionError(f"missing {len(missing)}, such as {missing[:5]}; {self.logs()}") from None
        return stored

    async def until_committed(self, timeout_s: float = 15) -> None:
        """Waits until everything published is committed."""
        last = {ack.partition: ack.offset for _, ack in self.published}
        async with asyncio.timeout(timeout_s):
            for partition, offset in last.items():
                while (await self.committed(partition)).offset <= offset:
                    await asyncio.sleep(0.1)

    async def check_objects(self, stored: list[SegmentStored]) -> None:
        """Every announced object exists, has exactly its announced fragments, and matching metadata."""
        by_seq = {(one.info.epoch, one.info.seq): one for one, _ in self.published}
        for segment in {segment.key: segment for segment in stored}.values():
            seqs = range(segment.first_seq, segment.last_seq + 1)
            fragments = [by_seq[segment.epoch, seq] for seq in seqs]
            body = await self.blobs.get(segment.key)
            assert body == fragments[0].init + b"".join(one.media for one in fragments)
            head = await self.blobs.head(segment.key)
            assert head is not None
            assert decode_metadata(head.metadata) == segment
            assert head.metadata["schema"] == "1"

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("recorder-*.log")))


def fragments_of(stored: list[SegmentStored]) -> set[tuple[str, int]]:
    return {(one.epoch, seq) for one in stored for seq in range(one.first_seq, one.last_seq + 1)}


async def mark(blobs: Blobs, site: str) -> None:
    body = json.dumps({"site": site, "created": "2026-11-24T00:00:00Z", "schema": 1}).encode()
    sha256 = hashlib.sha256(body).hexdigest()
    await blobs.put(names.SITE_MARKER, [body], content_type="application/json", metadata={}, sha256=sha256, once=False)


@pytest.fixture
async def bench(servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path) -> AsyncGenerator[Bench]:
    wanted = topics.declared_topics(TopicsSettings())
    async with open_admin_client(kafka, "tests") as admin:
        found = await topics.describe_topics(admin, wanted, 10)
        await topics.apply(admin, topics.plan(wanted, found), found, 10)
    env = {**servers.environment(), **QUICK, "DISTRICAM_S3__BUCKET": s3.bucket, "DISTRICAM_S3__TIMEOUT_S": "3"}
    async with a_bucket(s3) as blobs, Publisher.open(kafka, "tests") as publisher:
        await mark(blobs, SITE)
        yield Bench(kafka, s3, blobs, publisher, env, tmp_path)


class Recorder:
    """A recorder process."""

    def __init__(self, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self._process = process
        self._log_path = log_path

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._log_path.read_text().splitlines() if line[:1] == "{"]

    async def until_logged(self, event: str, timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while event not in self.events():
                await asyncio.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self, timeout_s: float = 30) -> int:
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()


@asynccontextmanager
async def recorder(bench: Bench, **env: str) -> AsyncGenerator[Recorder]:
    log_path = bench.folder / f"recorder-{uuid.uuid4().hex[:6]}.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "districam_recorder"),
            env={**os.environ, **bench.env, **env},
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield Recorder(process, log_path)
    finally:
        if process.returncode is None:
            process.terminate()  # leaves the group, so that the next one need not wait for the session timeout
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def ranges(stored: list[SegmentStored], epoch: str) -> list[tuple[int, int]]:
    return [(one.first_seq, one.last_seq) for one in stored if one.epoch == epoch]


async def test_cuts_holes_duplicates_ends_and_garbage(bench: Bench):
    a, b = bench.camera(), bench.camera()
    first, second, third = bench.epoch(), bench.epoch(), bench.epoch()
    cut = [fragment(a, first, seq, starts=seq % 3 == 0, ends="segment" if seq % 3 == 2 else None) for seq in range(6)]
    await bench.publish(*cut[:5], cut[3], cut[4], cut[5])  # two duplicates
    await bench.publish(fragment(b, second, 0, starts=True), fragment(a, third, 0, starts=True))
    await bench.publish(fragment(b, second, 1), fragment(b, second, 4), fragment(b, second, 5, ends="epoch"))
    poison = replace(wire.fragment_message(fragment(b, second, 6), site=SITE), value=b"no boxes")
    poisoned = await bench.publisher.publish(names.FRAGMENTS, poison)
    foreign = wire.fragment_message(fragment("../elsewhere", second, 7), site=SITE)
    await bench.publisher.publish(names.FRAGMENTS, foreign)
    await bench.publish(fragment(a, third, 1))  # without an end mark: it closes after the idle time
    async with recorder(bench) as running:
        stored = await bench.until_recorded()
        await bench.until_committed()
        assert await running.stop() == 0
    assert ranges(stored, first) == [(0, 2), (3, 5)]
    assert ranges(stored, second) == [(0, 1), (4, 5)]
    assert ranges(stored, third) == [(0, 1)]
    await bench.check_objects(stored)
    listed = [one.key async for one in bench.blobs.list(f"{a}/")]
    assert listed == sorted(one.key for one in stored if one.camera_id == a)
    dead_letters = [wire.decode_json(DeadLetter, record.value) for record in await bench.read(names.DEADLETTERS)]
    (letter,) = [letter for letter in dead_letters if letter.key == b]
    assert (letter.topic, letter.partition, letter.offset) == (names.FRAGMENTS, poisoned.partition, poisoned.offset)
    assert "../elsewhere" in {letter.key for letter in dead_letters}
    assert letter.service == "recorder"
    assert "moof" in letter.reason


async def test_log_us_follows_the_broker_clock_when_all_is_stored(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    (ack,) = await bench.publish(fragment(camera, epoch, 0, starts=True, ends="epoch"))
    async with recorder(bench):
        await bench.until_recorded()
        await bench.until_committed()
        async with asyncio.timeout(15):
            while decode_checkpoint((await bench.committed(ack.partition)).metadata).log_us < ack.append_us + 2 * S:
                await asyncio.sleep(0.1)


async def test_log_us_does_not_advance_until_contact_is_old_enough(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    (ack,) = await bench.publish(fragment(camera, epoch, 0, starts=True, ends="epoch"))
    before = decode_checkpoint((await bench.committed(ack.partition)).metadata).log_us
    async with recorder(bench, DISTRICAM_RECORDER__CONTACT_S="60"):
        await bench.until_recorded()
        await bench.until_committed()
    assert decode_checkpoint((await bench.committed(ack.partition)).metadata).log_us == before


async def flow(
    bench: Bench, cameras: int, seqs: int, pause_s: float, *, size: int = 20_000, segment_seqs: int = 4
) -> None:
    """Interleaved fragments of several cameras; segments of `segment_seqs` fragments; the epochs end."""
    epochs = [(bench.camera(), bench.epoch()) for _ in range(cameras)]
    for seq in range(seqs):
        last = seq == seqs - 1
        for camera, epoch in epochs:
            ends = "epoch" if last else "segment" if (seq + 1) % segment_seqs == 0 else None
            starts = seq % segment_seqs == 0
            await bench.publish(fragment(camera, epoch, seq, starts=starts, ends=ends, size=size))
        await asyncio.sleep(pause_s)


def check_tiling(stored: list[SegmentStored]) -> None:
    """Every segment starts and ends at ingest's cuts, and duplicates have the same key."""
    for epoch in {one.epoch for one in stored}:
        found = sorted(set(ranges(stored, epoch)))
        assert all(a[1] + 1 == b[0] for a, b in pairwise(found)), found


async def test_a_kill_at_any_moment_loses_and_invents_nothing(bench: Bench):
    async with asyncio.TaskGroup() as group:
        flowing = group.create_task(flow(bench, cameras=5, seqs=48, pause_s=0.25))
        for life_s in (2.5, 3.1, 1.9, 3.7):
            async with recorder(bench) as running:
                await asyncio.sleep(life_s)
                await running.kill()
        async with recorder(bench):
            await flowing
            stored = await bench.until_recorded()
            await bench.until_committed()
    check_tiling(stored)
    await bench.check_objects(stored)


async def test_another_recorder_takes_over_from_a_killed_one(bench: Bench):
    async with recorder(bench) as one, recorder(bench):
        await one.until_logged("ready")
        await asyncio.sleep(3)
        async with asyncio.TaskGroup() as group:
            group.create_task(flow(bench, cameras=6, seqs=24, pause_s=0.2))
            await asyncio.sleep(2)
            await one.kill()
        stored = await bench.until_recorded()
        await bench.until_committed()
    check_tiling(stored)
    await bench.check_objects(stored)


async def test_sigterm_stores_and_commits_closed_segments_only(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    acks = await bench.publish(
        fragment(camera, epoch, 0, starts=True, ends="segment"), fragment(camera, epoch, 1, starts=True)
    )
    async with recorder(bench, DISTRICAM_RECORDER__IDLE_S="60", DISTRICAM_RECORDER__COMMIT_INTERVAL_S="5") as running:
        await running.until_logged("segment stored")
        assert await running.stop() == 0
    commit = await bench.committed(acks[1].partition)
    assert commit.offset == acks[1].offset
    assert decode_checkpoint(commit.metadata).seqs[epoch] == 0
    async with recorder(bench):
        assert ranges(await bench.until_recorded(), epoch) == [(0, 0), (1, 1)]


async def test_records_deleted_from_the_log_are_reported(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    (stored,) = await bench.publish(fragment(camera, epoch, 0, starts=True, ends="segment"))
    async with recorder(bench) as running:
        await bench.until_recorded()
        await bench.until_committed()
        assert await running.stop() == 0
    commit = await bench.committed(stored.partition)
    published = list(bench.published)
    lost = await bench.publish(*(fragment(camera, epoch, seq, starts=True, ends="segment") for seq in (1, 2)))
    bench.published = published
    (left,) = await bench.publish(fragment(camera, epoch, 3, starts=True, ends="segment"))
    await bench.delete_before(left)
    assert lost[0].offset >= commit.offset
    async with recorder(bench):
        await bench.until_recorded()
        await bench.until_committed()
    (truncated, partition) = await truncation_event(bench, left.partition)
    assert truncated.from_us == decode_checkpoint(commit.metadata).log_us - MAX_FRAGMENT_DELAY_US
    assert truncated.to_us == left.append_us
    assert partition == left.partition % 12


async def test_records_deleted_before_a_slow_recorder_read_them_are_reported(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    await bench.publish(fragment(camera, epoch, 0, starts=True, ends="segment"))
    async with recorder(bench) as running:
        await bench.until_recorded()
        await bench.until_committed()
        running.signal(signal.SIGSTOP)  # for less than its session timeout
        published = list(bench.published)
        await bench.publish(*(fragment(camera, epoch, seq, starts=True, ends="segment") for seq in (1, 2, 3)))
        bench.published = published
        (left,) = await bench.publish(fragment(camera, epoch, 4, starts=True, ends="segment"))
        await bench.delete_before(left)
        running.signal(signal.SIGCONT)
        async with asyncio.timeout(20):
            while (epoch, 4) not in fragments_of(await bench.announced()):
                await asyncio.sleep(0.2)
        await bench.until_committed()
    (truncated, _) = await truncation_event(bench, left.partition)
    assert truncated.to_us == left.append_us
    assert truncated.from_us < left.append_us
    lost = {(epoch, 2), (epoch, 3)}  # the first one may already have been fetched
    assert not lost & fragments_of(await bench.announced())


async def test_the_largest_record_is_stored_beside_small_ones(bench: Bench):
    large, small = bench.camera(), bench.camera()
    for seq in range(3):
        epochs = bench.epoch(), bench.epoch()
        await bench.publish(fragment(large, epochs[0], 0, ends="epoch", size=8 << 20))
        await bench.publish(*(fragment(small, epochs[1], n, ends="segment") for n in range(seq + 1)))
    async with recorder(bench) as running:
        await bench.check_objects(await bench.until_recorded())
        await bench.until_committed()
        assert await running.stop() == 0


async def truncation_event(bench: Bench, number: int) -> tuple[PartitionTruncated, int]:
    found: list[tuple[PartitionTruncated, int]] = []
    for record in await bench.read(names.STREAMS):
        if record.key == str(number).encode():
            event = wire.decode_event(record.key, record.headers, record.value)
            assert isinstance(event, PartitionTruncated)
            found.append((event, record.partition))
    return found[-1]


async def test_an_existing_object_is_announced_from_its_metadata(bench: Bench):
    camera, epoch = bench.camera(), bench.epoch()
    only = fragment(camera, epoch, 0, starts=True, ends="epoch")
    made = build_object(Segment(FirstRecord(0, 0, 0), (only,), 0, "ends"), bench.s3.bucket)
    told = replace(made.stored, codecs="codecs of the first writer")
    await bench.blobs.put(
        told.key, [made.body], content_type="video/mp4", metadata=encode_metadata(told), sha256=told.sha256, once=True
    )
    await bench.publish(only)
    async with recorder(bench):
        assert await bench.until_recorded() == [told]


@pytest.mark.hostile
@pytest.mark.parametrize("is_ours", [True, False])
async def test_different_bytes_under_a_key_are_reported_and_stop_nothing(bench: Bench, *, is_ours: bool):
    camera, epoch, other, second = bench.camera(), bench.epoch(), bench.camera(), bench.epoch()
    old, forged = (fragment(camera, epoch, 0, starts=True, ends="epoch", size=size) for size in (9, 8))
    made = build_object(Segment(FirstRecord(0, 0, 0), (old,), 0, "ends"), bench.s3.bucket)
    await bench.blobs.put(
        made.stored.key,
        [made.body],
        content_type="video/mp4",
        metadata=encode_metadata(made.stored) if is_ours else {},
        sha256=made.stored.sha256,
        once=True,
    )
    (ack,) = await bench.publish(forged)
    bench.published.clear()
    await bench.publish(fragment(other, second, 0, starts=True, ends="epoch"))
    async with recorder(bench) as running:
        if is_ours:
            bench.published.append((old, ack))
        stored = await bench.until_recorded()
        bench.published.append((forged, ack))
        await bench.until_committed()
        assert await running.stop() == 0
    async with recorder(bench) as running:  # it would read the record again if it had not been committed
        await running.until_logged("ready")
        assert await running.stop() == 0
    assert [one.sha256 for one in stored if one.camera_id == camera] == [made.stored.sha256] * is_ours
    assert await bench.blobs.get(made.stored.key) == made.body
    dead_letters = [wire.decode_json(DeadLetter, record.value) for record in await bench.read(names.DEADLETTERS)]
    (letter,) = [letter for letter in dead_letters if letter.key == camera]
    assert (letter.topic, letter.partition, letter.offset) == (names.FRAGMENTS, ack.partition, ack.offset)
    theirs = build_object(Segment(FirstRecord(0, 0, 0), (forged,), 0, "ends"), bench.s3.bucket).stored
    assert theirs.sha256 in letter.reason
    assert (made.stored.sha256 in letter.reason) == is_ours


@pytest.mark.hostile
async def test_header_values_with_whitespace_and_special_characters_are_stored(bench: Bench):
    """HTTP headers lose whitespace at the ends and in runs, and the request's signature covers them."""
    for codecs in (
        "avc1.640028",
        " avc1",
        "avc1 ",
        "a  b",
        "  ",
        '"',
        "a;b=c, d",
        "=?UTF-8?Q?x?=",
        "%0d%0a",
        "~" * 200,
    ):
        one = fragment(bench.camera(), bench.epoch(), 0, starts=True, ends="epoch")
        await bench.publish(replace(one, info=replace(one.info, codecs=codecs)))
    async with recorder(bench) as running:
        stored = await bench.until_recorded()
        await bench.until_committed()
        assert await running.stop() == 0
    for told in stored:
        head = await bench.blobs.head(told.key)
        assert head is not None
        assert head.size == told.bytes


async def test_a_bucket_of_another_site_is_fatal(bench: Bench):
    await mark(bench.blobs, "elsewhere")
    async with recorder(bench) as running:
        assert await running.exit_code() == 3


async def test_it_waits_for_the_bucket_marker(bench: Bench):
    await bench.blobs.delete([names.SITE_MARKER])
    camera, epoch = bench.camera(), bench.epoch()
    await bench.publish(fragment(camera, epoch, 0, starts=True, ends="epoch"))
    async with recorder(bench) as running:
        await running.until_logged("dependency failing")
        await asyncio.sleep(1)
        assert "ready" not in running.events()
        await mark(bench.blobs, SITE)
        await bench.until_recorded()
        await running.until_logged("ready")


async def test_an_unreachable_store_loses_nothing_and_memory_stays_bounded(bench: Bench):
    async with seaweedfs.running(bench.folder / "s3", log_dir=bench.folder) as store:
        settings = S3Settings(
            endpoint=store.url,
            access_key=store.access_key,
            secret_key=SecretStr(store.secret_key),
            bucket=bench.s3.bucket,
        )
        env = {
            "DISTRICAM_S3__ENDPOINT": store.url,
            "DISTRICAM_S3__ACCESS_KEY": store.access_key,
            "DISTRICAM_S3__SECRET_KEY": store.secret_key,
            "DISTRICAM_RECORDER__MEMORY_LIMIT_BYTES": str(2 << 20),
        }
        async with a_bucket(settings) as blobs:
            await mark(blobs, SITE)
            async with recorder(bench, **env) as running:
                await running.until_logged("ready")
                await store.kill()
                await flow(bench, cameras=8, seqs=12, pause_s=0, size=200_000)
                await running.until_logged("memory full: a partition is paused")
                await asyncio.sleep(1)
                assert await bench.announced() == []
                await store.restart()
                stored = await bench.until_recorded(timeout_s=60)
                await bench.until_committed()
            bench.blobs = blobs
            check_tiling(stored)
            await bench.check_objects(stored)


async def test_minute_long_segments_beyond_the_memory_limit_are_stored(bench: Bench):
    """A segment of thirty fragments of two seconds is 3 MB, and four cameras fill theirs at once."""
    limit = {"DISTRICAM_RECORDER__MEMORY_LIMIT_BYTES": str(2 << 20), "DISTRICAM_RECORDER__IDLE_S": "60"}
    async with recorder(bench, **limit) as running:
        await running.until_logged("ready")
        await flow(bench, cameras=4, seqs=60, pause_s=0, size=100_000, segment_seqs=30)
        stored = await bench.until_recorded(timeout_s=60)
        await bench.until_committed()
        assert "memory full: a segment is closed early" in running.events()
    check_tiling(stored)
    await bench.check_objects(stored)
    assert {sum(b - a + 1 for a, b in set(ranges(stored, epoch))) for epoch in {s.epoch for s in stored}} == {60}
