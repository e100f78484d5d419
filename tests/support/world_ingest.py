"""Simulated ingests: the real streams, epochs, fragmenters, shedders and host clocks, without sockets and tasks.

What `CameraLife`, `Fleet`, `Assignment` and `Outbox` wait for, a tick decides here.
"""

from collections import defaultdict, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, cast

from districam_common.contract import names
from districam_common.contract.events import Camera, Cause, Lost, Refused, StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.clocks.probing import INTERVAL_US
from districam_ingest.fleet.camera import asks_the_same
from districam_ingest.readers.reading import SourceInfo
from districam_ingest.recording.stream import Stream
from districam_ingest.recording.surroundings import Surroundings, refuse
from districam_recorder.core.partition_log import Unreadable
from support.surroundings import surroundings
from support.world_broker import BROKERS, PARTITIONS, Broker
from support.world_cameras import TICK_US, Device, S, at

if TYPE_CHECKING:
    from districam_ingest.readers.reading import Source

SILENCE_US, LINGER_US, CONTACT_US = 10 * S, 20 * S, 10 * S
RETRY_S = 5.0
QUEUED_MOST = 40
SENT_A_TICK = 20
SOCKET_TICKS = 3
"""What the socket of a process that stands still keeps."""


@dataclass
class HostTime:
    """A host's clocks. `off_us`: its wall clock's error. `slept`: ticks for which its monotonic clock stood still."""

    tick: int = 0
    off_us: int = 0
    slept: int = 0
    ahead_us: int = 0

    def now_us(self) -> int:
        return at(self.tick) + self.off_us + self.ahead_us

    def monotonic_us(self) -> int:
        return self.monotonic_at(self.tick)

    def monotonic_at(self, tick: int) -> int:
        """What it showed at that tick, if it has gone ever since."""
        return 9 * S + (tick - self.slept) * TICK_US


@dataclass
class Way:
    """The way from one host to the broker, and all that ever went on it."""

    is_full: bool = False
    spoils: set[str] = field(default_factory=set[str])
    offered: list[Fragment] = field(default_factory=list[Fragment])
    spoilt: list[Fragment] = field(default_factory=list[Fragment])


class Queue:
    """What waits for the broker: a line for each partition, so that order is kept."""

    def __init__(self, way: Way) -> None:
        self.host_clock = HostClock()
        self.causes: dict[str, Cause] = {}  # what was last told of each camera's stream
        self.refused_room = False
        self.held = 0
        self._asked_us: int | None = None
        self._lines = defaultdict[int, deque[Fragment | StreamEvent]](deque)
        self._way = way

    def has_room(self, size: int) -> bool:
        waiting = sum(isinstance(item, Fragment) for line in self._lines.values() for item in line)
        has = bool(size) and not self._way.is_full and waiting < QUEUED_MOST
        self.refused_room |= not has
        return has

    def hold(self, more: int) -> bool:
        self.held += more
        assert self.held >= 0
        return not self._way.is_full

    def offer_fragment(self, fragment: Fragment) -> None:
        self._way.offered.append(fragment)
        self._lines[names.partition_of(fragment.info.camera_id, PARTITIONS)].append(fragment)

    def offer_event(self, camera_id: str, event: StreamEvent) -> None:
        if isinstance(event, Lost | Refused):
            self.causes[camera_id] = event.cause
        self._lines[names.partition_of(camera_id, PARTITIONS)].append(event)

    def send(self, broker: Broker, clock: HostTime, dice: Random, *, away: Container[int]) -> None:
        """`away`: partitions of `fragments` whose leader is not found."""
        for partition, line in self._lines.items():
            for _ in range(SENT_A_TICK):
                if not line or (partition in away and isinstance(line[0], Fragment)):
                    break
                item = line.popleft()
                times = 2 if dice.random() < 0.05 else 1  # the acknowledgement was lost: sent again
                topic = names.FRAGMENTS if isinstance(item, Fragment) else names.STREAMS
                for _ in range(times):
                    append_us = self._append(broker, topic, partition, item)
                    self._acked(append_us, clock, broker.leader(topic, partition))

    def ask_when_due(self, broker: Broker, clock: HostTime, unheard: Container[int]) -> None:
        """All brokers for the time; but for those that cannot be reached."""
        is_due = self._asked_us is None or clock.monotonic_us() - self._asked_us >= INTERVAL_US
        if is_due or self.host_clock.wants_acks:
            self._asked_us = clock.monotonic_us()
            self.host_clock.expects(BROKERS, self._asked_us)
            for number in BROKERS:
                if number not in unheard:
                    self._acked(broker.time_us(number), clock, number)

    def _acked(self, append_us: int, clock: HostTime, broker: int) -> None:
        monotonic_us = clock.monotonic_us()
        self.host_clock.acked(append_us, monotonic_us, monotonic_us, broker)

    def _append(self, broker: Broker, topic: str, partition: int, item: Fragment | StreamEvent) -> int:
        if isinstance(item, Fragment) and item.info.camera_id in self._way.spoils:
            self._way.spoilt.append(item)
            return broker.append(topic, partition, Unreadable(item.info.camera_id, "spoilt"))
        return broker.append(topic, partition, item)


