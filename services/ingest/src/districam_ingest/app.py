"""Wires ingest together and shuts it down in order: streams end, queued records are acknowledged, the producer closes."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from districam_common.contract import names
from districam_common.contract.events import Camera
from districam_common.errors import Retriable
from districam_common.kafka.consumer import GroupConsumer, Partition
from districam_common.kafka.producer import Publisher
from districam_common.pictures.decoder_pool import DecoderPool
from districam_common.runtime.credentials import Credentials
from districam_common.runtime.service import Runtime, retry_dependency
from districam_ingest import metrics
from districam_ingest.clocks.broker_clock_prober import BrokerClockProber
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.clocks.kernel_clock import export_kernel_clock, load_adjtimex, read_kernel_clock
from districam_ingest.clocks.stall_detector import StallDetector
from districam_ingest.codec.audio_codecs import STORED, TRANSCODED
from districam_ingest.fleet.assignment import Assignment, Fleet
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.output.g711 import TranscoderPool
from districam_ingest.output.send_queue import SendQueue
from districam_ingest.output.single_copy_producer import SingleCopyProducer
from districam_ingest.output.sinks import Sinks
from districam_ingest.output.stills import StillMaker
from districam_ingest.readers.auto_reader import AutoReader
from districam_ingest.readers.connection import load_ca_context
from districam_ingest.readers.libav_reader import LibavReader
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.recording import stream
from districam_ingest.recording.camera_context import CameraContext
from districam_ingest.recording.open_limiter import OpenLimiter
from districam_ingest.settings import Settings

log = structlog.get_logger()

CLOCK_POLL_S = 0.5


async def main(settings: Settings, runtime: Runtime) -> None:
    """Records this replica's cameras until `runtime.stopping` is set."""
    runtime.health.declare("kafka", "cameras")
    metrics.COMPILED.set(Path(stream.__file__).suffix != ".py")
    host_clock = HostClock()
    async with _open_publisher(settings, runtime) as publisher, asyncio.TaskGroup() as background:
        host_clock_task = background.create_task(_run_host_clock(host_clock, runtime), name="host clock")
        try:
            partitions = await retry_dependency(lambda: publisher.partitions(names.FRAGMENTS), runtime, "kafka")
        except Retriable:  # stop was requested while Kafka was unavailable
            return
        else:
            await _run_pipeline(settings, runtime, publisher, host_clock, partitions)
        finally:
            host_clock_task.cancel()


async def _run_pipeline(
    settings: Settings, runtime: Runtime, publisher: Publisher, host_clock: HostClock, partitions: int
) -> None:
    """Records until a stop is requested, then waits until Kafka has acknowledged every queued record."""
    ingest = settings.ingest
    async with DecoderPool.open(ingest.still_threads) as decoder_pool, asyncio.TaskGroup() as background:
        send_queue = SendQueue(
            publisher,
            runtime,
            background,
            host_clock,
            site=settings.site,
            max_bytes=ingest.buffer_max_bytes,
            partitions=partitions,
        )
        stills = StillMaker(background, decoder_pool, send_queue.publish_still, width=ingest.still_width)
        stall_detector = StallDetector(runtime.clock)
        prober = BrokerClockProber(publisher, host_clock, runtime, site=settings.site)
        background_tasks = [background.create_task(stall_detector.run(), name="loop watch")]
        try:
            host_clock.feed_host_time(runtime.clock.now_us(), runtime.clock.monotonic_us())
            await prober.probe_all()  # before the first camera: a wrong host clock would misplace its first second
            background_tasks.append(background.create_task(_run_broker_probes(prober), name="brokers' clocks"))
            sinks = Sinks(
                send_queue=send_queue,
                stills=stills,
                instance=runtime.instance,
                host_clock=host_clock,
                now_us=lambda: runtime.clock.monotonic_us() + host_clock.offset_us,
            )
            context = _camera_context(settings, runtime, sinks, stall_detector)
            with TranscoderPool.open() as transcoders:
                await _run_fleet(
                    settings, runtime, replace(context, transcoders=transcoders if ingest.g711_as_aac else None)
                )
            await send_queue.wait_acknowledged()
        finally:
            decoder_pool.close()
            for task in [*background_tasks, *send_queue.senders]:
                task.cancel()


