"""The indexer as a process on real servers: whatever happens to it or to Redis, the index matches the announcements."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
import hashlib
import json
import os
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, DeadLetter, FootageExpired, SegmentStored
from districam_common.contract.media import Still
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_redis
from districam_common.kafka import topics
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.consumer import Committed, GroupConsumer, Partition, TopicReader
from districam_common.kafka.producer import Publisher
from districam_common.ledger.expectation import Revision
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings, RedisSettings, S3Settings, TopicsSettings
from districam_common.s3.blobs import Blobs
from districam_devkit.servers import Servers, ports, valkey
from support.announcements import EPOCHS, NOON_US, S, lost, segment

pytestmark = pytest.mark.timeout(120)
INDEXED = ("dc1:seg:", "dc1:epoch:", "dc1:day:", "dc1:events:", "dc1:cameras:", "dc1:fell:", "dc1:latest")


@dataclass(frozen=True)
class District:
    """Topics, a bucket and an empty Redis of its own; cameras with unique ids."""

    home: Path
    servers: Servers
    s3: S3Settings
    publisher: Publisher
    blobs: Blobs
    redis: Redis
    redis_url: str
    reader: IndexReader
    camera_id: str

    def environment(self, health_port: int) -> dict[str, str]:
        return {
            **os.environ,
            **self.servers.environment(),
            "DISTRICAM_S3__BUCKET": self.s3.bucket,
            "DISTRICAM_REDIS__URL": self.redis_url,
            "DISTRICAM_HEALTH__PORT": str(health_port),
            "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
            "DISTRICAM_INDEXER__PROGRESS_S": "0.1",
            "DISTRICAM_INDEXER__GAUGES_S": "0.5",
            "DISTRICAM_INDEXER__SETTLE_S": "0",
            "DISTRICAM_INDEXER__BATCH_RECORDS": "20",
        }

    @asynccontextmanager
    async def indexer(self, *command: str, **settings: str) -> AsyncGenerator["Indexer"]:
        """Starts a process; kills it at the end of the block if it still runs."""
        (port,) = ports.pick_free_ports(1)
        with (self.home / f"indexer-{port}.log").open("wb") as out:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "districam_indexer",
                *command,
                env={**self.environment(port), **settings},
                stdout=out,
                stderr=out,
            )
            try:
                yield Indexer(child, port)
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    async def announce(self, stored: Sequence[SegmentStored]) -> None:
        for one in stored:
            await self.publisher.publish(names.SEGMENTS, wire.stored_message(one, site="local"))

    async def store(self, stored: SegmentStored) -> SegmentStored:
        """Puts an object of the announced name and size; returns the announcement."""
        body = bytes(stored.bytes)
        shape = {"codecs": stored.codecs, "width": str(stored.width), "height": str(stored.height)}
        digest = hashlib.sha256(body).hexdigest()
        await self.blobs.put(stored.key, [body], content_type="video/mp4", metadata=shape, sha256=digest, once=True)
        return stored

    async def found(self, around_us: int = NOON_US) -> list[segment_array.IndexEntry]:
        """The camera's indexed segments of the day around an instant."""
        half_us = 12 * 3600 * S
        return segment_array.entries_from_array(
            await self.reader.segments(self.camera_id, around_us - half_us, around_us + half_us)
        )

    async def contents(self) -> dict[str, object]:
        """Everything indexed of the camera, as stored in Redis."""
        keys = [key for key in await self.redis.keys(f"dc1:*{self.camera_id}*") if isinstance(key, bytes)]
        out = {key.decode(): await self._value(key) for key in keys if key.decode().startswith(INDEXED)}
        return {**out, names.LATEST: await self.redis.zscore(names.LATEST, self.camera_id)}

    async def _value(self, key: bytes) -> object:
        match await self.redis.type(key):
            case b"zset":
                return await self.redis.zrange(key, 0, -1, withscores=True)
            case b"hash":
                return await self.redis.hgetall(key)
            case _:
                return await self.redis.get(key)


@dataclass(frozen=True)
class Indexer:
    """A running process."""

    child: asyncio.subprocess.Process
    port: int

    async def ask(self, path: str) -> str:
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                return (await client.get(f"http://127.0.0.1:{self.port}{path}")).text
        except httpx.HTTPError:
            return ""

    async def stop_gracefully(self) -> None:
        """Stops gracefully, leaving its consumer group."""
        self.child.terminate()
        async with asyncio.timeout(20):
            assert await self.child.wait() == 0

    async def is_ready(self) -> bool:
        return '"ready": true' in await self.ask("/readyz")