class _NoStills:
    def offer(self, wanted: object) -> None:
        pass


class _Opened:
    info = SourceInfo(codec="h264", sets=(), reader="simulated")

    def look_closely(self) -> None:
        pass


@dataclass(eq=False)
class Pull:
    """One camera's life in one ingest."""

    device: Device
    camera: Camera
    around: Surroundings
    clock: HostTime
    stream: Stream | None = None
    read_us: int = 0
    retry_us: int = 0
    leaves_us: int | None = None
    missed: int = 0
    """Pictures lost on the way since the last one."""
    taken: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    """Pictures that went into an epoch in this tick: number, epoch, instant by the epoch's clock."""

    @property
    def _now_us(self) -> int:
        return self.around.clock.monotonic_us()

    def turn(self, tick: int) -> None:
        if self.stream is None and not self._connect():
            return
        if not self.device.reachable:
            self._fail("camera_unreachable")
        elif self.device.sends and self._receive(tick):
            self.read_us = self._now_us
        elif self._now_us - self.read_us >= SILENCE_US:
            self._time_out()

    def _connect(self) -> bool:
        if self._now_us < self.retry_us:
            return False
        if not self.device.accepts():
            self._fail("camera_unreachable")
            return False
        self.stream, self.missed = Stream(self.camera, cast("Source", _Opened()), self.around), 0
        self.device.clients.append(self)
        self.read_us = self._now_us
        return True

    def _receive(self, tick: int) -> bool:
        if self.device.lost or self.stream is None:
            self.missed += 1
            return False
        picture, self.missed = self.device.picture(tick, self._now_us, self.missed), 0
        self.stream.take([picture])
        # The truth must not hang on what is told of it:
        epoch = self.stream._epoch  # pyright: ignore[reportPrivateUsage]
        if epoch is not None:
            self.taken.append((tick, epoch.id, self.clock.monotonic_at(tick) + epoch.offset_us))
        return True

    def catch_up(self, ticks: range) -> None:
        """What the socket kept while the process stood still."""
        if self.stream is not None and self.device.reachable:
            kept = [tick for tick in ticks if tick in self.device.sent][:SOCKET_TICKS]
            for tick in kept:
                self._receive(tick)

    def _time_out(self) -> None:
        if self.around.watch.stalled_since(self.read_us):
            self.read_us = self._now_us
        else:
            self._fail("source_silent")

    def _fail(self, cause: Cause) -> None:
        """Over, or never begun; the next try is after a while."""
        if not self._end(cause, RETRY_S):
            refuse(self.camera, self.around, cause, "", RETRY_S)
        self.retry_us = self._now_us + round(RETRY_S * S)

    def _end(self, cause: Cause, retry_s: float) -> bool:
        stream, self.stream = self.stream, None
        if stream is None:
            return False
        self.device.clients.remove(self)
        return stream.end(cause, "", retry_s)

    def stop(self, cause: Cause) -> None:
        self._end(cause, 0.0)

    def vanish(self) -> None:
        """The process is gone."""
        if self.stream is not None:
            self.device.clients.remove(self)


