"""Unreadable data on real servers: a corrupt batch, a compressing broker, another producer's transaction."""
# aiokafka leaves its arguments untyped:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, PartitionTruncated
from districam_common.contract.wire import Message
from districam_common.errors import Retriable
from districam_common.kafka import skipping_fetcher, topics
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.consumer import TopicReader
from districam_common.kafka.producer import Publisher
from districam_common.runtime.settings import KafkaSettings, TopicsSettings
from districam_devkit.pipeline import service_running
from districam_devkit.servers import Servers
from districam_devkit.servers import kafka as kafka_server
from integration.conftest import MakeTopic, kafka_settings, make_topic
from integration.test_recorder import Bench, bench, fragments_of, recorder
from support.corrupt_log import flipped_during_block
from support.fragments import fragment

__all__ = ["bench"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.correctness]

PARTITIONS = 60


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.2)


# ---- a corrupt batch of `fragments`


async def test_a_corrupt_batch_of_one_camera_is_reported_and_affects_no_other(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
):
    """Twelve cameras in other partitions, and two in the same; one recorder reads, another takes over."""
    culprit, epoch = bench.camera(), bench.epoch()
    acks = await bench.publish(*[fragment(culprit, epoch, n, starts=n == 0, size=2000) for n in range(6)])
    where = acks[2]
    others = [(bench.camera(), bench.epoch()) for _ in range(12)]
    bench.published = [one for one in bench.published if one[1].offset != where.offset]
    with flipped_during_block(tmp_path_factory.getbasetemp(), names.FRAGMENTS, where.partition, where.offset):
        async with recorder(bench) as running:
            for seq in range(16):
                for camera_id, one in others:
                    ends = "segment" if seq % 4 == 3 else None
                    await bench.publish(fragment(camera_id, one, seq, starts=seq % 4 == 0, ends=ends, size=2000))
                if seq == 8:
                    await running.kill()
                    break
        async with recorder(bench):
            for camera_id, one in others:
                await bench.publish(fragment(camera_id, one, 9, ends="epoch"))
            stored = await bench.until_recorded()
            await bench.until_committed()
    assert (epoch, 2) not in fragments_of(stored)
    await bench.check_objects(stored)
    dead_letters = {record.value for record in await bench.read(names.DEADLETTERS)}
    reports = [json.loads(value) for value in dead_letters if value]
    (mine,) = {one["reason"] for one in reports if place_of(one) == (names.FRAGMENTS, where.partition, where.offset)}
    assert "checksum" in mine
    assert await is_reported_lost(bench, where.partition, where.append_us)


def place_of(letter: dict[str, object]) -> tuple[object, ...]:
    return letter["topic"], letter["partition"], letter["offset"]


async def is_reported_lost(bench: Bench, partition: int, at_us: int) -> bool:
    """Whether the recorder has published that footage of this time was lost at the broker."""
    events = [wire.decode_event(r.key, r.headers, r.value) for r in await bench.read(names.STREAMS) if r.value]
    return any(
        one.from_us < at_us <= one.to_us
        for one in events
        if isinstance(one, PartitionTruncated) and one.partition == partition
    )


# ---- a corrupt batch of `cameras`


async def test_a_corrupt_record_of_one_camera_blocks_no_other(
    bench: Bench, servers: Servers, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    """Nothing listens at their addresses, so each started camera is refused."""
    cameras = [Camera(camera_id=bench.camera(), name="x", url="rtsp://127.0.0.1:9/x") for _ in range(12)]
    acks = [await bench.publisher.publish(names.CAMERAS, wire.camera_message(one, site="local")) for one in cameras]
    settings = {**servers.environment(), "DISTRICAM_LOG__FORMAT": "json"}
    home = tmp_path_factory.getbasetemp()
    with flipped_during_block(home, names.CAMERAS, acks[0].partition, acks[0].offset):
        async with service_running("ingest", tmp_path, settings, ready="readyz"):
            log = tmp_path / "logs" / "ingest.log"

            async def all_but_one_are_tried() -> bool:
                """# the end of every partition was reached"""
                lines = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
                tried = {line.get("camera_id") for line in lines if line["event"] == "stream refused"}
                ends = [line["partitions"] for line in lines if line["event"] == "assigned"]
                unreadable_partitions = [line["partition"] for line in lines if line["event"] == "batch unreadable"]
                is_whole = ends == [PARTITIONS] and unreadable_partitions == [acks[0].partition]
                return is_whole and {one.camera_id for one in cameras[1:]} <= tried

            await until(all_but_one_are_tried)
    for one in cameras:
        gone = wire.camera_message(
            Camera(camera_id=one.camera_id, name="x", url=one.url, revision=2, updated_us=2, deleted=True), site="local"
        )
        await bench.publisher.publish(names.CAMERAS, gone)


# ---- batches that the broker cannot read


@pytest.mark.parametrize("size", [100, 5000])
async def test_a_zeroed_block_on_the_brokers_disk_loses_only_its_records(tmp_path: Path, size: int):
    """The broker answers with an error, and aiokafka by itself would repeat the request for ever."""
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        name = await make_topic(settings, 2)
        async with Publisher.open(settings, "tests") as publisher:
            for n in range(80):
                await publisher.publish(name, message(n, size), partition=0)
            await publisher.publish(name, message(0, size), partition=1)
        (path,) = tmp_path.rglob(f"{name}-0/*.log")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(4096))
        async with TopicReader.open(settings, [name]) as reader:
            records = await reader.read_all()
    read = [one for one in records if one.partition == 0]
    assert len(records) > len(read), "the other partition is read"
    assert [one.offset for one in read[1:]] == [one.next_offset for one in read[:-1]], "no offset is left out"
    assert (read[0].offset, read[-1].next_offset) == (0, 80)
    lost = sum(one.count for one in read if one.problem)
    assert 1 <= lost <= 3 * 4096 / (size + 80) + 2, "no more than what the broker's index cannot tell apart"


