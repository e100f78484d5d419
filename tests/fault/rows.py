"""The faults, each with the cost it may have."""
# aiokafka and redis-py leave arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import redis.asyncio
from aiokafka import AIOKafkaProducer

from districam_devkit.servers.process import Child
from districam_devkit.services import SERVICES
from fault import clients, clocks, index, locks, peers, quota, reading, records, streams, torn
from fault.scene import BYTES_S, GOP_S, Scene

BACK_S = GOP_S + 2
"""Time until the next keyframe on a loaded machine."""
SESSION_S = 10
TAKEOVER_S = SESSION_S + 6 + GOP_S
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: 56\r\n\r\n<Error><Code>ServiceUnavailable</Code><Message/></Error>"
)
HOUR_S = 3600

Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and its limits.

    Attributes:
        act: injects it; returns when it is over.
        causes: allowed causes of gaps, with each camera's allowed gap beyond the fault's own length; empty:
            no gap allowed.
        brokers: number of brokers; rows with the same number share a district.
    """

    name: str
    act: Act
    causes: Mapping[str, float] = field(default_factory=dict[str, float])
    brokers: int = 1


def _killed(*names: str, dead_s: float = 3) -> Act:
    async def act(scene: Scene) -> None:
        await _restarted([scene.pipeline[name].child for name in names], dead_s)

    return act


async def _restarted(children: list[Child], dead_s: float) -> None:
    for child in children:
        await child.kill()
    await asyncio.sleep(dead_s)
    async with asyncio.TaskGroup() as tasks:
        for child in children:
            tasks.create_task(child.start())


def _frozen(name: str, for_s: float = 20) -> Act:
    async def act(scene: Scene) -> None:
        child = scene.pipeline[name].child
        child.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            child.signal(signal.SIGCONT)

    return act


def _broker_killed(dead_s: float) -> Act:
    async def act(scene: Scene) -> None:
        await _restarted([scene.servers.kafka.child], dead_s)

    return act


def _store_killed(dead_s: float) -> Act:
    async def act(scene: Scene) -> None:
        await _restarted([scene.servers.s3.child], dead_s)

    return act


async def _store_answers_503(scene: Scene) -> None:
    proxy_name = scene.proxies.s3
    proxy_name.answer = UNAVAILABLE
    proxy_name.reset()
    await asyncio.sleep(30)
    proxy_name.heal()


async def _store_is_slow(scene: Scene) -> None:
    scene.proxies.s3.upwards_bytes_s = BYTES_S / 10
    await asyncio.sleep(60)
    scene.proxies.s3.heal()


async def _bucket_is_full(scene: Scene) -> None:
    recorder, name = scene.pipeline["recorder"], "districam_recorder_put_errors_total"
    before = sum((await recorder.metric(name)).values())
    async with quota.full(scene.servers.s3):
        await asyncio.sleep(30)
    if sum((await recorder.metric(name)).values()) == before:
        raise AssertionError("the store took everything: the bucket was not full")


async def _redis_killed(scene: Scene) -> None:
    await _restarted([scene.servers.redis.child], 10)


async def _redis_flushed(scene: Scene) -> None:
    async with redis.asyncio.Redis.from_url(scene.servers.redis.url) as client:
        await client.flushall()


def _cut(proxy_name: str, for_s: float = 60) -> Act:
    async def act(scene: Scene) -> None:
        proxy = getattr(scene.proxies, proxy_name)
        proxy.cut()
        await asyncio.sleep(for_s)
        proxy.heal()

    return act


def _clock_stepped(by_s: int) -> Act:
    async def act(scene: Scene) -> None:
        scene.clocks.ingest.write_text(str(by_s))
        await asyncio.sleep(30)
        scene.clocks.ingest.write_text("0")

    return act


async def _half_drop(scene: Scene) -> None:
    scene.proxies.cameras.refuse()
    await asyncio.sleep(10)
    scene.proxies.cameras.heal()


async def _poison(scene: Scene) -> None:
    """Publishes unreadable records in the partition of a camera's footage."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.servers.kafka.bootstrap_servers)
    await producer.start()
    try:
        for topic in ("fragments", "segments", "streams", "retention", "keyframes", "cameras"):
            await producer.send_and_wait(f"districam.{topic}.v1", b"\x00spoilt", key=b"cam-001")
    finally:
        await producer.stop()
    async with asyncio.timeout(30):
        while not await _deadletters(scene):
            await asyncio.sleep(0.2)


async def _deadletters(scene: Scene) -> bool:
    recorder = await scene.pipeline["recorder"].metric("districam_recorder_deadletters_total")
    indexer = await scene.pipeline["indexer"].metric("districam_indexer_deadletters_total")
    return sum(recorder.values()) >= 1 and sum(indexer.values()) >= 1


async def _bit_flipped(scene: Scene) -> None:
    proxy_name, before = scene.proxies.s3, scene.proxies.s3.corrupted_uploads
    proxy_name.corrupts_next_upload = True
    async with asyncio.timeout(30):
        while proxy_name.corrupted_uploads == before:
            await asyncio.sleep(0.05)


