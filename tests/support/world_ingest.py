"""Simulated ingests: the real streams, epochs, fragmenters, shedders and host clocks, without sockets and tasks.

The simulated tick replaces what `CameraWorker`, `Fleet`, `Assignment` and `SendQueue` wait for.
"""

from collections import defaultdict, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, cast

from districam_common.contract import names
from districam_common.contract.events import Camera, Cause, Lost, Refused, StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.clocks.broker_clock_prober import PROBE_INTERVAL_US
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.fleet.camera_worker import has_same_stream_settings
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.camera_context import CameraContext, report_refused
from districam_ingest.recording.stream import Stream
from districam_recorder.core.partition_log import InvalidRecord
from support.camera_context import make_context
from support.world_broker import BROKERS, PARTITIONS, Broker
from support.world_cameras import LISTING_MUXER, TICK_US, S, SimulatedCamera, tick_us

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

SILENCE_US, LINGER_US, CONTACT_TIMEOUT_US = 10 * S, 20 * S, 10 * S
RETRY_S = 5.0
MAX_QUEUED_FRAGMENTS = 40
MAX_SENDS_PER_TICK = 20
SOCKET_BUFFER_TICKS = 3
"""How many ticks of pictures the socket of a stalled process buffers."""


@dataclass
class SimulatedHostClock:
    """A host's clocks.

    Attributes:
        offset_us, ahead_us: errors of its wall clock.
        suspended_ticks: ticks for which its monotonic clock stopped.
    """

    tick: int = 0
    offset_us: int = 0
    suspended_ticks: int = 0
    ahead_us: int = 0

    def now_us(self) -> int:
        return tick_us(self.tick) + self.offset_us + self.ahead_us

    def monotonic_us(self) -> int:
        return self.monotonic_at(self.tick)

    def monotonic_at(self, tick: int) -> int:
        """The monotonic time at that tick, if it has not stopped since."""
        return 9 * S + (tick - self.suspended_ticks) * TICK_US


@dataclass
class BrokerLink:
    """The connection from one host to the broker, and everything ever queued for it."""

    is_full: bool = False
    corrupted_camera_ids: set[str] = field(default_factory=set[str])
    queued_fragments: list[Fragment] = field(default_factory=list[Fragment])
    corrupted_fragments: list[Fragment] = field(default_factory=list[Fragment])


class SimulatedSendQueue:
    """Replaces `SendQueue`: one queue per partition, so that order is kept."""

    def __init__(self, link: BrokerLink) -> None:
        self.host_clock = HostClock()
        self.causes: dict[str, Cause] = {}  # cause of the last `lost` or `refused` per camera
        self.was_full = False
        self.held_bytes = 0
        self._probed_us: int | None = None
        self._queues = defaultdict[int, deque[Fragment | StreamEvent]](deque)
        self._link = link

    def has_room(self, size_bytes: int) -> bool:
        waiting = sum(isinstance(item, Fragment) for queue in self._queues.values() for item in queue)
        has = bool(size_bytes) and not self._link.is_full and waiting < MAX_QUEUED_FRAGMENTS
        self.was_full |= not has
        return has

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        self.held_bytes += delta_bytes
        assert self.held_bytes >= 0
        return not self._link.is_full

    def put_fragment(self, fragment: Fragment) -> None:
        self._link.queued_fragments.append(fragment)
        self._queues[names.partition_of(fragment.info.camera_id, PARTITIONS)].append(fragment)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        if isinstance(event, Lost | Refused):
            self.causes[camera_id] = event.cause
        self._queues[names.partition_of(camera_id, PARTITIONS)].append(event)

    def send(
        self, broker: Broker, clock: SimulatedHostClock, rng: Random, *, unreachable_partitions: Container[int]
    ) -> None:
        """Sends queued records, except to `unreachable_partitions` of `fragments`."""
        for partition, queue in self._queues.items():
            for _ in range(MAX_SENDS_PER_TICK):
                if not queue or (partition in unreachable_partitions and isinstance(queue[0], Fragment)):
                    break
                item = queue.popleft()
                times = 2 if rng.random() < 0.05 else 1  # the ack was lost: sent again
                topic = names.FRAGMENTS if isinstance(item, Fragment) else names.STREAMS
                for _ in range(times):
                    append_us = self._append(broker, topic, partition, item)
                    self._acked(append_us, clock, broker.leader(topic, partition))

    def probe_clocks_when_due(
        self, broker: Broker, clock: SimulatedHostClock, unreachable_brokers: Container[int]
    ) -> None:
        """Probes the clocks of all brokers but the unreachable ones."""
        is_due = self._probed_us is None or clock.monotonic_us() - self._probed_us >= PROBE_INTERVAL_US
        if is_due or self.host_clock.needs_acks:
            self._probed_us = clock.monotonic_us()
            self.host_clock.expect_brokers(BROKERS, self._probed_us)
            for number in BROKERS:
                if number not in unreachable_brokers:
                    self._acked(broker.clock_us(number), clock, number)

    def _acked(self, append_us: int, clock: SimulatedHostClock, broker: int) -> None:
        monotonic_us = clock.monotonic_us()
        self.host_clock.feed_ack(append_us, monotonic_us, monotonic_us, broker)

    def _append(self, broker: Broker, topic: str, partition: int, item: Fragment | StreamEvent) -> int:
        if isinstance(item, Fragment) and item.info.camera_id in self._link.corrupted_camera_ids:
            self._link.corrupted_fragments.append(item)
            return broker.append(topic, partition, InvalidRecord(item.info.camera_id, "spoilt"))
        return broker.append(topic, partition, item)


