"""One partition's state between two assignments: records in, effects out, and what may be committed."""

from dataclasses import dataclass

from districam_common.media import Fragment
from districam_recorder.core.assembler import Arrival, Assembler, First
from districam_recorder.core.checkpoint import Checkpoint
from districam_recorder.core.effects import Effect, Fall, Rejection
from districam_recorder.core.progress import Commit, Progress


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no fragment: its key, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as read; `received_us` is monotonic."""

    offset: int
    append_us: int
    received_us: int
    content: Fragment | Unreadable

    @property
    def bytes(self) -> int:
        """What it would hold in memory until it is stored."""
        return len(self.content.value) if isinstance(self.content, Fragment) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When segments close without being told to."""

    idle_us: int
    segment_max_bytes: int


class PartitionLog:
    """Reads one partition from `offset` on. Whatever has effects stays unannounced until `announced` says otherwise."""

    def __init__(self, offset: int, checkpoint: Checkpoint, rules: Rules) -> None:
        self.position = offset
        self._rules = rules
        self._assembler = Assembler(
            checkpoint.seqs, idle_us=rules.idle_us, segment_max_bytes=rules.segment_max_bytes
        )
        self._progress = Progress(checkpoint)
        self._fallen: First | None = None

    @property
    def log_us(self) -> int:
        """The log is stored up to this broker time."""
        return self._progress.log_us

    @property
    def bytes(self) -> int:
        """Held in memory: open segments and those on their way to the store."""
        return self._assembler.open_bytes + self._progress.waiting_bytes

    @property
    def is_waiting(self) -> bool:
        """Whether anything is closed and not yet announced."""
        return bool(self._progress.waiting)

    @property
    def open_bytes(self) -> int:
        return self._assembler.open_bytes

    @property
    def repeats(self) -> int:
        """Fragments dropped because they had come before."""
        return self._assembler.repeats

    def oldest_open(self) -> First | None:
        """The first record of any open segment."""
        return self._assembler.earliest()

    def feed(self, incoming: Incoming) -> list[Effect]:
        """Takes the next record; one before `position` is a leftover of an earlier fetch and is passed over."""
        if incoming.offset < self.position:
            return []
        effects = self._end_fall(incoming.append_us)
        self.position = incoming.offset + 1
        effects += self._assembler.passes(incoming.append_us)
        if isinstance(incoming.content, Unreadable):
            effects.append(_rejection(incoming, incoming.content.key, incoming.content.reason))
        else:
            effects += self._take(incoming, incoming.content)
        self._progress.add(effects)
        return effects

    def _take(self, incoming: Incoming, fragment: Fragment) -> list[Effect]:
        if (reason := self._assembler.objection(fragment)) is not None:
            return [_rejection(incoming, fragment.info.camera_id, reason)]
        arrival = Arrival(incoming.offset, incoming.append_us, incoming.received_us, fragment)
        return list(self._assembler.feed(arrival))

    def falls(self, beginning: int) -> None:
        """The log now begins at `beginning`, after the position: goes on from there; the loss is told with the next record."""
        if self._fallen is None:
            self._fallen = First(self.position, self.log_us, self.log_us)
        self.position = beginning

    def rests_at_end(self, monotonic_us: int, broker_us: int | None) -> list[Effect]:
        """The position has reached the end, found by a request sent at `monotonic_us` (`broker_us` by the broker's clock)."""
        effects = self._end_fall(broker_us)
        effects += self._assembler.idle_at_end(monotonic_us)
        self._progress.add(effects)
        return effects

    def closes_largest(self) -> list[Effect]:
        """Closes the largest open segment, for want of memory."""
        effects = list[Effect](self._assembler.close_largest())
        self._progress.add(effects)
        return effects

    def announced(self, effect: Effect) -> None:
        """The effect, the oldest one waiting, is done for good."""
        self._progress.announced(effect)

    def committable(self, *, end_us: int | None, log_stands: bool) -> Commit:
        """What may be committed now.

        Args:
            end_us: the broker's time at the sending of the request that found the end of the log, if nothing lies between
                the position and that end; else None.
            log_stands: whether `log_us` must not move yet.
        """
        first = self._progress.frontier([self._assembler.earliest(), self._fallen])
        truth_us = end_us if first is None else first.truth_us
        if truth_us is not None and not log_stands:
            self._progress.moves_on(truth_us)
        return self._progress.checkpoint(self._offset(first), self._assembler.epochs())

    def without_open(self) -> "PartitionLog":
        """A fresh log from what is announced, the open segments dropped: they are read again later.

        Raises:
            AssertionError: something is on its way to the store.
        """
        assert not self.is_waiting, "dropped what was being stored"
        first = self._progress.frontier([self._assembler.earliest()])
        checkpoint = Checkpoint(self._progress.log_us, self._progress.seqs)
        fresh = PartitionLog(self._offset(first), checkpoint, self._rules)
        fresh._fallen = self._fallen  # of the same class
        return fresh

    def _offset(self, first: First | None) -> int:
        return self.position if first is None else first.offset

    def _end_fall(self, to_us: int | None) -> list[Effect]:
        if self._fallen is None or to_us is None:
            return []
        first, self._fallen = self._fallen, None
        return [Fall(first, first.append_us, max(to_us, first.append_us))]


def _rejection(incoming: Incoming, key: str, reason: str) -> Rejection:
    return Rejection(First(incoming.offset, incoming.append_us, incoming.append_us), key, reason)
