"""The order of closing, what of it is announced, and so what may be committed."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_common.kafka.marks import Mark, climbed
from districam_recorder.core.assembler import First, Segment
from districam_recorder.core.checkpoint import Checkpoint, dump
from districam_recorder.core.effects import Effect, Fall


@dataclass(frozen=True, slots=True)
class Commit:
    """What Kafka is to keep for the group: the next offset to read after a restart, and the checkpoint's text."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Frontier:
    """Where what is not announced begins: the offset to commit, and how far the log is surely stored (`First.truth_us`)."""

    offset: int
    truth_us: int


class Progress:
    """Effects wait here from closing to announcement; they leave from the front, since announcements keep the order."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.waiting: deque[Effect] = deque()
        self.waiting_bytes = 0
        self.seqs = dict(checkpoint.seqs)
        self.log_us = checkpoint.log_us
        self.since_us = checkpoint.since_us
        self.read = checkpoint.read
        self.is_torn = False
        self.survivor: Mark | None = None

    def add(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.waiting.append(effect)
            self.waiting_bytes += _bytes(effect)

    def announced(self, effect: Effect) -> None:
        """The effect in front is announced.

        Raises:
            AssertionError: it is another one that is in front; announcing out of order would lose footage in a crash.
        """
        assert self.waiting[0] is effect, "announced out of the order of closing"
        self.waiting.popleft()
        self.waiting_bytes -= _bytes(effect)
        if isinstance(effect, Fall) and self.is_torn:
            self._tear_is_told()
        if isinstance(effect, Segment):
            last = max(effect.last_seq, self.seqs.pop(effect.epoch, -1))
            self.seqs[effect.epoch] = last  # at the end: the newest are kept when the metadata is too long

    def frontier(self, others: Iterable[First | None]) -> Frontier | None:
        """The first record of all that is not yet announced, waiting here or held open (`others`)."""
        firsts = [effect.first for effect in self.waiting] + [first for first in others if first is not None]
        if not firsts:
            return None
        # What was read of a log that lost it afterwards is older than what has its offset now
        oldest = min(firsts, key=lambda first: (first.append_us, first.offset))
        return Frontier(min(first.offset for first in firsts), oldest.truth_us)

    def moves_on(self, truth_us: int | None, *, log_stands: bool) -> None:
        """The log is stored up to `truth_us`, if that is known. `log_us` never goes back."""
        self.since_us = self.since_us if truth_us is None else truth_us
        if truth_us is not None and not log_stands:
            self.log_us = max(self.log_us, truth_us)

    def has_read(self, last: Mark | None) -> None:
        """The last record that was read so far."""
        if last is not None and last not in self.read[:1] and not self.is_torn:
            self.read = climbed(self.read, last)

    def is_torn_behind(self, survivor: Mark | None) -> None:
        """The log no longer has what was read after `survivor`.

        Until that is told, commits go on naming what is gone: whoever takes over then must find it out as well.
        """
        self.is_torn, self.survivor = True, survivor

    def _tear_is_told(self) -> None:
        known = -1 if self.survivor is None else self.survivor.offset
        self.read = tuple(mark for mark in self.read if mark.offset <= known)
        self.is_torn, self.survivor = False, None

    def checkpoint(self, offset: int, epochs: Iterable[str]) -> Commit:
        """The commit at `offset`; of `epochs` more may come, the others are dropped from the map."""
        alive = set(epochs)
        self.seqs = {epoch: seq for epoch, seq in self.seqs.items() if epoch in alive}
        return Commit(offset, dump(Checkpoint(self.log_us, self.seqs, self.since_us, self.read)))


def _bytes(effect: Effect) -> int:
    return effect.bytes if isinstance(effect, Segment) else 0