def _open_publisher(settings: Settings, runtime: Runtime) -> AbstractAsyncContextManager[Publisher]:
    client_id = f"ingest-{runtime.instance}"
    if settings.ingest.single_copy_producer:
        return Publisher.open(settings.kafka, client_id, SingleCopyProducer)
    return Publisher.open(settings.kafka, client_id)


def _camera_context(settings: Settings, runtime: Runtime, sinks: Sinks, stall_detector: StallDetector) -> CameraContext:
    ingest, clock = settings.ingest, runtime.clock
    audio_codecs = STORED | TRANSCODED if ingest.g711_as_aac else STORED
    open_s, read_s, ca_file = ingest.open_s, ingest.silence_s + 2, ingest.rtsps_ca_file
    tls_context = load_ca_context(ca_file) if ca_file is not None else None
    native = NativeReader(clock, open_s=open_s, read_s=read_s, audio_codecs=audio_codecs, tls_context=tls_context)
    ffmpeg = LibavReader(clock, open_s=open_s, read_s=read_s, audio_codecs=audio_codecs, ca_file=ca_file)
    return CameraContext(
        reader=AutoReader(native, ffmpeg),
        readers_by_name={native.name: native, ffmpeg.name: ffmpeg},
        credentials=Credentials(ingest.credentials_file),
        sinks=sinks,
        open_limiter=OpenLimiter(ingest.opening_at_once),
        stall_detector=stall_detector,
        clock=clock,
        settings=ingest,
    )


async def _run_fleet(settings: Settings, runtime: Runtime, context: CameraContext) -> None:
    """Runs the fleet. On shutdown it leaves the group first, so that other replicas take over while our streams linger."""

    def create_worker(camera: Camera) -> CameraWorker:
        return CameraWorker(camera, context)

    async with asyncio.TaskGroup() as streams:
        fleet = Fleet(streams, create_worker, linger_s=settings.ingest.linger_s)
        assignment = Assignment(fleet, runtime, session_timeout_s=settings.kafka.session_timeout_s)
        await _run_membership(settings, runtime, assignment)
        fleet.stop_all("handover", "this replica is shutting down", only_single_client=True)
        if len(fleet):
            await asyncio.sleep(settings.ingest.linger_s)
        fleet.stop_all("handover", "this replica is shutting down")


async def _run_membership(settings: Settings, runtime: Runtime, assignment: Assignment) -> None:
    """Stays a member of the consumer group until the service stops; joins again after an error ended the membership."""
    while not runtime.stopping.is_set():
        with suppress(Retriable):
            await retry_dependency(lambda: _run_member(settings, runtime, assignment), runtime, "cameras")


async def _run_member(settings: Settings, runtime: Runtime, assignment: Assignment) -> None:
    member_future: asyncio.Future[GroupConsumer] = asyncio.get_running_loop().create_future()

    async def on_assigned(partitions: frozenset[Partition]) -> None:
        await assignment.handle_assigned(await member_future, partitions)
        runtime.health.report_ok("cameras")

    async def on_revoked(_: frozenset[Partition]) -> None:
        """Does nothing: streams continue until the new assignment is known."""

    open_member = partial(GroupConsumer.open, on_assigned=on_assigned, on_revoked=on_revoked, clock=runtime.clock)
    client_id = f"ingest-{runtime.instance}"
    async with open_member(settings.kafka, names.INGEST_GROUP, [names.CAMERAS], client_id) as member:
        member_future.set_result(member)
        await assignment.run(member)


async def _run_host_clock(host_clock: HostClock, runtime: Runtime) -> None:
    adjtimex_call = load_adjtimex()
    while True:
        export_kernel_clock(read_kernel_clock(adjtimex_call))
        host_clock.feed_host_time(runtime.clock.now_us(), runtime.clock.monotonic_us())
        metrics.CLOCK_SKEW.set(host_clock.skew_us / 1e6)
        await asyncio.sleep(CLOCK_POLL_S)


async def _run_broker_probes(prober: BrokerClockProber) -> None:
    while True:
        await asyncio.sleep(CLOCK_POLL_S)
        await prober.probe_if_due()