_SERVICE = {"service_down": TAKEOVER_S + BACK_S}
ROWS = (
    Row("recorder killed", _killed("recorder")),
    Row("indexer killed", _killed("indexer")),
    Row("api killed", _killed("api")),
    Row("ingest killed", _killed("ingest"), _SERVICE),
    Row("recorder frozen for 20 s", _frozen("recorder")),
    Row("indexer frozen for 20 s", _frozen("indexer")),
    Row("api frozen for 20 s", _frozen("api")),
    Row("ingest frozen for 20 s", _frozen("ingest"), _SERVICE),
    Row("recorder and indexer killed at once", _killed("recorder", "indexer")),
    Row("ingest and recorder killed at once", _killed("ingest", "recorder"), _SERVICE),
    Row("all four services killed at once", _killed(*SERVICES), _SERVICE),
    Row("Kafka killed, back after 5 s", _broker_killed(5)),
    Row("Kafka killed, back after 60 s", _broker_killed(60), {"shed_backpressure": BACK_S}),
    Row("store killed for 120 s", _store_killed(120)),
    Row("store answers 503 for 30 s", _store_answers_503),
    Row("store takes a tenth of what cameras send, for 60 s", _store_is_slow),
    Row("bucket full for 30 s", _bucket_is_full),
    Row("Redis killed, back after 10 s", _redis_killed),
    Row("Redis flushed", _redis_flushed),
    Row("network cut between ingest and Kafka for 60 s", _cut("ingest_kafka"), {"shed_backpressure": BACK_S}),
    Row("network cut between recorder and Kafka for 60 s", _cut("recorder_kafka")),
    Row("network cut to the store for 60 s", _cut("s3")),
    Row("network cut to Redis for 60 s", _cut("redis")),
    Row("ingest's clock an hour ahead for 30 s", _clock_stepped(HOUR_S), {"clock_step": 2 * BACK_S}),
    Row("ingest's clock an hour back for 30 s", _clock_stepped(-HOUR_S), {"clock_step": 2 * BACK_S}),
    Row("half of the cameras drop at once for 10 s", _half_drop, {"camera_unreachable": 2 + BACK_S}),
    Row("a poison record next to a stream's records, on each topic", _poison),
    Row("a bit flipped in an upload", _bit_flipped),
    Row("Redis set back by a second", index.set_back),
    Row("rolling upgrade of the index schema, and back", index.schemas_side_by_side),
    Row("every camera gets another name and group", streams.regrouped),
    Row("what a stream depends on changes in every record", streams.restilled, {"stream_changed": BACK_S}),
    Row("ingest's machine paused for 60 s, its monotonic clock with it", partial(clocks.paused, for_s=60), _SERVICE),
    Row(
        "ingest's wall clock 600 s on, while its monotonic clock stood still for 20 s",
        partial(clocks.paused, for_s=20, stepped_s=600),
        _SERVICE,
    ),
    Row(
        "ingest starts seven hours ahead, set right after a minute",
        clocks.starts_ahead,
        {**_SERVICE, "camera_unreachable": 2 + BACK_S},
    ),
    Row("one of three brokers' clocks 1.5 s behind for 30 s", partial(clocks.broker_off, by_s=-1.5), brokers=3),
    Row("one of three brokers' clocks ten minutes ahead for 30 s", partial(clocks.broker_off, by_s=600), brokers=3),
    Row("broker's tail cut and grown again", torn.tail_cut, {"storage_down": BACK_S}),
    Row(
        "broker's tail cut and grown again, recorder killed with it",
        partial(torn.tail_cut, with_it=["recorder"]),
        {"storage_down": torn.LOST_S + BACK_S},
    ),
    Row(
        "a bit flipped in a batch of fragments on the broker's disk, two recorders",
        reading.bit_flipped_in_fragments,
        {"storage_down": 0},
    ),
    Row("a bit flipped in a batch of cameras, ingest killed", reading.bit_flipped_in_cameras, _SERVICE),
    Row("broker stopped for two minutes and resumed", reading.broker_stopped, {"shed_backpressure": BACK_S}),
    Row("compression.type=zstd at the broker", reading.broker_compresses),
    Row(
        "a forged fragment with other bytes under an old key, recorder restarted",
        records.other_bytes_under_an_old_key,
        {"stream_changed": BACK_S},
    ),
    Row("forged expired until tomorrow, on both topics, and Redis flushed", records.forged_expired),
    Row("500 slow connections at the api for 30 s", clients.slow_connections),
    Row("eight stalled downloads of one viewer at the api", clients.sleeping_downloads),
    Row("all fresh footage deleted with the store's own keys, for 20 s", locks.fresh_footage_deleted),
    Row("hostile banner while recording", peers.banner),
    Row("exploding picture while recording, and requested", peers.exploding),
)