class _NoStills:
    def submit(self, request: object) -> None:
        pass


class _Opened:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="simulated")

    def use_precise_arrival(self) -> None:
        pass


@dataclass(eq=False)
class SimulatedCameraWorker:
    """Replaces `CameraWorker`: one camera in one ingest."""

    camera_device: SimulatedCamera
    camera: Camera
    context: CameraContext
    clock: SimulatedHostClock
    stream: Stream | None = None
    read_us: int = 0
    retry_us: int = 0
    linger_until_us: int | None = None
    lost_before: int = 0
    """Pictures lost in transit since the last one received."""
    recorded: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    """Pictures recorded in this tick: number, epoch, time by the epoch's clock."""

    @property
    def _now_us(self) -> int:
        return self.context.clock.monotonic_us()

    def run_tick(self, tick: int) -> None:
        if self.stream is None and not self._connect():
            return
        if not self.camera_device.is_reachable:
            self._fail("camera_unreachable")
        elif self.camera_device.is_sending and self._receive(tick):
            self.read_us = self._now_us
        elif self._now_us - self.read_us >= SILENCE_US:
            self._time_out()

    def _connect(self) -> bool:
        if self._now_us < self.retry_us:
            return False
        if not self.camera_device.accepts_client():
            self._fail("camera_unreachable")
            return False
        self.stream, self.lost_before = Stream(self.camera, cast("Source", _Opened()), self.context), 0
        self.camera_device.clients.append(self)
        self.read_us = self._now_us
        return True

    def _receive(self, tick: int) -> bool:
        if self.camera_device.is_losing or self.stream is None:
            self.lost_before += 1
            return False
        picture, self.lost_before = self.camera_device.picture(tick, self._now_us, self.lost_before), 0
        self.stream.feed([picture])
        # The ground truth must not depend on events:
        epoch = self.stream._epoch  # pyright: ignore[reportPrivateUsage]
        if epoch is not None:
            self.recorded.append((tick, epoch.id, self.clock.monotonic_at(tick) + epoch.offset_us))
        return True

    def read_socket_buffer(self, ticks: range) -> None:
        """Reads the pictures that the socket buffered while the process was stalled."""
        if self.stream is not None and self.camera_device.is_reachable:
            buffered = [tick for tick in ticks if tick in self.camera_device.sent][:SOCKET_BUFFER_TICKS]
            for tick in buffered:
                self._receive(tick)

    def _time_out(self) -> None:
        if self.context.stall_detector.has_stalled_since(self.read_us):
            self.read_us = self._now_us
        else:
            self._fail("source_silent")

    def _fail(self, cause: Cause) -> None:
        """Ends the stream, or reports a failed attempt; the next attempt follows after `RETRY_S`."""
        if not self._end(cause, RETRY_S):
            report_refused(self.camera, self.context, cause, "", RETRY_S)
        self.retry_us = self._now_us + round(RETRY_S * S)

    def _end(self, cause: Cause, retry_s: float) -> bool:
        stream, self.stream = self.stream, None
        if stream is None:
            return False
        self.camera_device.clients.remove(self)
        return stream.close(cause, "", retry_s)

    def stop(self, cause: Cause) -> None:
        self._end(cause, 0.0)

    def disconnect(self) -> None:
        """The process has crashed."""
        if self.stream is not None:
            self.camera_device.clients.remove(self)