async def until(what: Callable[[], Awaitable[object]], timeout_s: float = 60) -> None:
    """Waits until the condition holds, or raises."""
    async with asyncio.timeout(timeout_s):
        while not await what():
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def district(servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path) -> AsyncGenerator[District]:
    async with a_district(servers, kafka, s3, tmp_path, object_lock=False) as made:
        yield made


@asynccontextmanager
async def a_district(
    servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path, *, object_lock: bool
) -> AsyncGenerator[District]:
    await _apply_topics(kafka)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(valkey.running(tmp_path, log_dir=tmp_path))
        redis = await stack.enter_async_context(open_redis(RedisSettings(url=server.url)))
        blobs = await stack.enter_async_context(Blobs.open(s3))
        await blobs.create_bucket(object_lock=object_lock)
        marker = json.dumps({"site": "local", "created": "2026-11-24T00:00:00Z", "schema": 1}).encode()
        digest = hashlib.sha256(marker).hexdigest()
        await blobs.put(
            names.SITE_MARKER, [marker], content_type="application/json", metadata={}, sha256=digest, once=True
        )
        publisher = await stack.enter_async_context(Publisher.open(kafka, "tests"))
        camera_id = f"cam-{uuid.uuid4().hex[:8]}"
        yield District(tmp_path, servers, s3, publisher, blobs, redis, server.url, IndexReader(redis), camera_id)


async def _apply_topics(kafka: KafkaSettings) -> None:
    wanted = topics.declared_topics(TopicsSettings())
    async with open_admin_client(kafka, "tests") as admin:
        found = await topics.describe_topics(admin, wanted, 10)
        await topics.apply(admin, topics.plan(wanted, found), found, 30)


def segments(camera_id: str, count: int, *, epoch: int = 0, from_us: int = NOON_US) -> list[SegmentStored]:
    """Consecutive segments."""
    return [
        segment(camera_id, epoch=epoch, first_seq=5 * n, start_us=from_us + 10 * n * S, size=100) for n in range(count)
    ]


async def test_announced_segments_are_indexed_and_a_poison_record_stops_nothing(
    district: District, kafka: KafkaSettings
):
    camera = Camera(camera_id=district.camera_id, name="Chợ Bến Thành", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
    stored = segments(district.camera_id, 3)
    key = district.camera_id.encode()
    taken = await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await district.announce(stored[:1])
        good = wire.stored_message(stored[1], site="local")
        for poison in (replace(good, value=b"\xff"), replace(good, headers=[]), wire.Message(key, b"", [])):
            await district.publisher.publish(names.SEGMENTS, poison)
        await district.announce(stored[1:])
        event = lost(NOON_US + 30 * S, district.camera_id)
        ack = await district.publisher.publish(
            names.STREAMS, wire.event_message(event, 1, site="local", service="ingest")
        )
        still = Still(
            camera_id=district.camera_id, epoch=EPOCHS[0], seq=3, at_us=NOON_US, width=64, height=36, jpeg=b"\xff\xd8"
        )

        async def still_arrives() -> bool:
            await district.publisher.publish(names.KEYFRAMES, wire.still_message(still, site="local"))
            return await district.reader.still(district.camera_id) is not None

        await until(lambda: _are(district, stored))
        await until(still_arrives)
        await until(lambda: district.reader.events(district.camera_id))
        assert await district.reader.revisions(district.camera_id) == [camera]
        known = await district.reader.ledger_inputs(district.camera_id, 60, NOON_US, NOON_US + S)
        assert known.revisions == [Revision(camera, taken.append_us)], "in force since the log took it"
        (told,) = await district.reader.events(district.camera_id)
        assert (told.event, told.appended_us) == (event, ack.append_us)
        assert "districam_indexer_deadletters_total 3.0" in await indexer.ask("/metrics")
        gauge = f'districam_last_segment_end_timestamp_seconds{{camera="{district.camera_id}"}}'
        await until(lambda: _is_exported(indexer, gauge))
    async with TopicReader.open(kafka, [names.DEADLETTERS]) as reader:
        letters = [wire.decode_json(DeadLetter, record.value) for record in await reader.read_all()]
    assert len([letter for letter in letters if letter.key == district.camera_id]) == 3


async def test_a_replayed_expired_segment_is_not_indexed(district: District):
    old_us = SystemClock().now_us() - 3 * names.DAY_US
    gone, kept = (segment(district.camera_id, first_seq=n, start_us=old_us + 2 * n * S) for n in (0, 5))
    expired = FootageExpired(
        camera_id=district.camera_id, at_us=old_us, instance="i", from_us=0, to_us=gone.end_us, reason="retention"
    )
    message = wire.event_message(expired, 1, site="local", service="indexer")
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await district.publisher.publish(names.STREAMS, message)
        await until(lambda: district.reader.events(district.camera_id))
        await district.announce([gone, kept])
        await until(district.reader.latest_ends_us)
        rows = await district.reader.segments(district.camera_id, gone.start_us, kept.end_us)
        assert segment_array.entries_from_array(rows) == [names.entry_of(kept)]


async def _is_exported(indexer: Indexer, gauge: str) -> bool:
    return gauge in await indexer.ask("/metrics")


async def _are(district: District, stored: Sequence[SegmentStored]) -> bool:
    return await district.found() == [names.entry_of(one) for one in stored]


async def test_a_killed_indexer_loses_and_duplicates_nothing(district: District):
    stored = segments(district.camera_id, 120)
    async with district.indexer() as first:
        await until(first.is_ready)
        await district.announce(stored[:60])
        await until(district.found)
        first.child.kill()
        await district.announce(stored[60:])
    async with district.indexer():
        await until(lambda: _are(district, stored), 40)


async def test_an_emptied_redis_is_rebuilt_to_the_same_index(district: District):
    camera = Camera(camera_id=district.camera_id, name="Cổng", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
    await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))
    stored = [await district.store(one) for one in segments(district.camera_id, 12)]
    other = segment(district.camera_id, epoch=1, first_seq=0, start_us=NOON_US + 3600 * S, size=100)
    stored.append(await district.store(other))
    async with district.indexer() as first, district.indexer() as second:
        await until(first.is_ready)
        await until(second.is_ready)
        await district.announce(stored)
        event = wire.event_message(lost(NOON_US, district.camera_id), 1, site="local", service="ingest")
        await district.publisher.publish(names.STREAMS, event)
        await until(lambda: _are(district, stored))
        await until(lambda: district.reader.events(district.camera_id))
        await until(lambda: district.reader.revisions(district.camera_id))
        before = await district.contents()
        assert len([name for name in before if name.startswith("dc1:seg:")]) == 2
        await district.redis.flushall()
        await until(lambda: _is_whole(district))
        assert await district.contents() == before
        later = await district.store(
            segment(district.camera_id, epoch=1, first_seq=5, start_us=NOON_US + 3610 * S, size=100)
        )
        await district.announce([later])
        await until(lambda: _are(district, [*stored, later]))


