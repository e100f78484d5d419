"""A simulated recorder: the real partition logs, limits, liveness and clock, without tasks. It may crash at any step."""

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
    """Of an unreadable record nothing is known, not even its append time."""
    if isinstance(logged.value, CorruptFragment):
        return IncomingRecord(offset, 0, monotonic_us, InvalidRecord("", "corrupt", is_lost=True))
    assert isinstance(logged.value, Fragment | InvalidRecord)
    return IncomingRecord(offset, logged.append_us, monotonic_us, logged.value, logged.id)


class ProcessCrashed(Exception):  # a simulated fault, not an error
    """The process has crashed."""


@dataclass
class EffectLog:
    """Effects of all recorders, noted for the invariants; no recorder reads it."""

    announced: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) announced by any recorder."""
    lost_by_bug: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) lost for good by the simulated bug."""
    checked_offsets: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    lost_after_read: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """(epoch, seq) that the log lost after a recorder had committed to have read some of it."""

    def record_lost_tail(self, partition: int, broker: Broker, lost: list[tuple[int, LogRecord]]) -> None:
        """Notes that the log has just lost its tail."""
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
    """One recorder process with all partitions."""

    def __init__(self, broker: Broker, bucket: Bucket, effect_log: EffectLog, rng: Random, monotonic_us: int) -> None:
        self._broker, self._bucket, self._effect_log, self._rng = broker, bucket, effect_log, rng
        self._broker_liveness, self._clock = ([BrokerLiveness(SESSION_US) for _ in range(PARTITIONS)], BrokerClock())
        self._dropped: set[int] = set()
        self._round_us = monotonic_us
        self._handlers = [_Handler(n, self._log_of(n, monotonic_us)) for n in range(PARTITIONS)]
        self.steps_until_crash: int | None = None
        """Steps until it crashes; None: it does not."""
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
        """Runs one tick.

        Raises:
            ProcessCrashed: `steps_until_crash` is used up.
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
        """The partitions whose leader answers."""
        return [handler for handler in self._handlers if handler.number not in self._broker.leaderless_partitions]

    def _check_continuity(self, handler: _Handler) -> None:
        """As the consumer does over a new connection: records read before must still be at their offsets."""
        generation, last = self._broker.leader_generations[handler.number], handler.log.last_read
        if handler.leader_generation != generation and last is not None and not self._is_there(handler.number, last):
            place = names.FRAGMENTS, handler.number
            survivor = next((mark for mark in handler.log.read_marks if self._broker.has(place, mark)), None)
            handler.pending_effects += handler.log.report_tail_truncation(
                survivor, self._broker.start_offsets[handler.number]
            )
        handler.leader_generation = generation

    def _is_there(self, number: int, mark: Mark) -> bool:
        """True if the record is at its offset, or was deleted by retention or cannot be read: then this is unknown."""
        is_unknown = mark.offset < self._broker.start_offsets[number] or self._broker.is_unreadable(number, mark.offset)
        return is_unknown or self._broker.has((names.FRAGMENTS, number), mark)

    def _read(self, monotonic_us: int) -> None:
        if limits.may_resume(self._used(), MEMORY):
            self._dropped.clear()
        for handler in self._reached():
            if handler.number not in self._dropped and not self._feed(handler, monotonic_us):
                break
        assert self._used() <= MEMORY, "the recorder exceeds its memory limit"

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
        """Completes uploads in random order."""
        for handler in self._handlers:
            for effect in handler.pending_effects:
                if id(effect) not in handler.completed and self._rng.random() < 0.7:
                    self._step()
                    handler.completed[id(effect)] = self._put(effect) if isinstance(effect, Segment) else None

    def _put(self, segment: Segment) -> SegmentStored:
        built = build_object(segment, "bucket")
        found = self._bucket.get(built.stored.key)
        if found is not None:
            existing = resolve_existing(built.stored, len(found.body), found.metadata)
            assert isinstance(existing, SegmentStored), "one key, two contents"
            return existing
        self._bucket[built.stored.key] = StoredObject(built.body, encode_metadata(built.stored))
        return built.stored

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
        keys = {(segment.epoch, fragment.info.seq) for fragment in segment.fragments}
        self._effect_log.announced |= keys
        if self.skips_next_announcement:
            self.skips_next_announcement = False
            self._effect_log.lost_by_bug |= keys
            return
        for _ in range(2 if self._rng.random() < 0.05 else 1):  # the ack was lost: sent again
            self._broker.append(names.SEGMENTS, names.partition_of(stored.camera_id, PARTITIONS), stored)

    # ---- commits

    def _round(self, monotonic_us: int) -> None:
        broker_us = self._clock.broker_time_us(monotonic_us)
        ends = [len(self._broker.log(names.FRAGMENTS, n)) for n in range(PARTITIONS)]
        reachable = self._reached()
        caught_up = [h for h in reachable if h.log.position == ends[h.number]]
        for handler in caught_up:
            handler.pending_effects += handler.log.report_end(monotonic_us, broker_us)
        self._step()
        for handler in self._handlers:
            in_contact = self._broker_liveness[handler.number].responding_for_us() >= CONTACT_US
            is_log_blocked = handler not in reachable or not in_contact
            end_us = broker_us if handler in caught_up else None
            commit = handler.log.compute_commit(end_us=end_us, is_watermark_frozen=is_log_blocked)
            self._check_commit(handler.number, commit.offset)
            self._broker.commits[handler.number] = commit
        self._step()

    def _check_commit(self, number: int, offset: int) -> None:
        """Asserts that everything before a commit is announced, reported as rejected, or was lost by the log."""
        before = self._broker.commits[number]
        is_tail_truncated = bool(self._broker.truncated_tails[number])
        assert before is None or offset >= before.offset or is_tail_truncated, "the commit went back"
        log = self._broker.log(names.FRAGMENTS, number)
        offset = min(offset, len(log))  # until the recorder notices that the log is shorter
        for at in range(max(self._effect_log.checked_offsets[number], self._broker.start_offsets[number]), offset):
            value = log[at].value
            fragment_key = isinstance(value, Fragment) and (value.info.epoch, value.info.seq)
            assert not fragment_key or fragment_key in self._effect_log.announced, (
                f"the commit passed fragment {fragment_key}"
            )
        self._effect_log.checked_offsets[number] = max(offset, self._effect_log.checked_offsets[number])
