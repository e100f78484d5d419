"""Which records are returned, depending on their connections and on the content of the log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from districam_common.errors import Fatal, Retriable
from districam_common.kafka import offsets
from districam_common.kafka.marks import Mark
from districam_common.kafka.records import Partition, Record, mark_of
from districam_common.kafka.truncation_detector import TruncationDetector, first_surviving_marks

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

pytestmark = pytest.mark.correctness

P, Q = Partition("t", 0), Partition("t", 1)
LEADERS = {P: 1, Q: 2}


def _leader(key: TopicPartition) -> int:
    return LEADERS[Partition(*key)]


def record(offset: int, text: str = "old") -> Record:
    return Record("t", 0, offset, offset * 1000, None, None, (("ce_id", f"{text}/{offset}".encode()),))


@dataclass
class Line:
    is_up: bool = True

    def connected(self) -> bool:
        return self.is_up


@dataclass
class Broker:
    """Two leaders, and P's log. `looks`: the lookups made."""

    log: list[Record] = field(default_factory=lambda: [record(n) for n in range(10)])
    begins: int = 0
    lines: dict[int, Line] = field(default_factory=lambda: {1: Line(), 2: Line()})
    looks: list[int] = field(default_factory=list[int])
    is_away: bool = False
    leaders: dict[Partition, int] = field(default_factory=LEADERS.copy)

    def restarts(self, keep: int, new: int) -> None:
        """Restarts P's leader, with `new` records after the first `keep`."""
        self.log = self.log[:keep] + [record(keep + n, "new") for n in range(new)]
        self.lines[1].is_up = False
        self.lines[1] = Line()

    def continuity(self) -> TruncationDetector:
        client = SimpleNamespace(
            cluster=SimpleNamespace(leader_for_partition=_leader, _partitions=self.leaders), _conns=_Conns(self)
        )
        return TruncationDetector(cast("AIOKafkaConsumer", SimpleNamespace(_client=client)), self.look)

    async def look(self, asked: Mapping[Partition, int]) -> Mapping[Partition, Record | None]:
        if self.is_away:
            raise Retriable("away")
        self.looks += asked.values()
        there = {p: offset for p, offset in asked.items() if offset >= self.begins}
        found = {p: self.log[offset] if offset < len(self.log) else None for p, offset in there.items()}
        return {p: one for p, one in found.items() if one is None or not one.problem}


@dataclass
class _Conns:
    broker: Broker

    def items(self) -> Iterable[tuple[tuple[int, int], Line]]:
        return [((node, 0), line) for node, line in self.broker.lines.items()]


async def reading(broker: Broker, *, until: int = 10) -> TruncationDetector:
    continuity = broker.continuity()
    continuity.report_seek(P, None)
    assert await continuity.truncated_partitions([P], {P: broker.log[:until]}) == set()
    assert continuity.is_verified(P)
    broker.looks.clear()
    return continuity


async def test_the_same_connection_needs_no_lookup():
    broker = Broker()
    continuity = await reading(broker)
    broker.log.append(record(10))
    assert await continuity.truncated_partitions([P], {P: broker.log[10:]}) == set()
    assert await continuity.truncated_partitions([P], {}) == set()
    assert broker.looks == []


async def test_a_new_connection_needs_one_lookup_of_the_last_record():
    broker = Broker()
    continuity = await reading(broker)
    broker.restarts(keep=10, new=3)
    assert not continuity.is_verified(P)
    assert await continuity.truncated_partitions([P], {P: broker.log[10:]}) == set()
    assert broker.looks == [9, 12]
    assert continuity.is_verified(P)


@pytest.mark.parametrize("got", [True, False])
async def test_records_after_a_lost_record_are_not_returned(*, got: bool):
    broker = Broker()
    continuity = await reading(broker)
    broker.restarts(keep=6, new=8)
    for _ in range(2):
        assert await continuity.truncated_partitions([P, Q], {P: broker.log[10:]} if got else {}) == {P}
    assert broker.looks == ([9, 13] if got else [9]), "looked up repeatedly"
    assert not continuity.is_verified(P)
    continuity.report_seek(P, mark_of(broker.log[5]))
    assert await continuity.truncated_partitions([P], {P: broker.log[6:]}) == set()


