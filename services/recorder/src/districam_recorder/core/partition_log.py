"""State of one assigned partition: takes records, returns effects, and computes what may be committed."""

from dataclasses import dataclass

from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core.assembler import Assembler, FirstRecord, ReceivedFragment
from districam_recorder.core.checkpoint import Checkpoint
from districam_recorder.core.effects import Effect, Rejection, Truncation
from districam_recorder.core.progress import Commit, Frontier, Progress


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that cannot be stored: its key and the reason.

    Attributes:
        is_lost: the record is unreadable and may have been one or more fragments.
        is_conflict: it contradicts an earlier fragment of its epoch.
    """

    key: str
    reason: str
    is_lost: bool = False
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """A record, or `count` unreadable ones (`append_us` 0). `received_us` is monotonic; `id` is `ce_id`."""

    offset: int
    append_us: int
    received_us: int
    content: Fragment | InvalidRecord
    id: str = ""
    count: int = 1

    @property
    def mark(self) -> Mark:
        """Identifies the record when the log is checked for truncation."""
        return Mark(self.offset, self.append_us, self.id)

    @property
    def start_us(self) -> int:
        """The start of its fragment; 0 if it is none."""
        return self.content.info.start_us if isinstance(self.content, Fragment) else 0

    @property
    def bytes(self) -> int:
        """Bytes that the record holds in memory until it is stored."""
        return len(self.content.value) if isinstance(self.content, Fragment) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """Limits at which a segment closes without a cut."""

    idle_us: int
    segment_max_bytes: int


MAX_FRAGMENT_DELAY_US = 5_000_000
"""Upper bound of the time from a live fragment's start to its append."""
CLOCK_TOLERANCE_US = 1_000_000
"""Offset of a host's clock from the broker's that goes unnoticed."""
MAX_UNREAD_LOSS_US = 60_000_000
"""Upper bound of the time span of unread records that a log loses at its end."""