class Ingest:
    """One process."""

    def __init__(self, name: str, clock: HostTime, way: Way) -> None:
        self.clock = clock
        self.queue = Queue(way)
        self.pulls: dict[str, Pull] = {}
        self.heard_us = clock.monotonic_us()
        self.was_out = False
        self.let_go = dict[str, Cause]()
        """Cameras that were left to others in this tick, and why."""
        host_clock = self.queue.host_clock
        self._around = surroundings(
            self.queue,
            stills=_NoStills(),
            clock=clock,
            now_us=lambda: clock.monotonic_us() + host_clock.offset_us,
            instance=name,
        )
        self._watch = self._around.watch

    def wake(self, stood_still: int) -> None:
        """The tick begins, after so many in which the process did not run."""
        self._watch.stalled_since(self.clock.monotonic_us())  # the beat
        self.queue.host_clock.host(self.clock.now_us(), self.clock.monotonic_us())
        self.queue.refused_room = False
        self.let_go = dict[str, Cause]()
        since = self.clock.tick - stood_still
        for pull in self.pulls.values():
            pull.taken = []
            pull.catch_up(range(since, self.clock.tick))

    def out_of_contact(self) -> None:
        """The group does not answer; after a while others may have our cameras."""
        if self.clock.monotonic_us() - self.heard_us >= CONTACT_US:
            self.was_out = True
            for camera_id, pull in list(self.pulls.items()):
                if pull.camera.single_client:
                    self._stop(camera_id, "service_down")

    def hear(self, mine: Mapping[str, Device], records: Mapping[str, Camera]) -> None:
        """The group answers: these are our cameras, and what the log says of them."""
        now_us = self.clock.monotonic_us()
        self.was_out |= now_us - self.heard_us > CONTACT_US
        self.heard_us = now_us
        wanted = {name: device for name, device in mine.items() if records[name].is_expected}
        for camera_id, device in wanted.items():
            self._ensure(device, records[camera_id])
        for camera_id, pull in list(self.pulls.items()):
            if camera_id in mine and camera_id not in wanted:
                self._stop(camera_id, "stream_changed")
            elif camera_id not in mine and self.was_out:
                self._stop(camera_id, "service_down")
            elif camera_id not in mine and pull.leaves_us is None:
                pull.leaves_us = now_us + (0 if pull.camera.single_client else LINGER_US)
        self.was_out = False

    def _ensure(self, device: Device, record: Camera) -> None:
        running = self.pulls.get(record.camera_id)
        if running is not None and asks_the_same(running.camera, record):
            running.camera, running.leaves_us = record, None
            return
        if running is not None:
            self._stop(record.camera_id, "stream_changed")
        self.pulls[record.camera_id] = Pull(device, record, self._around, self.clock)

    def _stop(self, camera_id: str, cause: Cause) -> None:
        self.queue.causes[camera_id] = cause
        if cause != "stream_changed":
            self.let_go[camera_id] = cause
        self.pulls.pop(camera_id).stop(cause)

    def read(self) -> None:
        """Streams go on, those that have lingered end."""
        for camera_id, pull in list(self.pulls.items()):
            if pull.leaves_us is not None and self.clock.monotonic_us() >= pull.leaves_us:
                self._stop(camera_id, "handover")
            else:
                pull.turn(self.clock.tick)

    def die(self) -> None:
        for pull in self.pulls.values():
            pull.vanish()
