"""A simulated recorder: the real logs, limits, contact and clock, without tasks. It may die between any two effects."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from districam_common.contract import names
from districam_common.contract.events import DeadLetter, PartitionFell, SegmentStored
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core import limits
from districam_recorder.core.assembler import Segment
from districam_recorder.core.broker_clock import BrokerClock
from districam_recorder.core.checkpoint import Checkpoint, parse
from districam_recorder.core.contact import Contact
from districam_recorder.core.effects import Effect, Fall, Rejection
from districam_recorder.core.objects import agreed, metadata_of, object_of
from districam_recorder.core.partition_log import Incoming, PartitionLog, Rules, Unreadable
from support.world_broker import PARTITIONS, Broker, Bucket, Logged, Rotten, Stored
from support.world_cameras import S

RULES = Rules(idle_us=15 * S, segment_max_bytes=64 << 20)
MEMORY = 8_000
CONTACT_US, SESSION_US, ROUND_US = 60 * S, 10 * S, 5 * S


def _incoming(logged: Logged, offset: int, monotonic_us: int) -> Incoming:
    """Of what is rotten nothing is known, not even when it was appended."""
    if isinstance(logged.value, Rotten):
        return Incoming(offset, 0, monotonic_us, Unreadable("", "rotten", is_lost=True))
    assert isinstance(logged.value, Fragment | Unreadable)
    return Incoming(offset, logged.append_us, monotonic_us, logged.value, logged.id)


class Died(Exception):  # no error: a fault
    """The process is gone."""


@dataclass
class Witness:
    """What the world's judges write down of all recorders; no recorder reads it."""

    announced: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that some recorder has announced."""
    swallowed: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that the bug has made unstored for good."""
    judged: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    missed: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that a log lost, some of it after a recorder had committed that it had read that."""

    def misses(self, partition: int, broker: Broker, lost: list[tuple[int, Logged]]) -> None:
        """The log has just lost its end."""
        end = len(broker.log(names.FRAGMENTS, partition))
        self.judged[partition] = min(end, self.judged[partition])
        commit = broker.commits[partition]
        read = parse(commit.metadata).read if commit else ()
        if read and lost and lost[0][0] <= read[0].offset:
            values = [one.value for _, one in lost]
            self.missed |= {(f.info.epoch, f.info.seq) for f in values if isinstance(f, Fragment)}


@dataclass
class _Handler:
    number: int
    log: PartitionLog
    line: int | None = None
    waiting: deque[Effect] = field(default_factory=deque[Effect])
    put: dict[int, SegmentStored | None] = field(default_factory=dict[int, SegmentStored | None])

    def holding(self) -> limits.Holding:
        oldest = self.log.oldest_open()
        return limits.Holding(
            partition=self.number,
            bytes=self.log.bytes,
            oldest_us=None if oldest is None else oldest.append_us,
            is_waiting=self.log.is_waiting,
        )


class Recorder:
    """One process with all partitions."""

    def __init__(
        self, broker: Broker, bucket: Bucket, witness: Witness, dice: Random, monotonic_us: int
    ) -> None:
        self._broker, self._bucket, self._witness, self._dice = broker, bucket, witness, dice
        self._contacts, self._clock = [Contact(SESSION_US) for _ in range(PARTITIONS)], BrokerClock()
        self._dropped: set[int] = set()
        self._round_us = monotonic_us
        self._handlers = [_Handler(n, self._log_of(n, monotonic_us)) for n in range(PARTITIONS)]
        self.fuse: int | None = None
        """Steps left to live."""
        self.forgets = False

    def _log_of(self, number: int, monotonic_us: int) -> PartitionLog:
        commit, beginning = self._broker.commits[number], self._broker.beginnings[number]
        offset, checkpoint = 0, Checkpoint()
        if commit is not None:
            is_kept = self._dice.random() < 0.8 or self._broker.keeps_texts
            offset, checkpoint = commit.offset, parse(commit.metadata if is_kept else "")
        if checkpoint.log_us:
            self._clock.seen(checkpoint.log_us, monotonic_us, self._broker.leader(names.FRAGMENTS, number))
        log = PartitionLog(offset, checkpoint, RULES)
        if offset < beginning:
            log.falls(beginning)
        return log

    def turn(self, monotonic_us: int, *, broker: bool, store: bool) -> None:
        """A tick.

        Raises:
            Died: the fuse has burnt down.
        """
        if broker:
            for handler in self._reached():
                self._contacts[handler.number].heard(monotonic_us)
                self._look_back(handler)
            self._read(monotonic_us)
        if store:
            self._upload()
        if broker:
            self._announce()
            if monotonic_us >= self._round_us:
                self._round_us = monotonic_us + ROUND_US
                self._round(monotonic_us)

    def _step(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Died

    # ---- reading

    def _reached(self) -> list[_Handler]:
        """Those whose leader answers."""
        return [handler for handler in self._handlers if handler.number not in self._broker.away]

    def _look_back(self, handler: _Handler) -> None:
        """As `Member` does it over a new connection: what was read must be where it was."""
        line, last = self._broker.lines[handler.number], handler.log.last
        if handler.line != line and last is not None and not self._is_there(handler.number, last):
            survivor = next((mark for mark in handler.log.read if self._is_there(handler.number, mark)), None)
            handler.waiting += handler.log.goes_back(survivor, self._broker.beginnings[handler.number])
        handler.line = line

    def _is_there(self, number: int, mark: Mark) -> bool:
        """Of what retention took nobody can tell."""
        return mark.offset < self._broker.beginnings[number] or self._broker.has(
            (names.FRAGMENTS, number), mark
        )

    def _read(self, monotonic_us: int) -> None:
        if limits.has_room_again(self._used(), MEMORY):
            self._dropped.clear()
        for handler in self._reached():
            if handler.number not in self._dropped and not self._feed(handler, monotonic_us):
                break
        assert self._used() <= MEMORY, "the recorder holds more than it may"

    def _used(self) -> int:
        return sum(handler.log.bytes for handler in self._handlers)

    def _feed(self, handler: _Handler, monotonic_us: int) -> bool:
        log = self._broker.log(names.FRAGMENTS, handler.number)
        if handler.log.position < self._broker.beginnings[handler.number]:
            handler.log.falls(self._broker.beginnings[handler.number])
        while handler.log.position < len(log):
            logged, offset = log[handler.log.position], handler.log.position
            incoming = _incoming(logged, offset, monotonic_us)
            if incoming.append_us:
                leader = self._broker.leader(names.FRAGMENTS, handler.number)
                self._clock.seen(incoming.append_us, monotonic_us, leader)
            holdings = [one.holding() for one in self._handlers]
            match limits.step(holdings, handler.number, incoming.bytes, MEMORY):
                case limits.Read():
                    handler.waiting += handler.log.feed(incoming)
                case limits.Wait():
                    return False
                case limits.Drop(number):
                    self._handlers[number].log = self._handlers[number].log.without_open()
                    self._dropped.add(number)
                    if number == handler.number:
                        return True
                case limits.Close(number):
                    self._handlers[number].waiting += self._handlers[number].log.closes_largest()
        return True

    # ---- effects

    def _upload(self) -> None:
        """Uploads end in any order."""
        for handler in self._handlers:
            for effect in handler.waiting:
                if id(effect) not in handler.put and self._dice.random() < 0.7:
                    self._step()
                    handler.put[id(effect)] = self._put(effect) if isinstance(effect, Segment) else None

    def _put(self, segment: Segment) -> SegmentStored:
        made = object_of(segment, "bucket")
        found = self._bucket.get(made.stored.key)
        if found is not None:
            theirs = agreed(made.stored, len(found.body), found.metadata)
            assert isinstance(theirs, SegmentStored), "one key, two contents"
            return theirs
        self._bucket[made.stored.key] = Stored(made.body, metadata_of(made.stored))
        return made.stored

    def _announce(self) -> None:
        for handler in self._handlers:
            while handler.waiting and id(handler.waiting[0]) in handler.put:
                self._step()
                effect = handler.waiting[0]
                self._tell(handler, effect, handler.put.pop(id(effect)))
                self._step()
                handler.log.announced(handler.waiting.popleft())

    def _tell(self, handler: _Handler, effect: Effect, stored: SegmentStored | None) -> None:
        match effect:
            case Segment():
                assert stored is not None
                self._tell_stored(effect, stored)
            case Rejection():
                letter = DeadLetter(
                    topic=names.FRAGMENTS,
                    partition=handler.number,
                    offset=effect.first.offset,
                    key=effect.key,
                    reason=effect.reason,
                    service="recorder",
                )
                self._broker.append(names.DEADLETTERS, 0, letter)
            case Fall():
                fell = PartitionFell(
                    partition=handler.number,
                    at_us=self._broker.now_us,
                    instance="recorder",
                    from_us=effect.from_us,
                    to_us=effect.to_us,
                )
                self._broker.append(names.STREAMS, handler.number % PARTITIONS, fell)

    def _tell_stored(self, segment: Segment, stored: SegmentStored) -> None:
        held = {(segment.epoch, fragment.info.seq) for fragment in segment.fragments}
        self._witness.announced |= held
        if self.forgets:
            self.forgets = False
            self._witness.swallowed |= held
            return
        for _ in range(2 if self._dice.random() < 0.05 else 1):  # the acknowledgement was lost: sent again
            self._broker.append(names.SEGMENTS, names.partition_of(stored.camera_id, PARTITIONS), stored)

    # ---- commits

    def _round(self, monotonic_us: int) -> None:
        broker_us = self._clock.at(monotonic_us)
        ends = [len(self._broker.log(names.FRAGMENTS, n)) for n in range(PARTITIONS)]
        reached = self._reached()
        resting = [h for h in reached if h.log.position == ends[h.number]]
        for handler in resting:
            handler.waiting += handler.log.rests_at_end(monotonic_us, broker_us)
        self._step()
        for handler in self._handlers:
            in_contact = self._contacts[handler.number].lasts_us() >= CONTACT_US
            log_stands = handler not in reached or not in_contact
            end_us = broker_us if handler in resting else None
            commit = handler.log.committable(end_us=end_us, log_stands=log_stands)
            self._judge(handler.number, commit.offset)
            self._broker.commits[handler.number] = commit
        self._step()

    def _judge(self, number: int, offset: int) -> None:
        """The promise of a commit: everything before it is announced, told as rejected, or fell off the log."""
        before = self._broker.commits[number]
        is_torn = bool(self._broker.torn[number])
        assert before is None or offset >= before.offset or is_torn, "the commit went back"
        log = self._broker.log(names.FRAGMENTS, number)
        offset = min(offset, len(log))  # until the recorder sees that the log is shorter
        for at in range(max(self._witness.judged[number], self._broker.beginnings[number]), offset):
            value = log[at].value
            passed = isinstance(value, Fragment) and (value.info.epoch, value.info.seq)
            assert not passed or passed in self._witness.announced, f"the commit passed fragment {passed}"
        self._witness.judged[number] = max(offset, self._witness.judged[number])
