"""One partition's state between two assignments: records in, effects out, and what may be committed."""

from dataclasses import dataclass

from districam_common.contract.media import Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core.assembler import Arrival, Assembler, First
from districam_recorder.core.checkpoint import Checkpoint
from districam_recorder.core.effects import Effect, Fall, Rejection
from districam_recorder.core.progress import Commit, Frontier, Progress


@dataclass(frozen=True, slots=True)
class Unreadable:
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
class Incoming:
    """A record as read, or `count` of them that cannot be (`append_us` 0); `received_us` is monotonic, `id` its `ce_id`."""

    offset: int
    append_us: int
    received_us: int
    content: Fragment | Unreadable
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
class Rules:
    """When segments close without being told to."""

    idle_us: int
    segment_max_bytes: int


STARTS_BEFORE_US = 5_000_000
"""A fragment that is made from a live stream starts this long before it is appended, at most."""
CLOCK_US = 1_000_000
"""A host's clock may be off by so much against the broker's, unnoticed."""
TORN_MOST_US = 60_000_000
"""What a log loses of its end, and nobody had read, is no more than this."""


class PartitionLog:
    """Reads one partition from `offset` on. Whatever has effects stays unannounced until `announced` says otherwise."""

    def __init__(self, offset: int, checkpoint: Checkpoint, rules: Rules) -> None:
        self.position = offset
        self._rules = rules
        self._assembler = Assembler(
            checkpoint.seqs, idle_us=rules.idle_us, segment_max_bytes=rules.segment_max_bytes
        )
        self._progress = Progress(checkpoint)
        self._last = checkpoint.read[0] if checkpoint.read else None
        self._fallen: First | None = None
        self._torn_after: Mark | None = None  # where the log that lost its tail had been read to
        self._has_rested = False  # before anything was lost: then the broker's time has been known since
        self._was_unreadable = False  # why `_fallen` may be lost; else the log lost it

    @property
    def log_us(self) -> int:
        """The log is stored up to this broker time."""
        return self._progress.log_us

    @property
    def last(self) -> Mark | None:
        """The last record that was read of this log, here or by those before."""
        return self._last

    @property
    def read(self) -> tuple[Mark, ...]:
        """The same, and some before it, the latest first."""
        older = self._progress.read
        return older if self._last is None or self._last in older[:1] else (self._last, *older)

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
        """Takes the next record; one before `position` is a leftover of an earlier fetch and is passed over.

        So is one behind it: offsets are dense, and what lies between has to be read first. `position` tells.
        """
        if not incoming.offset <= self.position < incoming.offset + incoming.count:
            return []
        is_new = self._is_behind_the_tear(incoming.mark)
        effects = self._end_fall(incoming.append_us or None) if is_new else []
        self.position = incoming.offset + incoming.count
        if incoming.append_us and (self._last is None or self._last.offset < incoming.offset):
            self._last = incoming.mark
        effects += self._assembler.passes(incoming.append_us)
        if isinstance(incoming.content, Unreadable):
            effects.append(self._refuse(incoming, incoming.content))
        else:
            effects += self._take(incoming, incoming.content)
        self._progress.add(effects)
        return effects

    def _refuse(self, incoming: Incoming, content: Unreadable) -> Rejection:
        """What may have lain where nothing can be read is told like what fell off the log: by time."""
        log_us = incoming.append_us or self._assembler.log_us or self.log_us
        if content.is_lost and self._fallen is None:
            from_us = max(0, min(self._assembler.reaches_us(log_us), log_us - STARTS_BEFORE_US))
            self._begin_fall(incoming.offset, from_us, was_unreadable=True)
        return Rejection(
            First(incoming.offset, log_us, log_us), content.key, content.reason, content.is_conflict
        )

    def _take(self, incoming: Incoming, fragment: Fragment) -> list[Effect]:
        if (reason := self._assembler.objection(fragment)) is not None:
            refused = Unreadable(fragment.info.camera_id, reason, is_conflict=True)
            return [self._refuse(incoming, refused)]
        arrival = Arrival(incoming.offset, incoming.append_us, incoming.received_us, fragment)
        return list(self._assembler.feed(arrival))

    def falls(self, beginning: int) -> None:
        """The log now begins at `beginning`, after the position: goes on from there; the loss is told with the next record."""
        self._begin_fall(self.position, self._since_us())
        self.position = beginning

    def goes_back(self, survivor: Mark | None, beginning: int) -> list[Effect]:
        """The log lost its tail, and may have grown again: goes on behind the last record that is known to be left.

        What was read and is not stored yet is closed: it can't be read again. What may have been lost is told with the
        first record that was not there before.

        Args:
            survivor: the first of `read` that the log still holds; None for none.
            beginning: the log's first offset.
        """
        effects = list[Effect](self._assembler.close_all("torn"))
        self._progress.add(effects)
        since_us = self._since_us()
        if self._torn_after is None:
            self._torn_after = self._last or Mark(self.position - 1, since_us, "")
        self.position = min(self.position, beginning if survivor is None else survivor.offset + 1)
        self._begin_fall(self.position, since_us)
        self._last = survivor
        self._progress.is_torn_behind(survivor)
        return effects

    def rests_at_end(self, monotonic_us: int, broker_us: int | None) -> list[Effect]:
        """The position has reached the end, found by a request sent at `monotonic_us` (`broker_us` by the broker's clock)."""
        effects = self._end_fall(broker_us) if self._is_over(broker_us) else []
        self._has_rested |= self._fallen is None
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
        frontier = self._progress.frontier([self._assembler.earliest(), self._fallen])
        self._progress.moves_on(end_us if frontier is None else frontier.truth_us, log_stands=log_stands)
        self._progress.has_read(self._last)
        return self._progress.checkpoint(self._offset(frontier), self._assembler.epochs())

    def without_open(self) -> "PartitionLog":
        """A fresh log from what is announced, the open segments dropped: they are read again later.

        Raises:
            AssertionError: something is on its way to the store.
        """
        assert not self.is_waiting, "dropped what was being stored"
        progress = self._progress
        checkpoint = Checkpoint(progress.log_us, progress.seqs, progress.since_us, progress.read)
        offset = self._offset(progress.frontier([self._assembler.earliest()]))
        fresh = PartitionLog(offset, checkpoint, self._rules)
        fresh._fallen, fresh._torn_after, fresh._last = self._fallen, self._torn_after, self._last
        fresh._was_unreadable, fresh._has_rested = self._was_unreadable, self._has_rested
        fresh._progress.survivor, fresh._progress.is_torn = progress.survivor, progress.is_torn
        return fresh

    def _offset(self, frontier: Frontier | None) -> int:
        """Behind the position, what is held lies in a log that lost it."""
        return self.position if frontier is None else min(self.position, frontier.offset)

    def _since_us(self) -> int:
        """How old what lies at the commit's offset can be at most; 0: not known.

        A commit that rests at the end of the log knows the time of that end, and what was on its way then had begun before.
        """
        since_us = self._progress.since_us
        return max(0, (self.log_us if since_us is None else since_us) - STARTS_BEFORE_US)

    def _begin_fall(self, offset: int, from_us: int, *, was_unreadable: bool = False) -> None:
        """Nothing from `offset` on is committed until it is told."""
        self._was_unreadable = was_unreadable
        before = self._fallen or First(offset, from_us, from_us)
        from_us = min(from_us, before.append_us)
        self._fallen = First(min(offset, before.offset), from_us, from_us)

    def _is_behind_the_tear(self, mark: Mark) -> bool:
        """What is read again behind the survivor was not lost."""
        before = self._torn_after
        return before is None or mark.append_us > before.append_us or mark.offset > before.offset

    def _is_over(self, broker_us: int | None) -> bool:
        """Whether all that the log lost had been taken by then.

        After a start the broker's time is known from the log alone: it is that of the survivor, until a record comes.
        """
        before = self._torn_after
        if before is None or self._has_rested:
            return True
        return broker_us is not None and broker_us >= before.append_us + TORN_MOST_US

    def _end_fall(self, to_us: int | None) -> list[Effect]:
        if self._fallen is None or to_us is None:
            return []
        first, self._fallen, self._torn_after = self._fallen, None, None
        if self._was_unreadable:  # of the very first record nobody knows what came before
            return [Fall(first, first.append_us or max(0, to_us - STARTS_BEFORE_US), to_us + CLOCK_US)]
        return [Fall(first, first.append_us, max(to_us, first.append_us))]
