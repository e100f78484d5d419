"""Forged records: what a writer to a topic can claim about other cameras' footage."""
# aiokafka and redis-py leave arguments untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from districam_common.contract import names, wire
from districam_common.contract.events import FootageExpired
from districam_common.contract.media import Fragment
from districam_common.contract.names import DAY_US
from districam_common.kafka.consumer import KafkaInspector, Partition
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.api_client import format_instant
from districam_recorder.core.checkpoint import decode_checkpoint
from fault import streams
from fault.reading import PARTITIONS
from fault.scene import Scene

VICTIM = "cam-001"
CONFLICTS = "districam_recorder_conflicts_total"
REFUSED = "districam_indexer_expired_refused_total"


async def other_bytes_under_an_old_key(scene: Scene) -> None:
    """Repeats the victim's first segment with one changed byte while the recorder is down and has forgotten its epoch.

    Raises:
        AssertionError: the stored object changed, or the recorder does not survive.
    """
    await streams.restilled(scene, every_s=6)
    partition = Partition(names.FRAGMENTS, names.partition_of(VICTIM, PARTITIONS))
    old = await _first_segment(scene, partition)
    await _until_forgotten(scene, partition, old[0].info.epoch)
    before = await _object(scene, old[0])
    recorder = scene.pipeline["recorder"]
    await recorder.child.kill()
    async with _producing(scene) as producer:
        for one in (*old[:-1], Fragment(old[-1].info, old[-1].value[:-1] + b"\x00")):
            forged = wire.fragment_message(one, site="local")
            await producer.send_and_wait(
                partition.topic, forged.value, key=forged.key, headers=forged.headers, partition=partition.number
            )
        await recorder.child.start()
        await _until_conflict(scene)
    await recorder.child.kill()  # the next one must not read it again
    await recorder.child.start()
    if await _object(scene, old[0]) != before:
        raise AssertionError("what was stored is not what it was")


async def forged_expired(scene: Scene) -> None:
    """Forged expirations of the victim's footage until tomorrow, on both topics; then Redis loses everything.

    Raises:
        AssertionError: footage is not found, not played, or cannot be held.
    """
    now_us = time.time_ns() // 1000
    event = FootageExpired(
        camera_id=VICTIM, at_us=now_us, instance="forger", from_us=0, to_us=now_us + DAY_US, reason="forged"
    )
    forged = wire.event_message(event, 1, site="local", service="indexer")
    async with _producing(scene) as producer:
        for topic in (names.STREAMS, names.RETENTION):
            await producer.send_and_wait(topic, forged.value, key=forged.key, headers=forged.headers)
    async with asyncio.timeout(30):
        while sum((await scene.pipeline["indexer"].metric(REFUSED)).values()) < 2:
            await asyncio.sleep(0.2)
    await _is_footage(scene, now_us)
    async with redis.asyncio.Redis.from_url(scene.servers.redis.url) as client:
        await client.flushall()
    await scene.recovered(time.time_ns() // 1000)
    await _is_footage(scene, now_us)


async def _is_footage(scene: Scene, now_us: int) -> None:
    """Footage of the last minute is found, played and held."""
    from_us, to_us = now_us - 60_000_000, now_us - 5_000_000
    states = {one.state for one in await scene.api.timeline(VICTIM, from_us, to_us)}
    if "recorded" not in states or "expired" in states:
        raise AssertionError(f"unexpected timeline: {states}")
    if "#EXTINF" not in await scene.api.text(scene.api.playlist_url(VICTIM, from_us, to_us)):
        raise AssertionError("nothing is played")
    async with httpx.AsyncClient(base_url=scene.pipeline.api_url, timeout=20) as client:
        window = {"camera_id": VICTIM, "from": format_instant(from_us), "to": format_instant(to_us), "reason": "forged"}
        placed = (await client.post("/v1/holds", json=window)).raise_for_status().json()
        (await client.delete(f"/v1/holds/{placed['id']}", params={"reason": "over"})).raise_for_status()


async def _until_conflict(scene: Scene) -> None:
    async with asyncio.timeout(60):
        while not sum((await scene.pipeline["recorder"].metric(CONFLICTS)).values()):
            await asyncio.sleep(0.2)


async def _first_segment(scene: Scene, partition: Partition) -> list[Fragment]:
    """The victim's oldest fragments on Kafka, up to the end of their segment."""
    out: list[Fragment] = []
    place = TopicPartition(*partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=scene.servers.kafka.bootstrap_servers, max_partition_fetch_bytes=9 << 20
    ) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        async for record in consumer:
            one = _fragment(record)
            if one is None or one.info.camera_id != VICTIM:
                continue
            if out and (one.info.starts_segment or one.info.epoch != out[0].info.epoch):
                break
            out.append(one)
            if one.info.ends:
                break
    return out


def _fragment(record: Any) -> Fragment | None:
    try:
        return wire.decode_fragment(record.key, record.headers, record.value)
    except wire.WireError:
        return None


async def _until_forgotten(scene: Scene, partition: Partition, epoch: str) -> None:
    """Waits until a restarted recorder would not know the epoch any more."""
    settings = KafkaSettings(bootstrap_servers=scene.servers.kafka.bootstrap_servers)
    async with asyncio.timeout(90), KafkaInspector.open(settings) as groups:
        while True:
            commit = (await groups.committed(names.RECORDER_GROUP, [partition]))[partition]
            if commit is not None and epoch not in decode_checkpoint(commit.metadata).seqs:
                return
            await asyncio.sleep(0.5)


async def _object(scene: Scene, first: Fragment) -> bytes:
    """The victim's stored object that starts with the fragment."""
    info = first.info
    listed = await scene.api.segments(info.camera_id, info.start_us, info.start_us + 1)
    (url,) = [one.url for one in listed if info.epoch in one.key and f".{info.seq}-" in one.key]
    return await scene.api.media(url)


@asynccontextmanager
async def _producing(scene: Scene) -> AsyncGenerator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=scene.servers.kafka.bootstrap_servers)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
