"""A simulated recorder: the real logs, limits, contact and clock, without tasks. It may die between any two effects."""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from districam_common.contract import names
from districam_common.contract.events import DeadLetter, PartitionTruncated, SegmentStored
from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core import limits
from districam_recorder.core.assembler import Segment
from districam_recorder.core.broker_clock import BrokerClock
from districam_recorder.core.broker_liveness import BrokerLiveness
from districam_recorder.core.checkpoint import Checkpoint, decode_checkpoint
from districam_recorder.core.effects import Effect, Rejection, Truncation
from districam_recorder.core.objects import build_object, encode_metadata, resolve_existing
from districam_recorder.core.partition_log import IncomingRecord, InvalidRecord, PartitionLog, SegmentLimits
from support.world_broker import PARTITIONS, Broker, Bucket, CorruptFragment, LogRecord, StoredObject
from support.world_cameras import S

RULES = SegmentLimits(idle_us=15 * S, segment_max_bytes=64 << 20)
MEMORY = 8_000
CONTACT_US, SESSION_US, ROUND_US = 60 * S, 10 * S, 5 * S


def _incoming(logged: LogRecord, offset: int, monotonic_us: int) -> IncomingRecord:
    """Of what is rotten nothing is known, not even when it was appended."""
    if isinstance(logged.value, CorruptFragment):
        return IncomingRecord(offset, 0, monotonic_us, InvalidRecord("", "rotten", is_lost=True))
    assert isinstance(logged.value, Fragment | InvalidRecord)
    return IncomingRecord(offset, logged.append_us, monotonic_us, logged.value, logged.id)


class ProcessCrashed(Exception):  # no error: a fault
    """The process is gone."""


