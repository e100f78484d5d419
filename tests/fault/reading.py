"""Faults of reading Kafka: bit rot on the broker's disk, a frozen broker, a broker that compresses."""
# aiokafka and its admin client leave arguments untyped:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from districam_common.contract import names
from districam_common.contract.names import partition_of
from districam_devkit.pipeline import Service, run_command
from fault.scene import Scene
from support.corrupt_log import flip_bit, flip_bit_in_every_batch

CULPRIT = "cam-001"
UNREADABLE = "districam_unreadable_batches_total"
PARTITIONS = 60
FROZEN_S = 4
"""Shorter than the session timeout, longer than two fragments of each camera."""


async def bit_flipped_in_fragments(scene: Scene) -> None:
    """Two recorders read a corrupt batch; then both are killed, so that it is read again."""
    began_us = time.time_ns() // 1000
    topics = {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": scene.servers.kafka.bootstrap_servers}
    recorders = [scene.pipeline["recorder"], await scene.pipeline.add_replica("recorder", topics)]
    try:
        await _both_read(recorders)
        async with _frozen(recorders):
            end = await _end(scene, names.FRAGMENTS)
            await asyncio.sleep(FROZEN_S)
            flip_bit(scene.send_log.parent / "kafka", names.FRAGMENTS, partition_of(CULPRIT, PARTITIONS), end)
        await _until(lambda: _counted(recorders, UNREADABLE))
        for recorder in recorders:
            await recorder.child.kill()
            await recorder.child.start()
        await scene.recovered(time.time_ns() // 1000)
        await _costs_alone(scene, CULPRIT, began_us)
    finally:
        await recorders[1].child.stop()


async def bit_flipped_in_cameras(scene: Scene) -> None:
    """A restarted ingest records the other cameras; the operator's command restores the one with the corrupt record."""
    flipped_bits = flip_bit_in_every_batch(  # all revisions: an older one would suffice to record it
        scene.send_log.parent / "kafka", names.CAMERAS, partition_of(CULPRIT, PARTITIONS)
    )
    try:
        ingest = scene.pipeline["ingest"]
        await ingest.child.kill()
        await ingest.child.start()
        since_us = time.time_ns() // 1000
        await _until(lambda: _record(scene, since_us, scene.cameras - 1), timeout_s=60)
        if await _record(scene, since_us, scene.cameras):
            raise AssertionError("the record is readable: it was not corrupted")
        cameras = str(scene.send_log.parent / "cameras.yaml")
        await run_command(
            "districam_common.admin.cameras", "apply", "-f", cameras, environment=scene.servers.environment()
        )
        await _until(lambda: _record(scene, since_us, scene.cameras), timeout_s=60)
    finally:
        for one in flipped_bits:
            one.toggle()


async def broker_stopped(scene: Scene) -> None:
    """A frozen broker for two minutes: it answers nothing, and connections stay open."""
    broker = scene.servers.kafka.child
    broker.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(120)
    finally:
        broker.signal(signal.SIGCONT)


async def broker_compresses(scene: Scene) -> None:
    """Turns compression on for all topics and restarts consumers; then the operator's command turns it off."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.servers.kafka.bootstrap_servers)
    await admin.start()
    try:
        await _compress(admin)
        for name in ("recorder", "indexer"):
            await scene.pipeline[name].child.kill()
            await scene.pipeline[name].child.start()
        await scene.recovered(time.time_ns() // 1000)
    finally:
        await admin.close()
    output = await run_command("districam_common.admin.topics", "apply", environment=scene.servers.environment())
    if output.count("compression.type zstd -> uncompressed") != len(_TOPICS):
        raise AssertionError(f"the topics still compress: {output}")


_TOPICS = (names.CAMERAS, names.FRAGMENTS, names.KEYFRAMES, names.SEGMENTS, names.STREAMS, names.DEADLETTERS)


async def _compress(admin: AIOKafkaAdminClient) -> None:
    own = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime", "compression.type": "zstd"}
    kinds = {name: {**own, "max.message.bytes": str(9 << 20)} for name in _TOPICS}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, configs) for name, configs in kinds.items()]
    cluster: Any = await admin.describe_cluster()
    node = str(cluster["brokers"][0]["node_id"])  # aiokafka cannot address the default of all brokers
    answers: Any = await admin.alter_configs(
        [*wanted, ConfigResource(ConfigResourceType.BROKER, node, {"compression.type": "zstd"})]
    )
    for answer in answers:
        for code, message, *_ in answer.resources:
            if code:
                raise AssertionError(f"the broker will not compress: {message}")


# ---- conditions to wait for


async def _until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 40) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.2)


async def _counted(services: Sequence[Service], metric: str) -> bool:
    return any([sum((await one.metric(metric)).values()) > 0 for one in services])


async def _both_read(recorders: Sequence[Service]) -> None:
    """Waits until each recorder holds an open segment, and so has partitions."""

    async def read() -> bool:
        return all([sum((await one.metric("districam_recorder_open_bytes")).values()) > 0 for one in recorders])

    await _until(read)


@asynccontextmanager
async def _frozen(services: Sequence[Service]) -> AsyncGenerator[None]:
    for one in services:
        one.child.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in services:
            one.child.signal(signal.SIGCONT)


async def _end(scene: Scene, topic: str) -> int:
    """The end offset of the camera's partition."""
    key = TopicPartition(topic, partition_of(CULPRIT, PARTITIONS))
    async with AIOKafkaConsumer(bootstrap_servers=scene.servers.kafka.bootstrap_servers) as consumer:
        return (await consumer.end_offsets([key]))[key]


async def _record(scene: Scene, since_us: int, count: int) -> bool:
    """Whether `count` cameras have footage after `since_us`."""
    rows: Sequence[Mapping[str, str]] = (await scene.api.json("/v1/streams"))["streams"]
    found = [await scene.api.segments(row["camera_id"], since_us, since_us + 10**12) for row in rows]
    return sum(any(one.end_us > since_us for one in each) for each in found) >= count


async def _costs_alone(scene: Scene, culprit: str, from_us: int) -> None:
    """Waits until the window is settled; only the culprit may have a gap, of cause storage_down."""
    to_us = time.time_ns() // 1000
    gaps: dict[str, set[str]] = {}

    async def is_settled() -> bool:
        gaps.clear()
        rows = (await scene.api.json("/v1/streams"))["streams"]
        for name in (row["camera_id"] for row in rows):
            states = await scene.api.timeline(name, from_us, to_us)
            if any(state.state == "pending" for state in states):
                return False
            gaps[name] = {str(state.cause) for state in states if state.state == "gap"}
        return True

    await _until(is_settled)
    if {name: causes for name, causes in gaps.items() if causes} != {culprit: {"storage_down"}}:
        raise AssertionError(f"unexpected gaps: {gaps}")
