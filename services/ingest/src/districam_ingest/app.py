"""Wires ingest together, and puts it away in order: streams end, what waits is acknowledged, then the producer closes."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from districam_common.contract import names
from districam_common.contract.events import Camera
from districam_common.errors import Retriable
from districam_common.kafka.consumer import Member, Partition
from districam_common.kafka.producer import Publisher
from districam_common.pictures.children import Children
from districam_common.runtime.credentials import Credentials
from districam_common.runtime.service import Runtime, retrying
from districam_ingest import metrics
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.clocks.kernel_clock import adjtimex, kernel_clock, tell_kernel_clock
from districam_ingest.clocks.loop_watch import LoopWatch
from districam_ingest.clocks.probing import Prober
from districam_ingest.fleet.camera import CameraLife
from districam_ingest.fleet.cameras import Assignment, Fleet
from districam_ingest.output.g711 import NAMES as G711
from districam_ingest.output.g711 import Transcoders
from districam_ingest.output.outlets import Outlets
from districam_ingest.output.publish import Outbox
from districam_ingest.output.single_copy_producer import SingleCopyProducer
from districam_ingest.output.stills import Stills
from districam_ingest.readers.auto_reader import AutoReader
from districam_ingest.readers.connection import authority
from districam_ingest.readers.libav_reader import AAC, LibavReader
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.recording import stream
from districam_ingest.recording.surroundings import Surroundings
from districam_ingest.recording.turns import Turns
from districam_ingest.settings import Settings

log = structlog.get_logger()

CLOCK_POLL_S = 0.5


async def main(settings: Settings, runtime: Runtime) -> None:
    """Records this replica's cameras until it is asked to stop."""
    runtime.health.needs("kafka", "cameras")
    metrics.COMPILED.set(Path(stream.__file__).suffix != ".py")
    host_clock = HostClock()
    async with _publisher(settings, runtime) as publisher, asyncio.TaskGroup() as background:
        following = background.create_task(_follow_host_clock(host_clock, runtime), name="host clock")
        try:
            partitions = await retrying(lambda: publisher.partitions(names.FRAGMENTS), runtime, "kafka")
        except Retriable:  # asked to stop while Kafka was away
            return
        else:
            await _publish(settings, runtime, publisher, host_clock, partitions)
        finally:
            following.cancel()


async def _publish(
    settings: Settings, runtime: Runtime, publisher: Publisher, host_clock: HostClock, partitions: int
) -> None:
    """Records until it is asked to stop, and until all that was recorded is acknowledged."""
    ingest = settings.ingest
    async with Children.open(ingest.still_threads) as children, asyncio.TaskGroup() as background:
        outbox = Outbox(
            publisher,
            runtime,
            background,
            host_clock,
            site=settings.site,
            most_bytes=ingest.buffer_max_bytes,
            partitions=partitions,
        )
        stills = Stills(background, children, outbox.publish_still, width=ingest.still_width)
        watch = LoopWatch(runtime.clock)
        prober = Prober(publisher, host_clock, runtime, site=settings.site)
        beside = [background.create_task(watch.run(), name="loop watch")]
        try:
            host_clock.host(runtime.clock.now_us(), runtime.clock.monotonic_us())
            await prober.ask()  # before the first camera: else its first second lies where a wrong clock says
            beside.append(background.create_task(_follow_brokers(prober), name="brokers' clocks"))
            around = _surroundings(settings, runtime, outbox, stills, watch)
            with Transcoders.open() as transcoders:
                await _record(
                    settings,
                    runtime,
                    replace(around, transcoders=transcoders if ingest.g711_as_aac else None),
                )
            await outbox.drained()
        finally:
            children.close()
            for task in [*beside, *outbox.senders]:
                task.cancel()


def _publisher(settings: Settings, runtime: Runtime) -> AbstractAsyncContextManager[Publisher]:
    client_id = f"ingest-{runtime.instance}"
    if settings.ingest.single_copy_producer:
        return Publisher.open(settings.kafka, client_id, SingleCopyProducer)
    return Publisher.open(settings.kafka, client_id)


def _surroundings(
    settings: Settings, runtime: Runtime, outbox: Outbox, stills: Stills, watch: LoopWatch
) -> Surroundings:
    ingest, clock = settings.ingest, runtime.clock
    hears = AAC | G711 if ingest.g711_as_aac else AAC
    open_s, read_s, ca_file = ingest.open_s, ingest.silence_s + 2, ingest.rtsps_ca_file
    trusted = authority(ca_file) if ca_file is not None else None
    native = NativeReader(clock, open_s=open_s, read_s=read_s, hears=hears, authority=trusted)
    ffmpeg = LibavReader(clock, open_s=open_s, read_s=read_s, hears=hears, ca_file=ca_file)
    return Surroundings(
        reader=AutoReader(native, ffmpeg),
        forced={native.name: native, ffmpeg.name: ffmpeg},
        credentials=Credentials(ingest.credentials_file),
        outlets=Outlets(
            outbox=outbox,
            stills=stills,
            instance=runtime.instance,
            now_us=lambda: clock.monotonic_us() + outbox.host_clock.offset_us,
        ),
        turns=Turns(ingest.opening_at_once),
        watch=watch,
        clock=clock,
        settings=ingest,
    )


async def _record(settings: Settings, runtime: Runtime, around: Surroundings) -> None:
    """The fleet's life. The group is left first, so that others take over while our streams linger."""

    def live(camera: Camera) -> CameraLife:
        return CameraLife(camera, around)

    async with asyncio.TaskGroup() as streams:
        fleet = Fleet(streams, live, linger_s=settings.ingest.linger_s)
        assignment = Assignment(fleet, runtime, contact_s=settings.kafka.session_timeout_s)
        await _follow_assignment(settings, runtime, assignment)
        fleet.stop_all("handover", "this replica stops", single_client=True)
        if len(fleet):
            await asyncio.sleep(settings.ingest.linger_s)
        fleet.stop_all("handover", "this replica stops")


async def _follow_assignment(settings: Settings, runtime: Runtime, assignment: Assignment) -> None:
    """A member of the group until the service stops; a new one after trouble that cost us the old one."""
    while not runtime.stopping.is_set():
        with suppress(Retriable):
            await retrying(lambda: _be_member(settings, runtime, assignment), runtime, "cameras")


async def _be_member(settings: Settings, runtime: Runtime, assignment: Assignment) -> None:
    found: asyncio.Future[Member] = asyncio.get_running_loop().create_future()

    async def assigned(partitions: frozenset[Partition]) -> None:
        await assignment.assigned(await found, partitions)
        runtime.health.ok("cameras")

    async def revoked(_: frozenset[Partition]) -> None:
        """Streams go on until the new assignment is known."""

    opening = partial(Member.open, on_assigned=assigned, on_revoked=revoked, clock=runtime.clock)
    client_id = f"ingest-{runtime.instance}"
    async with opening(settings.kafka, names.INGEST_GROUP, [names.CAMERAS], client_id) as member:
        found.set_result(member)
        await assignment.run(member)


async def _follow_host_clock(host_clock: HostClock, runtime: Runtime) -> None:
    ask = adjtimex()
    while True:
        tell_kernel_clock(kernel_clock(ask))
        host_clock.host(runtime.clock.now_us(), runtime.clock.monotonic_us())
        metrics.CLOCK_SKEW.set(host_clock.skew_us / 1e6)
        await asyncio.sleep(CLOCK_POLL_S)


async def _follow_brokers(prober: Prober) -> None:
    while True:
        await asyncio.sleep(CLOCK_POLL_S)
        await prober.ask_when_due()