@dataclass
class EffectLog:
    """What the world's judges write down of all recorders; no recorder reads it."""

    announced: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that some recorder has announced."""
    lost_by_bug: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that the bug has made unstored for good."""
    checked_offsets: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    lost_after_read: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that a log lost, some of it after a recorder had committed that it had read that."""

    def record_lost_tail(self, partition: int, broker: Broker, lost: list[tuple[int, LogRecord]]) -> None:
        """The log has just lost its end."""
        end = len(broker.log(names.FRAGMENTS, partition))
        self.checked_offsets[partition] = min(end, self.checked_offsets[partition])
        commit = broker.commits[partition]
        read = decode_checkpoint(commit.metadata).read if commit else ()
        if read and lost and lost[0][0] <= read[0].offset:
            values = [one.value for _, one in lost]
            self.lost_after_read |= {(f.info.epoch, f.info.seq) for f in values if isinstance(f, Fragment)}


@dataclass
class _Handler:
    number: int
    log: PartitionLog
    leader_generation: int | None = None
    pending_effects: deque[Effect] = field(default_factory=deque[Effect])
    completed: dict[int, SegmentStored | None] = field(default_factory=dict[int, SegmentStored | None])

    def memory_usage(self) -> limits.PartitionMemory:
        oldest = self.log.first_open_record()
        return limits.PartitionMemory(
            partition=self.number,
            bytes=self.log.bytes,
            oldest_us=None if oldest is None else oldest.append_us,
            has_pending=self.log.has_pending,
        )


class Recorder:
    """One process with all partitions."""

    def __init__(self, broker: Broker, bucket: Bucket, effect_log: EffectLog, rng: Random, monotonic_us: int) -> None:
        self._broker, self._bucket, self._effect_log, self._rng = broker, bucket, effect_log, rng
        self._broker_liveness, self._clock = (
            [BrokerLiveness(SESSION_US) for _ in range(PARTITIONS)],
            BrokerClock(),
        )
        self._dropped: set[int] = set()
        self._round_us = monotonic_us
        self._handlers = [_Handler(n, self._log_of(n, monotonic_us)) for n in range(PARTITIONS)]
        self.steps_until_crash: int | None = None
        """Steps left to live."""
        self.skips_next_announcement = False

    def _log_of(self, number: int, monotonic_us: int) -> PartitionLog:
        commit, beginning = self._broker.commits[number], self._broker.start_offsets[number]
        offset, checkpoint = 0, Checkpoint()
        if commit is not None:
            is_kept = self._rng.random() < 0.8 or self._broker.keeps_commit_metadata
            offset, checkpoint = commit.offset, decode_checkpoint(commit.metadata if is_kept else "")
        if checkpoint.log_us:
            self._clock.feed(checkpoint.log_us, monotonic_us, self._broker.leader(names.FRAGMENTS, number))
        log = PartitionLog(offset, checkpoint, RULES)
        if offset < beginning:
            log.report_head_truncation(beginning)
        return log

    def run_tick(self, monotonic_us: int, *, broker: bool, store: bool) -> None:
        """A tick.

        Raises:
            Died: the fuse has burnt down.
        """
        if broker:
            for handler in self._reached():
                self._broker_liveness[handler.number].report_response(monotonic_us)
                self._check_continuity(handler)
            self._read(monotonic_us)
        if store:
            self._upload()
        if broker:
            self._announce()
            if monotonic_us >= self._round_us:
                self._round_us = monotonic_us + ROUND_US
                self._round(monotonic_us)

    def _step(self) -> None:
        if self.steps_until_crash is not None:
            self.steps_until_crash -= 1
            if self.steps_until_crash < 0:
                raise ProcessCrashed

    # ---- reading

    def _reached(self) -> list[_Handler]:
        """Those whose leader answers."""
        return [handler for handler in self._handlers if handler.number not in self._broker.leaderless_partitions]

    def _check_continuity(self, handler: _Handler) -> None:
        """As `Member` does it over a new connection: what was read must be where it was."""
        line, last = self._broker.leader_generations[handler.number], handler.log.last_read
        if handler.leader_generation != line and last is not None and not self._is_there(handler.number, last):
            survivor = next((mark for mark in handler.log.read_marks if self._is_there(handler.number, mark)), None)
            handler.pending_effects += handler.log.report_tail_truncation(
                survivor, self._broker.start_offsets[handler.number]
            )
        handler.leader_generation = line

    def _is_there(self, number: int, mark: Mark) -> bool:
        """Of what retention took nobody can tell."""
        return mark.offset < self._broker.start_offsets[number] or self._broker.has((names.FRAGMENTS, number), mark)

    def _read(self, monotonic_us: int) -> None:
        if limits.may_resume(self._used(), MEMORY):
            self._dropped.clear()
        for handler in self._reached():
            if handler.number not in self._dropped and not self._feed(handler, monotonic_us):
                break
        assert self._used() <= MEMORY, "the recorder holds more than it may"

    def _used(self) -> int:
        return sum(handler.log.bytes for handler in self._handlers)

    def _feed(self, handler: _Handler, monotonic_us: int) -> bool:
        log = self._broker.log(names.FRAGMENTS, handler.number)
        if handler.log.position < self._broker.start_offsets[handler.number]:
            handler.log.report_head_truncation(self._broker.start_offsets[handler.number])
        while handler.log.position < len(log):
            logged, offset = log[handler.log.position], handler.log.position
            incoming = _incoming(logged, offset, monotonic_us)
            if incoming.append_us:
                leader = self._broker.leader(names.FRAGMENTS, handler.number)
                self._clock.feed(incoming.append_us, monotonic_us, leader)
            holdings = [one.memory_usage() for one in self._handlers]
            match limits.decide(holdings, handler.number, incoming.bytes, MEMORY):
                case limits.Read():
                    handler.pending_effects += handler.log.feed(incoming)
                case limits.Wait():
                    return False
                case limits.Discard(number):
                    self._handlers[number].log = self._handlers[number].log.without_open_segments()
                    self._dropped.add(number)
                    if number == handler.number:
                        return True
                case limits.Close(number):
                    self._handlers[number].pending_effects += self._handlers[number].log.close_largest()
        return True

    # ---- effects

    def _upload(self) -> None:
        """Uploads end in any order."""
        for handler in self._handlers:
            for effect in handler.pending_effects:
                if id(effect) not in handler.completed and self._rng.random() < 0.7:
                    self._step()
                    handler.completed[id(effect)] = self._put(effect) if isinstance(effect, Segment) else None

    def _put(self, segment: Segment) -> SegmentStored:
        made = build_object(segment, "bucket")
        found = self._bucket.get(made.stored.key)
        if found is not None:
            existing = resolve_existing(made.stored, len(found.body), found.metadata)
            assert isinstance(existing, SegmentStored), "one key, two contents"
            return existing
        self._bucket[made.stored.key] = StoredObject(made.body, encode_metadata(made.stored))
        return made.stored

    def _announce(self) -> None:
        for handler in self._handlers:
            while handler.pending_effects and id(handler.pending_effects[0]) in handler.completed:
                self._step()
                effect = handler.pending_effects[0]
                self._publish_effect(handler, effect, handler.completed.pop(id(effect)))
                self._step()
                handler.log.report_announced(handler.pending_effects.popleft())

    def _publish_effect(self, handler: _Handler, effect: Effect, stored: SegmentStored | None) -> None:
        match effect:
            case Segment():
                assert stored is not None
                self._publish_stored(effect, stored)
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
            case Truncation():
                truncation = PartitionTruncated(
                    partition=handler.number,
                    at_us=self._broker.now_us,
                    instance="recorder",
                    from_us=effect.from_us,
                    to_us=effect.to_us,
                )
                self._broker.append(names.STREAMS, handler.number % PARTITIONS, truncation)

    def _publish_stored(self, segment: Segment, stored: SegmentStored) -> None:
        held = {(segment.epoch, fragment.info.seq) for fragment in segment.fragments}
        self._effect_log.announced |= held
        if self.skips_next_announcement:
            self.skips_next_announcement = False
            self._effect_log.lost_by_bug |= held
            return
        for _ in range(2 if self._rng.random() < 0.05 else 1):  # the acknowledgement was lost: sent again
            self._broker.append(names.SEGMENTS, names.partition_of(stored.camera_id, PARTITIONS), stored)

    # ---- commits

    def _round(self, monotonic_us: int) -> None:
        broker_us = self._clock.broker_time_us(monotonic_us)
        ends = [len(self._broker.log(names.FRAGMENTS, n)) for n in range(PARTITIONS)]
        reached = self._reached()
        resting = [h for h in reached if h.log.position == ends[h.number]]
        for handler in resting:
            handler.pending_effects += handler.log.report_end(monotonic_us, broker_us)
        self._step()
        for handler in self._handlers:
            in_contact = self._broker_liveness[handler.number].responding_for_us() >= CONTACT_US
            is_log_blocked = handler not in reached or not in_contact
            end_us = broker_us if handler in resting else None
            commit = handler.log.compute_commit(end_us=end_us, is_watermark_frozen=is_log_blocked)
            self._check_commit(handler.number, commit.offset)
            self._broker.commits[handler.number] = commit
        self._step()

    def _check_commit(self, number: int, offset: int) -> None:
        """The promise of a commit: everything before it is announced, told as rejected, or fell off the log."""
        before = self._broker.commits[number]
        is_tail_truncated = bool(self._broker.truncated_tails[number])
        assert before is None or offset >= before.offset or is_tail_truncated, "the commit went back"
        log = self._broker.log(names.FRAGMENTS, number)
        offset = min(offset, len(log))  # until the recorder sees that the log is shorter
        for at in range(max(self._effect_log.checked_offsets[number], self._broker.start_offsets[number]), offset):
            value = log[at].value
            passed = isinstance(value, Fragment) and (value.info.epoch, value.info.seq)
            assert not passed or passed in self._effect_log.announced, f"the commit passed fragment {passed}"
        self._effect_log.checked_offsets[number] = max(offset, self._effect_log.checked_offsets[number])