async def test_records_fetched_before_a_restart_and_returned_after_it_are_looked_up():
    broker = Broker()
    continuity = await reading(broker, until=6)
    old = broker.log[6:10]
    broker.restarts(keep=6, new=8)
    assert await continuity.truncated_partitions([P], {P: old}) == {P}


async def test_a_lost_tail_is_detected_before_the_log_grows_again():
    broker = Broker()
    continuity = await reading(broker)
    broker.restarts(keep=6, new=0)
    assert await continuity.truncated_partitions([P], {}) == {P}


def unreadable(offset: int) -> Record:
    return Record("t", 0, offset, 0, None, None, (), problem="checksum", is_lost=True)


async def test_an_unreadable_end_that_was_lost_is_detected():
    broker = Broker()
    continuity = await reading(broker)
    assert await continuity.truncated_partitions([P], {P: [unreadable(10), unreadable(11)]}) == set()
    broker.restarts(keep=10, new=5)
    assert await continuity.truncated_partitions([P], {P: broker.log[12:]}) == {P}


async def test_an_unreadable_end_that_is_still_there_is_not_truncated():
    broker = Broker()
    continuity = await reading(broker)
    assert await continuity.truncated_partitions([P], {P: [unreadable(10)]}) == set()
    broker.restarts(keep=10, new=0)
    broker.log += [unreadable(10), record(11)]
    assert await continuity.truncated_partitions([P], {P: broker.log[11:]}) == set()


async def test_records_that_cannot_be_verified_are_not_returned():
    broker = Broker()
    continuity = await reading(broker)
    broker.restarts(keep=6, new=8)
    broker.is_away = True
    with pytest.raises(Retriable):
        await continuity.truncated_partitions([P], {P: broker.log[10:]})
    broker.lines[1].is_up = False
    assert await continuity.truncated_partitions([P], {}) == set(), (
        "without a connection and without records there is nothing to verify"
    )
    assert not continuity.is_verified(P)


async def test_a_record_deleted_by_retention_is_not_a_truncation():
    broker = Broker()
    continuity = await reading(broker)
    broker.begins = 10
    broker.restarts(keep=10, new=2)
    assert await continuity.truncated_partitions([P], {P: broker.log[10:]}) == set()


async def test_the_latest_surviving_mark_is_found():
    broker = Broker()
    marks = [mark_of(record(n)) for n in (9, 7, 4, 1)]
    broker.restarts(keep=5, new=10)
    assert await first_surviving_marks({P: marks}, broker.look) == {P: marks[2]}
    assert await first_surviving_marks({P: []}, broker.look) == {P: None}
    assert await first_surviving_marks({P: [Mark(3, 0, "other")]}, broker.look) == {P: None}


# ---- end offsets of partitions whose leader answers


@dataclass
class _Asked:
    """A consumer of a cluster in which some leaders do not answer."""

    failing: dict[int, Exception]
    _client: object = field(
        default_factory=lambda: SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=_leader))
    )

    async def end_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        for node in {LEADERS[Partition(*key)] for key in asked} & self.failing.keys():
            raise self.failing[node]
        return dict.fromkeys(asked, 7)


def asked(**failing: Exception) -> "AIOKafkaConsumer":
    return cast("AIOKafkaConsumer", _Asked({int(node[1:]): error for node, error in failing.items()}))


async def test_an_unavailable_leader_affects_only_its_own_partitions():
    away = kafka.KafkaConnectionError()
    assert await offsets.available_end_offsets(asked(), [P, Q], 1) == {P: 7, Q: 7}
    assert await offsets.available_end_offsets(asked(n2=away), [P, Q], 1) == {P: 7}
    with pytest.raises(Retriable):
        await offsets.available_end_offsets(asked(n1=away, n2=away), [P, Q], 1)
    with pytest.raises(Fatal):
        await offsets.available_end_offsets(asked(n1=kafka.AuthenticationFailedError()), [P, Q], 1)
