"""One partition's state between two assignments: records in, effects out, and what may be committed."""

from dataclasses import dataclass

from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core.assembler import Assembler, FirstRecord, ReceivedFragment
from districam_recorder.core.checkpoint import Checkpoint
from districam_recorder.core.effects import Effect, Rejection, Truncation
from districam_recorder.core.progress import Commit, Frontier, Progress


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that cannot be stored: its key, and why.

    Attributes:
        is_lost: it is no fragment, and in its place fragments may have lain.
        is_conflict: it contradicts what was read before of its epoch.
    """

    key: str
    reason: str
    is_lost: bool = False
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """A record as read, or `count` of them that cannot be (`append_us` 0); `received_us` is monotonic, `id` its `ce_id`."""

    offset: int
    append_us: int
    received_us: int
    content: Fragment | InvalidRecord
    id: str = ""
    count: int = 1

    @property
    def mark(self) -> Mark:
        """What the record is known by."""
        return Mark(self.offset, self.append_us, self.id)

    @property
    def bytes(self) -> int:
        """What it would hold in memory until it is stored."""
        return len(self.content.value) if isinstance(self.content, Fragment) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """When segments close without being told to."""

    idle_us: int
    segment_max_bytes: int


MAX_FRAGMENT_DELAY_US = 5_000_000
"""A fragment that is made from a live stream starts this long before it is appended, at most."""
CLOCK_TOLERANCE_US = 1_000_000
"""A host's clock may be off by so much against the broker's, unnoticed."""
MAX_UNREAD_LOSS_US = 60_000_000
"""What a log loses of its end, and nobody had read, is no more than this."""


class PartitionLog:
    """Reads one partition from `offset` on. Whatever has effects stays unannounced until `report_announced` says otherwise."""

    def __init__(self, offset: int, checkpoint: Checkpoint, limits: SegmentLimits) -> None:
        self.position = offset
        self._limits = limits
        self._assembler = Assembler(checkpoint.seqs, idle_us=limits.idle_us, segment_max_bytes=limits.segment_max_bytes)
        self._progress = Progress(checkpoint)
        self._last_read = checkpoint.read[0] if checkpoint.read else None
        self._truncated_from: FirstRecord | None = None
        self._last_before_truncation: Mark | None = None  # where the log that lost its tail had been read to
        self._has_reached_end = False  # before anything was lost: then the broker's time has been known since
        self._is_loss_unreadable = False  # why `_fallen` may be lost; else the log lost it

    @property
    def watermark_us(self) -> int:
        """The log is stored up to this broker time."""
        return self._progress.watermark_us

    @property
    def last_read(self) -> Mark | None:
        """The last record that was read of this log, here or by those before."""
        return self._last_read

    @property
    def read_marks(self) -> tuple[Mark, ...]:
        """The same, and some before it, the latest first."""
        older = self._progress.read_marks
        return older if self._last_read is None or self._last_read in older[:1] else (self._last_read, *older)

    @property
    def bytes(self) -> int:
        """Held in memory: open segments and those on their way to the store."""
        return self._assembler.open_bytes + self._progress.pending_bytes

    @property
    def has_pending(self) -> bool:
        """Whether anything is closed and not yet announced."""
        return bool(self._progress.pending)

    @property
    def open_bytes(self) -> int:
        return self._assembler.open_bytes

    @property
    def duplicates(self) -> int:
        """Fragments dropped because they had come before."""
        return self._assembler.duplicates

    def first_open_record(self) -> FirstRecord | None:
        """The first record of any open segment."""
        return self._assembler.first_open_record()

    def feed(self, incoming: IncomingRecord) -> list[Effect]:
        """Takes the next record; one before `position` is a leftover of an earlier fetch and is passed over.

        So is one behind it: offsets are dense, and what lies between has to be read first. `position` tells.
        """
        if not incoming.offset <= self.position < incoming.offset + incoming.count:
            return []
        is_new = self._is_new_since_truncation(incoming.mark)
        effects = self._end_truncation(incoming.append_us or None) if is_new else []
        self.position = incoming.offset + incoming.count
        if incoming.append_us and (self._last_read is None or self._last_read.offset < incoming.offset):
            self._last_read = incoming.mark
        effects += self._assembler.advance_time(incoming.append_us)
        if isinstance(incoming.content, InvalidRecord):
            effects.append(self._reject(incoming, incoming.content))
        else:
            effects += self._feed_fragment(incoming, incoming.content)
        self._progress.add(effects)
        return effects

    def _reject(self, incoming: IncomingRecord, content: InvalidRecord) -> Rejection:
        """What may have lain where nothing can be read is told like what fell off the log: by time."""
        append_us = incoming.append_us or self._assembler.max_append_us or self.watermark_us
        if content.is_lost and self._truncated_from is None:
            from_us = max(0, min(self._assembler.earliest_end_us(append_us), append_us - MAX_FRAGMENT_DELAY_US))
            self._begin_truncation(incoming.offset, from_us, is_unreadable=True)
        return Rejection(
            FirstRecord(incoming.offset, append_us, append_us),
            content.key,
            content.reason,
            content.is_conflict,
        )

    def _feed_fragment(self, incoming: IncomingRecord, fragment: Fragment) -> list[Effect]:
        if (reason := self._assembler.conflict(fragment)) is not None:
            invalid = InvalidRecord(fragment.info.camera_id, reason, is_conflict=True)
            return [self._reject(incoming, invalid)]
        received = ReceivedFragment(incoming.offset, incoming.append_us, incoming.received_us, fragment)
        return list(self._assembler.feed(received))

    def report_head_truncation(self, beginning_offset: int) -> None:
        """The log now begins at `beginning_offset`, after the position: goes on from there; the loss is told with the next record."""
        self._begin_truncation(self.position, self._earliest_start_us())
        self.position = beginning_offset

    def report_tail_truncation(self, survivor: Mark | None, beginning_offset: int) -> list[Effect]:
        """The log lost its tail, and may have grown again: goes on behind the last record that is known to be left.

        What was read and is not stored yet is closed: it can't be read again. What may have been lost is told with the
        first record that was not there before.

        Args:
            survivor: the first of `read` that the log still holds; None for none.
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
        """The position has reached the end, found by a request sent at `monotonic_us` (`broker_us` by the broker's clock)."""
        effects = self._end_truncation(broker_us) if self._is_truncation_over(broker_us) else []
        self._has_reached_end |= self._truncated_from is None
        effects += self._assembler.close_idle_at_end(monotonic_us)
        self._progress.add(effects)
        return effects

    def close_largest(self) -> list[Effect]:
        """Closes the largest open segment, for want of memory."""
        effects = list[Effect](self._assembler.close_largest())
        self._progress.add(effects)
        return effects

    def report_announced(self, effect: Effect) -> None:
        """The effect, the oldest one waiting, is done for good."""
        self._progress.report_announced(effect)

    def compute_commit(self, *, end_us: int | None, is_watermark_frozen: bool) -> Commit:
        """What may be committed now.

        Args:
            end_us: the broker's time at the sending of the request that found the end of the log, if nothing lies between
                the position and that end; else None.
            is_watermark_frozen: whether `log_us` must not move yet.
        """
        frontier = self._progress.frontier([self._assembler.first_open_record(), self._truncated_from])
        self._progress.advance_watermark(
            end_us if frontier is None else frontier.watermark_us, is_watermark_frozen=is_watermark_frozen
        )
        self._progress.report_read(self._last_read)
        return self._progress.compute_commit(self._commit_offset(frontier), self._assembler.active_epochs())

    def without_open_segments(self) -> "PartitionLog":
        """A fresh log from what is announced, the open segments dropped: they are read again later.

        Raises:
            AssertionError: something is on its way to the store.
        """
        assert not self.has_pending, "dropped what was being stored"
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
        """Behind the position, what is held lies in a log that lost it."""
        return self.position if frontier is None else min(self.position, frontier.offset)

    def _earliest_start_us(self) -> int:
        """How old what lies at the commit's offset can be at most; 0: not known.

        A commit that rests at the end of the log knows the time of that end, and what was on its way then had begun before.
        """
        since_us = self._progress.since_us
        return max(0, (self.watermark_us if since_us is None else since_us) - MAX_FRAGMENT_DELAY_US)

    def _begin_truncation(self, offset: int, from_us: int, *, is_unreadable: bool = False) -> None:
        """Nothing from `offset` on is committed until it is told."""
        self._is_loss_unreadable = is_unreadable
        before = self._truncated_from or FirstRecord(offset, from_us, from_us)
        from_us = min(from_us, before.append_us)
        self._truncated_from = FirstRecord(min(offset, before.offset), from_us, from_us)

    def _is_new_since_truncation(self, mark: Mark) -> bool:
        """What is read again behind the survivor was not lost."""
        before = self._last_before_truncation
        return before is None or mark.append_us > before.append_us or mark.offset > before.offset

    def _is_truncation_over(self, broker_us: int | None) -> bool:
        """Whether all that the log lost had been taken by then.

        After a start the broker's time is known from the log alone: it is that of the survivor, until a record comes.
        """
        before = self._last_before_truncation
        if before is None or self._has_reached_end:
            return True
        return broker_us is not None and broker_us >= before.append_us + MAX_UNREAD_LOSS_US

    def _end_truncation(self, to_us: int | None) -> list[Effect]:
        if self._truncated_from is None or to_us is None:
            return []
        first, self._truncated_from, self._last_before_truncation = self._truncated_from, None, None
        if self._is_loss_unreadable:  # of the very first record nobody knows what came before
            return [
                Truncation(
                    first,
                    first.append_us or max(0, to_us - MAX_FRAGMENT_DELAY_US),
                    to_us + CLOCK_TOLERANCE_US,
                )
            ]
        return [Truncation(first, first.append_us, max(to_us, first.append_us))]
