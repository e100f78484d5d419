"""The order of closing, what of it is announced, and so what may be committed."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from districam_recorder.core.assembler import First, Segment
from districam_recorder.core.checkpoint import Checkpoint, dump
from districam_recorder.core.effects import Effect


@dataclass(frozen=True, slots=True)
class Commit:
    """What Kafka is to keep for the group: the next offset to read after a restart, and the checkpoint's text."""

    offset: int
    metadata: str


class Progress:
    """Effects wait here from closing to announcement; they leave from the front, since announcements keep the order."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.waiting: deque[Effect] = deque()
        self.waiting_bytes = 0
        self.seqs = dict(checkpoint.seqs)
        self.log_us = checkpoint.log_us

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
        if isinstance(effect, Segment):
            last = max(effect.last_seq, self.seqs.pop(effect.epoch, -1))
            self.seqs[effect.epoch] = last  # at the end: the newest are kept when the metadata is too long

    def frontier(self, others: Iterable[First | None]) -> First | None:
        """The first record of all that is not yet announced, waiting here or held open (`others`)."""
        firsts = [effect.first for effect in self.waiting] + [first for first in others if first is not None]
        return min(firsts, key=lambda first: first.offset, default=None)

    def moves_on(self, truth_us: int) -> None:
        """The log is stored up to `truth_us`; it never goes back."""
        self.log_us = max(self.log_us, truth_us)

    def checkpoint(self, offset: int, epochs: Iterable[str]) -> Commit:
        """The commit at `offset`; of `epochs` more may come, the others are dropped from the map."""
        alive = set(epochs)
        self.seqs = {epoch: seq for epoch, seq in self.seqs.items() if epoch in alive}
        return Commit(offset, dump(Checkpoint(self.log_us, self.seqs)))


def _bytes(effect: Effect) -> int:
    return effect.bytes if isinstance(effect, Segment) else 0