async def _is_whole(district: District) -> bool:
    meta = await district.reader.meta()
    return meta is not None and meta.is_ready


async def test_the_rebuild_command_indexes_the_bucket_and_drops_missing_objects(district: District):
    stored = [await district.store(one) for one in segments(district.camera_id, 4)]
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await until(lambda: _are(district, stored))  # never announced: found by LIST
        await district.announce([segment(district.camera_id, first_seq=900, start_us=NOON_US + 900 * S)])
        await until(lambda: _is_found(district, 5))
        async with district.indexer("rebuild") as command:
            async with asyncio.timeout(30):
                assert await command.child.wait() == 0
        assert await _are(district, stored)
        assert await _is_whole(district)
        stored.append(segment(district.camera_id, first_seq=100, start_us=NOON_US + 100 * S))
        await district.announce(stored[-1:])
        await until(lambda: _are(district, stored))


async def _is_found(district: District, count: int) -> bool:
    return len(await district.found()) == count


async def test_a_killed_rebuild_is_resumed_while_recording_continues(district: District):
    """Days already done are not listed again; segments stored meanwhile are announced and indexed."""
    days = [NOON_US - n * 86_400 * S for n in range(30)]
    old = [
        await district.store(segment(district.camera_id, first_seq=5 * n, start_us=at_us, size=100))
        for n, at_us in enumerate(days)
    ]
    async with district.indexer() as first:
        await until(first.is_ready)
        await until(lambda: _are_all(district, old))
        before = await district.contents()
        await district.redis.flushall()
        async with asyncio.timeout(20):
            while not await district.redis.keys("dc1:rebuilt:*"):
                await asyncio.sleep(0.001)
        first.child.kill()
    noted = await district.redis.keys("dc1:rebuilt:*")
    later = await district.store(segment(district.camera_id, epoch=1, start_us=NOON_US + 60 * S, size=100))
    await district.announce([later])
    async with district.indexer(DISTRICAM_INDEXER__REBUILD_LOCK_S="3"):
        await until(lambda: _is_whole(district), 60)
        await until(lambda: _are_all(district, [*old, later]))
    after = await district.contents()
    assert {
        key: after[key] for key in before if "seg" in key and key != names.segments_key(district.camera_id, NOON_US)
    } == {key: before[key] for key in before if "seg" in key and key != names.segments_key(district.camera_id, NOON_US)}
    assert len(noted) <= 1
    assert await district.redis.keys("dc1:rebuilt:*") == []


