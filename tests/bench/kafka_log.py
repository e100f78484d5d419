"""Publishes cameras on Kafka and counts the recorded access units from the fragments' sample tables."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.sender import Sender
from districam_common.contract import names, wire
from districam_common.contract.events import Camera, Connected
from districam_common.kafka.producer import Publisher
from districam_common.mp4 import boxes as mp4
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.pipeline import run_command

NO_STILLS_INTERVAL_S = 3600
"""The maximum interval of stills: each camera's first still is made during warm-up, and none afterwards."""


@dataclass
class LogContents:
    """Access units by camera, and the names of the readers."""

    units: dict[str, int] = field(default_factory=dict[str, int])
    readers: set[str] = field(default_factory=set[str])
    stills: int = 0


async def prepare(bootstrap_servers: str) -> None:
    """Creates the topics."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it warns about partitions that are being created
    environment = {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers}
    await run_command("districam_common.admin.topics", "apply", environment=environment)


@asynccontextmanager
async def published_cameras(kafka: KafkaSettings, cameras: Sequence[Camera]) -> AsyncGenerator[None]:
    """The cameras are enabled during the block."""
    async with Publisher.open(kafka, "bench") as publisher:
        for camera in cameras:
            await publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))
        yield
        for camera in cameras:
            gone = replace(camera, deleted=True, revision=2, updated_us=2)
            await publisher.publish(names.CAMERAS, wire.camera_message(gone, site="local"))


def records(sender: Sender, ids: Sequence[str], *, reader: str, still_s: int) -> list[Camera]:
    made = [Camera(camera_id=one, name=one, url=sender.url(one), updated_us=1) for one in ids]
    kind = "native" if reader == "native" else "ffmpeg"
    return [replace(one, reader=kind, keyframe_interval_s=still_s) for one in made]


async def ends(kafka: KafkaSettings) -> dict[TopicPartition, int]:
    """Returns the end offsets."""
    async with _consumer(kafka) as consumer:
        return await consumer.end_offsets(list(consumer.assignment()))


async def read_since(kafka: KafkaSettings, since: dict[TopicPartition, int]) -> LogContents:
    """Reads what was appended since these offsets."""
    out = LogContents()
    async with _consumer(kafka) as consumer:
        until = await consumer.end_offsets(list(since))
        left = {partition for partition, end in until.items() if end > since[partition]}
        for partition, offset in since.items():
            consumer.seek(partition, offset)
        while left:
            for partition, batch in (await consumer.getmany(timeout_ms=1000)).items():
                for record in batch:
                    _count(out, partition.topic, record)
            for partition in list(left):
                if await consumer.position(partition) >= until[partition]:
                    left.discard(partition)
    return out


def _count(out: LogContents, topic: str, record: object) -> None:
    key, headers, value = (getattr(record, name) for name in ("key", "headers", "value"))
    if topic == names.KEYFRAMES:
        out.stills += 1
    elif topic == names.STREAMS:
        event = wire.decode_event(key, headers, value)
        if isinstance(event, Connected):
            out.readers.add(event.reader)
    else:
        fragment = wire.decode_fragment(key, headers, value)
        units = len(mp4.samples(fragment.value, mp4.video_track(fragment.init)))
        camera_id = fragment.info.camera_id
        out.units[camera_id] = out.units.get(camera_id, 0) + units


@asynccontextmanager
async def _consumer(kafka: KafkaSettings) -> AsyncGenerator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        *(names.FRAGMENTS, names.KEYFRAMES, names.STREAMS),
        bootstrap_servers=kafka.bootstrap_servers,
        max_partition_fetch_bytes=4 << 20,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
