"""The order of closing, what of it is announced, and so what may be committed."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_common.kafka.marks import Mark, add_mark
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.checkpoint import Checkpoint, encode_checkpoint
from districam_recorder.core.effects import Effect, Truncation


@dataclass(frozen=True, slots=True)
class Commit:
    """What Kafka is to keep for the group: the next offset to read after a restart, and the checkpoint's text."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Frontier:
    """Where what is not announced begins: the offset to commit, and how far the log is surely stored (`First.truth_us`)."""

    offset: int
    watermark_us: int


class Progress:
    """Effects wait here from closing to announcement; they leave from the front, since announcements keep the order."""

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
        """The effect in front is announced.

        Raises:
            AssertionError: it is another one that is in front; announcing out of order would lose footage in a crash.
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
        """The first record of all that is not yet announced, waiting here or held open (`others`)."""
        firsts = [effect.first for effect in self.pending] + [first for first in others if first is not None]
        if not firsts:
            return None
        # What was read of a log that lost it afterwards is older than what has its offset now
        oldest = min(firsts, key=lambda first: (first.append_us, first.offset))
        return Frontier(min(first.offset for first in firsts), oldest.watermark_us)

    def advance_watermark(self, watermark_us: int | None, *, is_watermark_frozen: bool) -> None:
        """The log is stored up to `watermark_us`, if that is known. `log_us` never goes back."""
        self.since_us = self.since_us if watermark_us is None else watermark_us
        if watermark_us is not None and not is_watermark_frozen:
            self.watermark_us = max(self.watermark_us, watermark_us)

    def report_read(self, last: Mark | None) -> None:
        """The last record that was read so far."""
        if last is not None and last not in self.read_marks[:1] and not self.is_truncated:
            self.read_marks = add_mark(self.read_marks, last)

    def report_truncation(self, survivor: Mark | None) -> None:
        """The log no longer has what was read after `survivor`.

        Until that is told, commits go on naming what is gone: whoever takes over then must find it out as well.
        """
        self.is_truncated, self.survivor = True, survivor

    def _discard_truncated_marks(self) -> None:
        last_offset = -1 if self.survivor is None else self.survivor.offset
        self.read_marks = tuple(mark for mark in self.read_marks if mark.offset <= last_offset)
        self.is_truncated, self.survivor = False, None

    def compute_commit(self, offset: int, epochs: Iterable[str]) -> Commit:
        """The commit at `offset`; of `epochs` more may come, the others are dropped from the map."""
        active = set(epochs)
        self.seqs = {epoch: seq for epoch, seq in self.seqs.items() if epoch in active}
        return Commit(
            offset,
            encode_checkpoint(Checkpoint(self.watermark_us, self.seqs, self.since_us, self.read_marks)),
        )


def _effect_bytes(effect: Effect) -> int:
    return effect.bytes if isinstance(effect, Segment) else 0