async def _are_all(district: District, stored: Sequence[SegmentStored]) -> bool:
    first_us, last_us = min(one.start_us for one in stored), max(one.end_us for one in stored)
    found = segment_array.entries_from_array(await district.reader.segments(district.camera_id, first_us, last_us))
    return set(found) == {names.entry_of(one) for one in stored}


async def checked(district: District, *options: str) -> tuple[int, dict[str, Any], str]:
    """The command's exit code, its last line as JSON, and its other output."""
    code, lines, messages = await lines_of_check(district, *options)
    return code, json.loads(lines[-1]) if lines else {}, messages


async def lines_of_check(district: District, *options: str) -> tuple[int, list[str], str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "districam_indexer", "check", *options, env=district.environment(0),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, messages = await child.communicate()
    return child.returncode or 0, out.decode().splitlines(), messages.decode()


async def test_check_reports_differences_and_changes_nothing(district: District):
    stored = [await district.store(one) for one in segments(district.camera_id, 6)]
    twice = await district.store(segment(district.camera_id, epoch=1, start_us=NOON_US + 5 * S, size=100))
    assert (await checked(district))[0] == 1  # there is no index yet
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await until(lambda: _are_all(district, [*stored, twice]))
    code, found, _ = await checked(district)
    assert (code, found["objects"], found["missing"], found["surplus"]) == (0, 7, 0, 0)
    assert found["overlapping_s"] == 10
    await district.blobs.delete([stored[0].key])
    unknown = await district.store(segment(district.camera_id, epoch=2, start_us=NOON_US + 3600 * S, size=100))
    before = await district.contents()
    code, found, _ = await checked(district)
    assert (code, found["examples"]) == (1, {"missing": [stored[0].key], "surplus": [unknown.key]})
    assert await district.contents() == before


async def put(district: District, stored: SegmentStored, body: bytes, **metadata: str) -> None:
    """Overwrites the object; `metadata` in addition to the shape."""
    shape = {"codecs": stored.codecs, "width": str(stored.width), "height": str(stored.height), **metadata}
    digest = hashlib.sha256(body).hexdigest()
    await district.blobs.put(stored.key, [body], content_type="video/mp4", metadata=shape, sha256=digest, once=False)


@pytest.mark.correctness
async def test_check_reports_overwritten_deleted_and_altered_objects(
    servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path
):
    async with a_district(servers, kafka, s3, tmp_path, object_lock=True) as district:
        made = segments(district.camera_id, 5)
        bodies = [bytes([n]) * one.bytes for n, one in enumerate(made)]
        stored = [replace(one, sha256=hashlib.sha256(body).hexdigest()) for one, body in zip(made, bodies, strict=True)]
        for one, body in zip(stored, bodies, strict=True):
            await put(district, one, body, sha256=one.sha256)
        await district.announce(stored)
        async with district.indexer() as indexer:
            await until(indexer.is_ready)
            await until(lambda: _are_all(district, stored))
        code, found, _ = await checked(district, "--deep")
        assert (code, found["read"], found["altered"], found["unproven"]) == (0, 5, 0, 0)
        assert found["announced"] >= 5  # other tests announce on this topic too
        assert found["read_bytes"] == sum(map(len, bodies))
        before = await district.contents()
        # An attacker with the bucket's key writes other bytes of the same length, with matching metadata.
        forged = bytes([77]) * stored[1].bytes
        await put(district, stored[1], forged, sha256=hashlib.sha256(forged).hexdigest())
        await put(district, stored[2], bodies[2], sha256=stored[2].sha256)
        await district.blobs.delete([stored[3].key])
        code, lines, _ = await lines_of_check(district)
        found = json.loads(lines[-1])
        assert (code, found["versioned"], found["deleted"], found["missing"]) == (1, 2, 1, 1)
        assert [line.split("\t")[:4] for line in lines[:-1]] == [
            [kind, district.camera_id, interval(stored[n]), stored[n].key]
            for kind, n in (("versioned", 1), ("versioned", 2), ("deleted", 3), ("missing", 3))
        ]
        code, lines, _ = await lines_of_check(district, "--deep")
        found = json.loads(lines[-1])
        assert (code, found["altered"], found["read"]) == (1, 1, 4)
        (altered,) = [line.split("\t") for line in lines if line.startswith("altered")]
        assert altered[1:4] == [district.camera_id, interval(stored[1]), stored[1].key]
        assert stored[1].sha256 in altered[4]
        assert await district.contents() == before


def interval(stored: SegmentStored) -> str:
    return f"{names.format_rfc3339(stored.start_us)}/{names.format_rfc3339(stored.end_us)}"


async def test_check_refuses_a_bucket_that_looks_empty(district: District):
    stored = [await district.store(one) for one in segments(district.camera_id, 4)]
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await until(lambda: _are(district, stored))
    await district.blobs.delete([one.key for one in stored[1:]])
    code, found, messages = await checked(district)
    assert (code, found["concluded"]) == (3, False)
    assert "another one" in messages
    await district.blobs.delete([stored[0].key])
    code, _, messages = await checked(district)
    assert code == 3
    assert "empty" in messages
    assert await _are(district, stored)


async def test_a_redis_restored_from_an_older_state_is_caught_up(district: District):
    """Redis crashed and lost its last second, after the member had committed: the index must catch up."""
    stored = segments(district.camera_id, 10)
    place = f"{names.SEGMENTS}:{names.partition_of(district.camera_id, 12)}"
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        await district.announce(stored[:9])
        await until(lambda: _is_found(district, 9))
        key = names.segments_key(district.camera_id, NOON_US)
        async with district.redis.pipeline() as pipe:
            pipe.zremrangebyrank(key, 4, -1)
            pipe.hincrby(names.APPLIED, place, -5)
            await pipe.execute()
        await until(lambda: _are(district, stored[:9]))
        await district.announce(stored[9:])
        await until(lambda: _are(district, stored))


async def test_the_watermark_never_passes_unindexed_segments(district: District, kafka: KafkaSettings):
    """Announces, then commits like a recorder; a reader of the watermark must then find the segment in the index.

    Times are in the future, since other recorders of this broker may have stored up to now.
    """
    later_us = SystemClock().now_us() + 86_400 * S
    stored = segments(district.camera_id, 25, from_us=later_us)
    fragments = Partition(names.FRAGMENTS, names.partition_of(district.camera_id, 60))
    violations: list[int] = []
    progress: list[int] = []

    async def watch() -> None:
        while not progress or progress[-1] < stored[-1].end_us:
            log_us = await district.reader.watermark_us(district.camera_id)
            found = len(await district.found(later_us))
            if found < sum(one.end_us <= log_us for one in stored):
                violations.append(log_us)
            if not progress or progress[-1] != log_us:
                progress.append(log_us)
            await asyncio.sleep(0.002)

    async with district.indexer() as indexer, _recorder(kafka) as commit:
        await until(indexer.is_ready)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            for one in stored:
                await district.announce([one])
                await commit(fragments, json.dumps({"log_us": one.end_us, "seq": {}}))
                await asyncio.sleep(0.1)
    assert violations == []
    assert progress == sorted(progress)
    assert len(progress) > 5


@asynccontextmanager
async def _recorder(kafka: KafkaSettings) -> AsyncGenerator[Callable[[Partition, str], Awaitable[None]]]:
    """The only member of the recorders' group; the yielded function commits metadata."""

    async def on_assigned(partitions: frozenset[Partition]) -> None:
        for partition, end in (await member.end_offsets(partitions)).items():
            member.seek(partition, end)

    async def on_revoked(_: frozenset[Partition]) -> None:
        pass

    async def commit(partition: Partition, metadata: str) -> None:
        await member.poll(timeout_s=0)
        await member.commit({partition: Committed(0, metadata)})

    async with GroupConsumer.open(
        kafka,
        names.RECORDER_GROUP,
        [names.FRAGMENTS],
        "tests",
        on_assigned=on_assigned,
        on_revoked=on_revoked,
        clock=SystemClock(),
    ) as member:
        async with asyncio.timeout(20):
            while not member.assignment:
                await member.poll(timeout_s=0.2)
        yield commit


async def test_another_sites_index_is_exit_code_3(district: District):
    fields = {"site": "elsewhere", "schema": "1", "partitions": 60, "state": "ready", "build": "b"}
    await district.redis.hset(names.META, mapping={**fields})
    async with district.indexer() as indexer, asyncio.timeout(20):
        assert await indexer.child.wait() == 3


async def test_sigterm_is_exit_code_0(district: District):
    async with district.indexer() as indexer:
        await until(indexer.is_ready)
        indexer.child.terminate()
        async with asyncio.timeout(10):
            assert await indexer.child.wait() == 0
