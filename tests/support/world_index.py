"""A simulated indexer: the real plans and progress, applied to a Redis of dictionaries; and what a reader finds there."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from random import Random

from districam_common.contract import index, names, wire
from districam_common.contract.events import DeadLetter, PartitionFell, StreamEvent
from districam_common.contract.index import SegmentArray
from districam_common.contract.media import Fragment
from districam_common.index import indexed
from districam_common.kafka.marks import Mark, climbed
from districam_common.ledger.causes import Told
from districam_common.ledger.expectation import Revision
from districam_indexer.core.decode import Value, plan
from districam_indexer.core.operations import Batch, gathered
from districam_indexer.core.progress import Place, log_us_of, position, progress
from districam_recorder.core.partition_log import Unreadable
from support.world_broker import PARTITIONS, Broker, Logged, Rotten, mark_at

PLACES: list[Place] = [
    (topic, n) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION) for n in range(PARTITIONS)
]
REVISIONS: Place = (names.CAMERAS, 0)


@dataclass
class Index:
    """What the operations leave behind. Equal indexes answer alike."""

    scored: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    raised: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    fields: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    bits: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    members: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def write(self, records: Iterable[Logged]) -> None:
        """All of it in one batch."""
        self.apply(gathered(op for one in records for op in plan(_indexed(one), one.append_us, {})))

    def apply(self, batch: Batch) -> None:
        for key, scored in batch.scored.items():
            self.scored.setdefault(key, {}).update(scored)
        for key, raised in batch.raised.items():
            best = self.raised.setdefault(key, {})
            best.update({name: max(score, best.get(name, score)) for name, score in raised.items()})
        for key, fields in batch.fields.items():
            self.fields.setdefault(key, {}).update(fields)
        for key, bits in batch.bits.items():
            self.bits.setdefault(key, set()).update(bits)
        for key, members in batch.members.items():
            self.members.setdefault(key, set()).update(members)

    # ---- what a reader finds

    def segments(self, camera_id: str) -> SegmentArray:
        prefix = names.segments_key(camera_id, 0)[:-10]
        rows = [row for key, hour in self.scored.items() if key.startswith(prefix) for row in hour.items()]
        return index.segments([member for member, _ in rows], [score for _, score in rows])

    def told(self, camera_id: str) -> list[Told]:
        found = map(_parsed, self.scored.get(names.events_key(camera_id), ()))
        return [Told(event, at_us) for event, at_us in found if not isinstance(event, PartitionFell)]

    def fell(self, partition: int) -> list[PartitionFell]:
        found = map(_parsed, self.scored.get(names.fell_key(partition), ()))
        return [event for event, _ in found if isinstance(event, PartitionFell)]

    def revisions(self, camera_id: str) -> list[Revision]:
        return [_revision(member) for member in self.scored.get(names.camera_key(camera_id), ())]


def _indexed(logged: Logged) -> Value:
    assert not isinstance(logged.value, Fragment | Rotten | Unreadable | DeadLetter)
    return logged.value


@cache
def _parsed(member: bytes) -> tuple[StreamEvent, int | None]:
    return wire.parse_indexed(member)


@cache
def _revision(member: bytes) -> Revision:
    return Revision(*indexed.parse_indexed_camera(member))


class Indexer:
    """Follows the topics; what it holds, and up to where, outlives it."""

    def __init__(self, broker: Broker, dice: Random) -> None:
        self._broker, self._dice = broker, dice
        self.index = Index()
        self.applied: dict[Place, int] = {}
        self.logged: dict[int, int] = {}
        self._read = 0  # of `cameras`; for the other topics Redis alone says how far they are read
        self.read: dict[Place, tuple[Mark, ...]] = {}
        self.keep()

    def keep(self) -> None:
        """What Redis holds now is what it may come back with."""
        self._kept = deepcopy((self.index, self.applied, self.logged, self.read))

    def set_back(self) -> None:
        self.index, self.applied, self.logged, self.read = deepcopy(self._kept)

    def turn(self, *, follows: bool) -> None:
        """A tick; it does not always keep up, and may read again what it has."""
        cameras = self._broker.log(*REVISIONS)
        if self.applied.get(REVISIONS, 0) < self._read:
            self._read = 0
        self.index.write(cameras[self._read :])
        self._read = self.applied[REVISIONS] = len(cameras)
        told = {n: log_us_of(commit.metadata) for n, commit in enumerate(self._broker.commits) if commit}
        ends = {place: len(self._broker.log(*place)) for place in PLACES}
        sure = {
            place for place in PLACES if self._survivor(place) == next(iter(self.read.get(place, ())), None)
        }
        ends = {place: end for place, end in ends.items() if place in sure}
        for place in PLACES if follows else ():
            self._find_place(place)
            self._follow(place)
        known = {n: log_us for n, log_us in told.items() if log_us is not None}
        self.logged |= progress(known, ends, self.applied, self.logged, count=PARTITIONS)

    def _follow(self, place: Place) -> None:
        at, log = self.applied.get(place, 0), self._broker.log(*place)
        if (
            not log and place[0] == names.RETENTION
        ):  # in most worlds: they throw the dice as they did before it was there
            return
        end = len(log) if self._dice.random() < 0.7 else self._dice.randint(at, len(log))
        again = self._dice.randint(0, 3) if self._dice.random() < 0.1 else 0
        if end > at:
            self.index.write(log[max(0, at - again) : end])
            self.read[place] = climbed(self.read.get(place, ()), mark_at(log, end - 1))
        self.applied[place] = end

    def _survivor(self, place: Place) -> Mark | None:
        return next((mark for mark in self.read.get(place, ()) if self._broker.has(place, mark)), None)

    def _find_place(self, place: Place) -> None:
        """As over a new connection."""
        stated, read = self.applied.get(place), self.read.get(place, ())
        end, survivor = len(self._broker.log(*place)), self._survivor(place)
        self.applied[place], _ = position(stated, 0, end, read=read, survivor=survivor)
        self.read[place] = tuple(mark for mark in read if mark.offset < self.applied[place])
