"""Pending effects in the order of closing, and the commit that follows from what is announced."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_common.kafka.marks import Mark, add_mark
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.checkpoint import Checkpoint, encode_checkpoint
from districam_recorder.core.effects import Effect, Truncation


@dataclass(frozen=True, slots=True)
class Commit:
    """A group commit: the offset to resume at after a restart, and the encoded checkpoint."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Frontier:
    """Start of the unannounced records: the offset to commit, and how far the log is certainly stored."""

    offset: int
    watermark_us: int


class Progress:
    """FIFO of effects between closing and announcement, and the checkpoint state."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.pending: deque[Effect] = deque()
        self.pending_bytes = 0
        self.seqs = dict(checkpoint.seqs)
        self.watermark_us = checkpoint.log_us
        self.since_us = checkpoint.since_us
        self.read_marks = checkpoint.read
        self.is_truncated = False
        self.survivor: Mark | None = None

    def add(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.pending.append(effect)
            self.pending_bytes += _effect_bytes(effect)

    def report_announced(self, effect: Effect) -> None:
        """Removes the oldest pending effect, which is announced.

        Raises:
            AssertionError: another effect is the oldest; after a crash, footage would be lost.
        """
        assert self.pending[0] is effect, "announced out of the order of closing"
        self.pending.popleft()
        self.pending_bytes -= _effect_bytes(effect)
        if isinstance(effect, Truncation) and self.is_truncated:
            self._discard_truncated_marks()
        if isinstance(effect, Segment):
            last = max(effect.last_seq, self.seqs.pop(effect.epoch, -1))
            self.seqs[effect.epoch] = last  # at the end: the newest are kept when the metadata is too long

    def frontier(self, others: Iterable[FirstRecord | None]) -> Frontier | None:
        """The earliest unannounced record, of the pending effects and `others`; None if there is none."""
        firsts = [effect.first for effect in self.pending] + [first for first in others if first is not None]
        if not firsts:
            return None
        # By append time first: a record that the log lost is older than the one that has its offset now
        oldest = min(firsts, key=lambda first: (first.append_us, first.offset))
        return Frontier(min(first.offset for first in firsts), oldest.watermark_us)

    def advance_watermark(self, watermark_us: int | None, *, is_watermark_frozen: bool) -> None:
        """The log is stored up to `watermark_us`; None if unknown. The committed `log_us` never goes back."""
        self.since_us = self.since_us if watermark_us is None else watermark_us
        if watermark_us is not None and not is_watermark_frozen:
            self.watermark_us = max(self.watermark_us, watermark_us)

    def report_read(self, last: Mark | None) -> None:
        """Adds the last record read to the read marks."""
        if last is not None and last not in self.read_marks[:1] and not self.is_truncated:
            self.read_marks = add_mark(self.read_marks, last)

    def report_truncation(self, survivor: Mark | None) -> None:
        """The log lost the records after `survivor`.

        Until the truncation is announced, commits keep the lost records' marks: a new owner detects it too.
        """
        self.is_truncated, self.survivor = True, survivor

    def _discard_truncated_marks(self) -> None:
        last_offset = -1 if self.survivor is None else self.survivor.offset
        self.read_marks = tuple(mark for mark in self.read_marks if mark.offset <= last_offset)
        self.is_truncated, self.survivor = False, None

    def compute_commit(self, offset: int, epochs: Iterable[str]) -> Commit:
        """The commit at `offset`. Drops the `seq` of epochs that are not in `epochs` (the active ones)."""
        active = set(epochs)
        self.seqs = {epoch: seq for epoch, seq in self.seqs.items() if epoch in active}
        return Commit(
            offset, encode_checkpoint(Checkpoint(self.watermark_us, self.seqs, self.since_us, self.read_marks))
        )


def _effect_bytes(effect: Effect) -> int:
    return effect.bytes if isinstance(effect, Segment) else 0