class PartitionLog:
    """Reads one partition from `offset` on. An effect is pending until `report_announced` is called with it."""

    def __init__(self, offset: int, checkpoint: Checkpoint, limits: SegmentLimits) -> None:
        self.position = offset
        self._limits = limits
        self._assembler = Assembler(checkpoint.seqs, idle_us=limits.idle_us, segment_max_bytes=limits.segment_max_bytes)
        self._progress = Progress(checkpoint)
        self._last_read = checkpoint.read[0] if checkpoint.read else None
        self._truncated_from: FirstRecord | None = None
        self._last_before_truncation: Mark | None = None  # last record read before the log lost its tail
        self._has_reached_end = False  # the end was reached before any loss: the broker's time is known since then
        self._is_loss_unreadable = False  # whether the loss is due to unreadable records, not to a truncated log

    @property
    def watermark_us(self) -> int:
        """Everything appended before this broker time is stored."""
        return self._progress.watermark_us

    @property
    def last_read(self) -> Mark | None:
        """The last record read of this log, by this owner or an earlier one."""
        return self._last_read

    @property
    def read_marks(self) -> tuple[Mark, ...]:
        """`last_read` and some records before it, latest first."""
        older = self._progress.read_marks
        return older if self._last_read is None or self._last_read in older[:1] else (self._last_read, *older)

    @property
    def bytes(self) -> int:
        """Bytes in memory: open segments and those being stored."""
        return self._assembler.open_bytes + self._progress.pending_bytes

    @property
    def has_pending(self) -> bool:
        """Whether any effect is not yet announced."""
        return bool(self._progress.pending)

    @property
    def open_bytes(self) -> int:
        return self._assembler.open_bytes

    @property
    def duplicates(self) -> int:
        """Number of fragments dropped as duplicates."""
        return self._assembler.duplicates

    def first_open_record(self) -> FirstRecord | None:
        """The first record of any open segment."""
        return self._assembler.first_open_record()

    def feed(self, incoming: IncomingRecord) -> list[Effect]:
        """Takes the record at `position`; ignores any other.

        One before it is a leftover of an earlier fetch. One after it means that records in between (offsets
        are dense) must be read first.
        """
        if not incoming.offset <= self.position < incoming.offset + incoming.count:
            return []
        is_new = self._is_new_since_truncation(incoming.mark)
        effects = self._end_truncation(incoming.append_us or None, incoming.start_us) if is_new else []
        self.position = incoming.offset + incoming.count
        self._last_read = self._last_read_with(incoming)
        effects += self._assembler.advance_time(incoming.append_us)
        if isinstance(incoming.content, InvalidRecord):
            effects.append(self._reject(incoming, incoming.content))
        else:
            effects += self._feed_fragment(incoming, incoming.content)
        self._progress.add(effects)
        return effects

    def _last_read_with(self, incoming: IncomingRecord) -> Mark | None:
        """The mark of the last record read, `incoming` included.

        An unreadable one counts too, with the append time before it: if the log loses only such records and grows
        again, the records that take their offsets would never be read.
        """
        before = self._last_read
        if before is not None and incoming.offset <= before.offset:
            return before
        if incoming.append_us:
            return incoming.mark
        is_lost = isinstance(incoming.content, InvalidRecord) and incoming.content.is_lost
        return Mark(incoming.offset, before.append_us, "") if is_lost and before is not None else before

    def _reject(self, incoming: IncomingRecord, content: InvalidRecord) -> Rejection:
        """Rejects a record. If fragments may be lost with it, also begins a truncation, reported by time."""
        append_us = incoming.append_us or self._assembler.max_append_us or self.watermark_us
        if content.is_lost and self._truncated_from is None:
            from_us = max(0, min(self._assembler.earliest_end_us(append_us), append_us - MAX_FRAGMENT_DELAY_US))
            self._begin_truncation(incoming.offset, from_us, is_unreadable=True)
        return Rejection(
            FirstRecord(incoming.offset, append_us, append_us), content.key, content.reason, content.is_conflict
        )

    def _feed_fragment(self, incoming: IncomingRecord, fragment: Fragment) -> list[Effect]:
        if (reason := self._assembler.conflict(fragment)) is not None:
            invalid = InvalidRecord(fragment.info.camera_id, reason, is_conflict=True)
            return [self._reject(incoming, invalid)]
        received = ReceivedFragment(incoming.offset, incoming.append_us, incoming.received_us, fragment)
        return list(self._assembler.feed(received))

    def report_head_truncation(self, beginning_offset: int) -> None:
        """The log now begins after the position: continues there. The next record ends the truncation."""
        self._begin_truncation(self.position, self._earliest_start_us())
        self.position = beginning_offset

    def report_tail_truncation(self, survivor: Mark | None, beginning_offset: int) -> list[Effect]:
        """The log lost its tail, and may have grown again: continues after the last known survivor.

        Closes all open segments, since their records cannot be read again. The first record appended after
        the loss ends the truncation.

        Args:
            survivor: the first of `read_marks` that the log still holds; None if there is none.
            beginning_offset: the log's first offset.
        """
        effects = list[Effect](self._assembler.close_all("torn"))
        self._progress.add(effects)
        start_us = self._earliest_start_us()
        if self._last_before_truncation is None:
            self._last_before_truncation = self._last_read or Mark(self.position - 1, start_us, "")
        self.position = min(self.position, beginning_offset if survivor is None else survivor.offset + 1)
        self._begin_truncation(self.position, start_us)
        self._last_read = survivor
        self._progress.report_truncation(survivor)
        return effects

    def report_end(self, monotonic_us: int, broker_us: int | None) -> list[Effect]:
        """The position is the log's end, by a request sent at `monotonic_us`, `broker_us` (broker clock)."""
        effects = self._end_truncation(broker_us) if self._is_truncation_over(broker_us) else []
        self._has_reached_end |= self._truncated_from is None
        effects += self._assembler.close_idle_at_end(monotonic_us)
        self._progress.add(effects)
        return effects

    def close_largest(self) -> list[Effect]:
        """Closes the largest open segment to free memory."""
        effects = list[Effect](self._assembler.close_largest())
        self._progress.add(effects)
        return effects

    def report_announced(self, effect: Effect) -> None:
        """The oldest pending effect is complete.

        Raises:
            AssertionError: `effect` is not the oldest pending one.
        """
        self._progress.report_announced(effect)

    def compute_commit(self, *, end_us: int | None, is_watermark_frozen: bool) -> Commit:
        """The offset and checkpoint that may be committed now.

        Args:
            end_us: send time (broker clock) of the request that found the log's end; None if records remain
                before it.
            is_watermark_frozen: whether `log_us` must not move yet.
        """
        frontier = self._progress.frontier([self._assembler.first_open_record(), self._truncated_from])
        self._progress.advance_watermark(
            end_us if frontier is None else frontier.watermark_us, is_watermark_frozen=is_watermark_frozen
        )
        self._progress.report_read(self._last_read)
        return self._progress.compute_commit(self._commit_offset(frontier), self._assembler.active_epochs())

    def without_open_segments(self) -> "PartitionLog":
        """A new log at the commit offset, without the open segments: their records are read again later.

        Raises:
            AssertionError: an effect is pending.
        """
        assert not self.has_pending, "open segments dropped while an effect is pending"
        progress = self._progress
        checkpoint = Checkpoint(progress.watermark_us, progress.seqs, progress.since_us, progress.read_marks)
        offset = self._commit_offset(progress.frontier([self._assembler.first_open_record()]))
        fresh = PartitionLog(offset, checkpoint, self._limits)
        fresh._truncated_from, fresh._last_before_truncation, fresh._last_read = (
            self._truncated_from,
            self._last_before_truncation,
            self._last_read,
        )
        fresh._is_loss_unreadable, fresh._has_reached_end = self._is_loss_unreadable, self._has_reached_end
        fresh._progress.survivor, fresh._progress.is_truncated = progress.survivor, progress.is_truncated
        return fresh

    def _commit_offset(self, frontier: Frontier | None) -> int:
        """The frontier's offset, at most the position: fragments held from beyond it are of the lost tail."""
        return self.position if frontier is None else min(self.position, frontier.offset)

    def _earliest_start_us(self) -> int:
        """Lower bound for the start of any fragment from the commit offset on; 0 if unknown.

        If the commit is at the log's end, this is the time of that end less the longest delay of a fragment
        in flight then.
        """
        since_us = self._progress.since_us
        return max(0, (self.watermark_us if since_us is None else since_us) - MAX_FRAGMENT_DELAY_US)

    def _begin_truncation(self, offset: int, from_us: int, *, is_unreadable: bool = False) -> None:
        """Begins or widens a truncation. No offset from `offset` on is committed until it is announced."""
        self._is_loss_unreadable = is_unreadable
        before = self._truncated_from or FirstRecord(offset, from_us, from_us)
        from_us = min(from_us, before.append_us)
        self._truncated_from = FirstRecord(min(offset, before.offset), from_us, from_us)

    def _is_new_since_truncation(self, mark: Mark) -> bool:
        """Whether the record was appended after the loss. One read again after the survivor was not."""
        before = self._last_before_truncation
        return before is None or mark.append_us > before.append_us or mark.offset > before.offset

    def _is_truncation_over(self, broker_us: int | None) -> bool:
        """Whether `broker_us` is after the append of every lost record.

        After a start, the broker's time is known from the log alone and stays at the survivor's until a
        record comes.
        """
        before = self._last_before_truncation
        if before is None or self._has_reached_end:
            return True
        return broker_us is not None and broker_us >= before.append_us + MAX_UNREAD_LOSS_US

    def _end_truncation(self, to_us: int | None, next_start_us: int = 0) -> list[Effect]:
        """Ends the truncation at `to_us`, or at the start of the next fragment if the broker's clock is behind that."""
        if self._truncated_from is None or to_us is None:
            return []
        first, self._truncated_from, self._last_before_truncation = self._truncated_from, None, None
        if self._is_loss_unreadable:  # `append_us` 0: the log's first record, without an earlier time
            from_us = first.append_us or max(0, to_us - MAX_FRAGMENT_DELAY_US)
            return [Truncation(first, from_us, max(to_us + CLOCK_TOLERANCE_US, next_start_us))]
        return [Truncation(first, first.append_us, max(to_us, first.append_us))]