_EPOCH_NUMBERS = count()
"""Instead of randomness: epoch ids rise, so that a world repeats itself."""


class Ingest:
    """One ingest process."""

    def __init__(self, name: str, clock: SimulatedHostClock, link: BrokerLink) -> None:
        self.clock = clock
        self.queue = SimulatedSendQueue(link)
        self.workers: dict[str, SimulatedCameraWorker] = {}
        self.last_contact_us = clock.monotonic_us()
        self.was_out_of_contact = False
        self.released = dict[str, Cause]()
        """Cameras released in this tick, and the cause."""
        host_clock = self.queue.host_clock
        self._context = make_context(
            self.queue,
            stills=_NoStills(),
            clock=clock,
            now_us=lambda: clock.monotonic_us() + host_clock.offset_us,
            instance=name,
            muxer=LISTING_MUXER,
            random_bytes=lambda size: next(_EPOCH_NUMBERS).to_bytes(size, "big"),
        )
        self._watch = self._context.stall_detector

    def begin_tick(self, stalled_ticks: int) -> None:
        """Begins a tick, after `stalled_ticks` in which the process did not run."""
        self._watch.has_stalled_since(self.clock.monotonic_us())  # heartbeat
        self.queue.host_clock.feed_host_time(self.clock.now_us(), self.clock.monotonic_us())
        self.queue.was_full = False
        self.released = dict[str, Cause]()
        since = self.clock.tick - stalled_ticks
        for worker in self.workers.values():
            worker.recorded = []
            worker.read_socket_buffer(range(since, self.clock.tick))

    def handle_lost_contact(self) -> None:
        """The group does not answer. After `CONTACT_TIMEOUT_US` other replicas may have our cameras."""
        if self.clock.monotonic_us() - self.last_contact_us >= CONTACT_TIMEOUT_US:
            self.was_out_of_contact = True
            for camera_id, worker in list(self.workers.items()):
                if worker.camera.single_client:
                    self._stop(camera_id, "service_down")

    def apply_assignment(self, assigned: Mapping[str, SimulatedCamera], records: Mapping[str, Camera]) -> None:
        """The group answers: applies the assigned cameras and their records."""
        now_us = self.clock.monotonic_us()
        self.was_out_of_contact |= now_us - self.last_contact_us > CONTACT_TIMEOUT_US
        self.last_contact_us = now_us
        expected = {name: device for name, device in assigned.items() if records[name].is_expected}
        for camera_id, device in expected.items():
            self._ensure(device, records[camera_id])
        for camera_id, worker in list(self.workers.items()):
            if camera_id in assigned and camera_id not in expected:
                self._stop(camera_id, "stream_changed")
            elif camera_id not in assigned and self.was_out_of_contact:
                self._stop(camera_id, "service_down")
            elif camera_id not in assigned and worker.linger_until_us is None:
                worker.linger_until_us = now_us + (0 if worker.camera.single_client else LINGER_US)
        self.was_out_of_contact = False

    def _ensure(self, device: SimulatedCamera, record: Camera) -> None:
        running = self.workers.get(record.camera_id)
        if running is not None and has_same_stream_settings(running.camera, record):
            running.camera, running.linger_until_us = record, None
            return
        if running is not None:
            self._stop(record.camera_id, "stream_changed")
        self.workers[record.camera_id] = SimulatedCameraWorker(device, record, self._context, self.clock)

    def _stop(self, camera_id: str, cause: Cause) -> None:
        self.queue.causes[camera_id] = cause
        if cause != "stream_changed":
            self.released[camera_id] = cause
        self.workers.pop(camera_id).stop(cause)

    def run_workers(self) -> None:
        """Runs all workers for a tick; stops those whose linger time is over."""
        for camera_id, worker in list(self.workers.items()):
            if worker.linger_until_us is not None and self.clock.monotonic_us() >= worker.linger_until_us:
                self._stop(camera_id, "handover")
            else:
                worker.run_tick(self.clock.tick)

    def crash(self) -> None:
        for worker in self.workers.values():
            worker.disconnect()