@pytest.mark.parametrize(("offset", "bit"), [(8, 6), (8, 7), (16, 1)], ids=["length", "sign", "format"])
async def test_a_batch_with_a_corrupt_header_does_not_stop_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, bit: int
):
    """No checksum covers these fields. The broker returns nothing, reports corruption, or fails in another way."""
    monkeypatch.setattr(skipping_fetcher, "_MAX_ERROR_S", 1.0)
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        name = await make_topic(settings)
        async with Publisher.open(settings, "tests") as publisher:
            for n in range(20):
                await publisher.publish(name, message(n, 5000))
        (path,) = tmp_path.rglob(f"{name}-0/*.log")
        data = path.read_bytes()
        length = int.from_bytes(data[8:12], "big") + 12
        with path.open("r+b") as file:
            file.seek(3 * length + offset)
            (value,) = data[3 * length + offset : 3 * length + offset + 1]
            file.seek(3 * length + offset)
            file.write(bytes([value ^ 1 << bit]))
        async with TopicReader.open(settings, [name]) as reader:
            records = await reader.read_all()
    assert [(one.offset, one.count) for one in records if one.problem] == [(3, 1)]
    assert [one.offset for one in records if not one.problem] == [n for n in range(20) if n != 3]


async def test_without_skip_unreadable_reading_stops_at_an_unreadable_batch(
    kafka: KafkaSettings, topic: MakeTopic, tmp_path_factory: pytest.TempPathFactory
):
    """The default behavior of aiokafka: nothing is skipped, and records before it are returned."""
    name = await topic()
    async with Publisher.open(kafka, "tests") as publisher:
        for n in range(6):
            await publisher.publish(name, message(n))
    unchanged = kafka.model_copy(update={"skip_unreadable": False})
    async with TopicReader.open(unchanged, [name]) as reader:
        assert [one.value for one in await reader.read_all()] == [message(n).value for n in range(6)]
    read: list[int] = []

    async def read_on(reader: TopicReader) -> None:
        async for some in reader.batches():
            read.extend(one.offset for one in some)

    with flipped_during_block(tmp_path_factory.getbasetemp(), name, 0, 3):
        async with TopicReader.open(unchanged, [name]) as reader:
            with pytest.raises(Retriable):
                await read_on(reader)
        assert read == [0, 1, 2][: len(read)]
        async with TopicReader.open(kafka, [name]) as reader:
            records = await reader.read_all()
    assert [one.offset for one in records if one.problem] == [3]
    assert len(records) == 6


# ---- a broker that compresses


def message(number: int, size: int = 2000) -> Message:
    return Message(b"k", str(number).encode() + b"." * size, [("ce_seq", str(number).encode())])


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_batches_compressed_by_the_broker_are_read(kafka: KafkaSettings, topic: MakeTopic, codec: str):
    name = await topic(compression_type=codec)
    async with Publisher.open(kafka, "tests") as publisher:
        for n in range(5):
            await publisher.publish(name, message(n))
    async with TopicReader.open(kafka, [name]) as reader:
        records = await reader.read_all()
    assert [one.value for one in records] == [message(n).value for n in range(5)]


async def test_apply_turns_compression_off_on_every_topic(tmp_path: Path):
    """As the broker's default, and as a topic's setting."""
    wanted = topics.declared_topics(TopicsSettings(partitions=2, small_partitions=1))
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        async with open_admin_client(settings, "tests") as admin:
            await topics.apply(admin, topics.plan(wanted, {}), {}, 10)
            found = await topics.describe_topics(admin, wanted, 10)
            squeezed = [
                topics.Topic(one.name, one.partitions, 1, {**one.configs, "compression.type": "zstd"}) for one in wanted
            ]
            await topics.apply(admin, topics.plan(squeezed, found), found, 10)
            found = await _compressing(admin, wanted, "zstd")
            await topics.apply(admin, topics.plan(wanted, found), found, 10)
            await _compressing(admin, wanted, "uncompressed")


async def _compressing(
    admin: AIOKafkaAdminClient, wanted: Sequence[topics.Topic], kind: str
) -> Mapping[str, topics.ExistingTopic]:
    """Waits until the broker reports the setting for all topics: it acknowledges a change earlier."""
    async with asyncio.timeout(20):
        while True:
            found = await topics.describe_topics(admin, wanted, 10)
            if {one.configs["compression.type"] for one in found.values()} == {kind}:
                return found
            await asyncio.sleep(0.1)


# ---- transactions of other producers


async def test_a_control_batch_at_the_end_does_not_block_reading_to_the_end(kafka: KafkaSettings, topic: MakeTopic):
    name = await topic()
    async with Publisher.open(kafka, "tests") as publisher:
        await publisher.publish(name, message(0))
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"somebody-{name}") as foreign,
        foreign.transaction(),
    ):
        await foreign.send_and_wait(name, b"theirs")
    async with TopicReader.open(kafka, [name]) as reader:

        async def is_closed() -> bool:
            """The broker writes the transaction's end after acknowledging it."""
            return list((await reader.end_offsets()).values()) == [3]

        await until(is_closed)
        records = await reader.read_all()
    assert [one.value for one in records if not one.problem] == [message(0).value, b"theirs"]
    assert records[-1].next_offset == 3
    assert not records[-1].is_lost
