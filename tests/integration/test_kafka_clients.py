"""The Kafka clients on a real broker: order, commit metadata, rebalances, truncated logs, a broker that dies."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from districam_common.contract.names import partition_of
from districam_common.contract.wire import Message
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.consumer import (
    Committed,
    GroupConsumer,
    KafkaInspector,
    OffsetOutOfRange,
    Partition,
    Record,
    TopicReader,
)
from districam_common.kafka.producer import Ack, Publisher
from districam_common.kafka.records import mark_of
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.servers import kafka as kafka_server
from districam_devkit.servers.broker import Broker
from integration.conftest import MakeTopic, kafka_settings, make_topic
from support.truncated_log import truncate_tail

pytestmark = pytest.mark.timeout(90)


def message(number: int, key: str = "cam-001", size: int = 0) -> Message:
    return Message(key.encode(), str(number).encode() + b"." * size, [("ce_seq", str(number).encode())])


def numbers(records: Iterable[Record]) -> list[int]:
    return [int(dict(record.headers)["ce_seq"] or b"") for record in records]


class Owner:
    """Reads as a service does: starts each partition at its commit, else at the beginning."""

    def __init__(self) -> None:
        self.member: GroupConsumer | None = None
        self.calls: list[tuple[str, frozenset[Partition]]] = []
        self.records: list[Record] = []

    async def assigned(self, partitions: frozenset[Partition]) -> None:
        assert self.member is not None
        self.calls.append(("assigned", partitions))
        committed = await self.member.committed(partitions)
        first = await self.member.beginning_offsets(partitions)
        for partition in partitions:
            commit = committed[partition]
            self.member.seek(partition, first[partition] if commit is None else commit.offset)

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        self.calls.append(("revoked", partitions))

    @asynccontextmanager
    async def joined(self, settings: KafkaSettings, group: str, topic: str):
        async with GroupConsumer.open(
            settings, group, [topic], "tests", on_assigned=self.assigned, on_revoked=self.revoked, clock=SystemClock()
        ) as member:
            self.member = member
            yield member

    async def poll_until(self, reached: Callable[[], bool], timeout_s: float = 30) -> None:
        assert self.member is not None
        async with asyncio.timeout(timeout_s):
            while not reached():
                with suppress(Retriable):  # retried, as a service does
                    for records in (await self.member.poll(timeout_s=0.2)).values():
                        self.records += records


def a_group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


async def publish_all(settings: KafkaSettings, topic: str, messages: Iterable[Message]) -> list[Ack]:
    async with Publisher.open(settings, "tests") as publisher:
        return [await publisher.publish(topic, one) for one in messages]


# ---- publishing and reading


async def test_published_records_are_read_in_order_with_broker_append_times(
    kafka: KafkaSettings, topic: MakeTopic
) -> None:
    name = await topic()
    before_us = time.time_ns() // 1000 - 1000
    acks = await publish_all(kafka, name, (message(n) for n in range(20)))
    owner = Owner()
    async with owner.joined(kafka, a_group(), name):
        await owner.poll_until(lambda: len(owner.records) == 20)
    assert numbers(owner.records) == list(range(20))
    assert [r.offset for r in owner.records] == [ack.offset for ack in acks] == list(range(20))
    assert [r.append_us for r in owner.records] == [ack.append_us for ack in acks]
    assert before_us <= acks[0].append_us <= acks[-1].append_us <= time.time_ns() // 1000


async def test_a_key_decides_the_partition_unless_one_is_named(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name = await topic(partitions=7)
    async with Publisher.open(kafka, "tests") as publisher:
        assert await publisher.partitions(name) == 7
        for key in ("cam-001", "cổng-bắc", "a"):
            ack = await publisher.publish(name, message(0, key))
            assert ack.partition == partition_of(key, 7)
        assert (await publisher.publish(name, message(0), partition=3)).partition == 3


async def test_a_record_of_8_mib_is_accepted_and_a_larger_one_is_rejected(
    kafka: KafkaSettings, topic: MakeTopic
) -> None:
    name = await topic(max_message_bytes=str(9 << 20))
    acks = await publish_all(kafka, name, [message(0, size=8 << 20), message(1)])
    assert [ack.offset for ack in acks] == [0, 1]
    owner = Owner()
    async with owner.joined(kafka, a_group(), name):  # although it fetches megabytes at a time
        await owner.poll_until(lambda: len(owner.records) == 2)
    assert len(owner.records[0].value or b"") == (8 << 20) + 1
    with pytest.raises(Rejected, match="MAX_REQUEST_BYTES"):
        await publish_all(kafka, name, [message(0, size=(8 << 20) + (64 << 10))])


async def test_a_topic_that_is_missing_is_waited_for(kafka: KafkaSettings) -> None:
    patient = kafka.model_copy(update={"request_timeout_s": 1.0})
    with pytest.raises(Retriable, match="test-nobody"):
        await publish_all(patient, "test-nobody", [message(0)])
    with pytest.raises(Retriable, match="districam-topics apply"):
        async with Owner().joined(kafka, a_group(), "test-nobody"):
            pass


async def test_a_reader_reads_whole_topics_and_from_given_offsets(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name = await topic(partitions=3)
    await publish_all(kafka, name, [message(n, f"cam-{n:03}") for n in range(30)])
    async with TopicReader.open(kafka, [name]) as reader:
        assert sorted(numbers(await reader.read_all())) == list(range(30))
        assert await reader.read_all() == []
        ends = await reader.end_offsets()
    starts = {partition: end - 1 for partition, end in ends.items()}
    async with TopicReader.open(kafka, [name], starts=starts) as reader:
        assert len(await reader.read_all()) == 3


# ---- commits


async def test_a_commits_offset_and_metadata_are_read_back(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name, group = await topic(partitions=2), a_group()
    await publish_all(kafka, name, [message(n) for n in range(5)])
    read, untouched = (Partition(name, n) for n in sorted((0, 1), key=lambda n: n != partition_of("cam-001", 2)))
    owner = Owner()
    async with owner.joined(kafka, group, name) as member:
        await owner.poll_until(lambda: len(owner.records) == 5)
        text = '{"log_us":1,"seq":{"é":3}}'
        await member.commit({read: Committed(3, text)})
        assert await member.committed([read, untouched]) == {read: Committed(3, text), untouched: None}
        with pytest.raises(Rejected):
            await member.commit({read: Committed(3, "x" * 5000)})
    async with KafkaInspector.open(kafka) as groups:
        assert await groups.committed(group, [read, untouched]) == {read: Committed(3, text), untouched: None}
        assert await groups.end_offsets([read, untouched]) == {read: 5, untouched: 0}
        assert await groups.partitions(name) == [Partition(name, 0), Partition(name, 1)]
    again = Owner()
    async with again.joined(kafka, group, name) as member:
        await again.poll_until(lambda: bool(again.records))
        assert numbers(again.records) == [3, 4]
        assert member.position(read) == 5


# ---- rebalances


async def test_partitions_are_rebalanced_when_a_member_joins_and_leaves(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name, group = await topic(partitions=4), a_group()
    every = frozenset(Partition(name, n) for n in range(4))
    first, second = Owner(), Owner()
    async with first.joined(kafka, group, name) as one:
        await first.poll_until(lambda: one.assignment == every)
        async with AsyncExitStack() as stack:
            two = await stack.enter_async_context(second.joined(kafka, group, name))
            await both(
                first.poll_until(lambda: len(one.assignment) == 2), second.poll_until(lambda: len(two.assignment) == 2)
            )
            assert one.assignment | two.assignment == every
            assert first.calls[1] == ("revoked", every)
            await publish_all(kafka, name, [message(n, f"cam-{n:03}") for n in range(40)])
            await both(
                first.poll_until(lambda: len(first.records) + len(second.records) == 40),
                second.poll_until(lambda: len(first.records) + len(second.records) == 40),
            )
            assert {r.partition for r in second.records} <= {p.number for p in two.assignment}
        left = time.monotonic()
        await first.poll_until(lambda: one.assignment == every)
        assert time.monotonic() - left < 3, "a member that leaves does not wait for its session to end"


async def both(*waits: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for wait in waits:
            tasks.create_task(_run(wait))


async def _run(wait: Awaitable[None]) -> None:
    await wait


async def test_nothing_is_read_before_the_owner_gave_a_position(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name, group = await topic(), a_group()
    await publish_all(kafka, name, [message(n) for n in range(10)])
    where = Partition(name, 0)
    owner = Owner()

    async def slowly(partitions: frozenset[Partition]) -> None:
        await asyncio.sleep(1)
        assert owner.member is not None
        owner.member.seek(where, 7)

    owner.assigned = slowly
    async with owner.joined(kafka, group, name) as member:
        await owner.poll_until(lambda: len(owner.records) == 3)
        assert numbers(owner.records) == [7, 8, 9]
        assert member.highwater(where) == 10


async def test_a_failed_assignment_is_reported_again(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name = await topic()
    await publish_all(kafka, name, [message(0)])
    owner, attempts = Owner(), 0
    take_on = owner.assigned

    async def at_the_third(partitions: frozenset[Partition]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Retriable("the broker is loading the group")
        await take_on(partitions)

    owner.assigned = at_the_third
    async with owner.joined(kafka, a_group(), name) as member:
        with pytest.raises(Retriable, match="loading"):
            await member.poll(timeout_s=10)
        await owner.poll_until(lambda: len(owner.records) == 1)
    assert attempts == 3


async def test_an_owner_that_sets_no_position_gets_an_error(kafka: KafkaSettings, topic: MakeTopic) -> None:
    owner = Owner()
    owner.assigned = owner.revoked  # seeks nothing
    async with owner.joined(kafka, a_group(), await topic()):
        with pytest.raises(AssertionError, match="without a position"):
            await owner.poll_until(lambda: False)


async def test_a_paused_partition_is_not_read_until_it_is_resumed(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name = await topic()
    where = Partition(name, 0)
    owner = Owner()
    async with owner.joined(kafka, a_group(), name) as member:
        await owner.poll_until(lambda: bool(member.assignment))
        member.pause([where])
        await publish_all(kafka, name, [message(0)])
        assert await member.poll(timeout_s=1) == {}
        member.resume([where])
        await owner.poll_until(lambda: len(owner.records) == 1)


async def test_the_last_contact_with_the_coordinator_is_reported(kafka: KafkaSettings, topic: MakeTopic) -> None:
    clock, owner = SystemClock(), Owner()
    async with owner.joined(kafka, a_group(), await topic()) as member:
        await owner.poll_until(lambda: bool(member.assignment))
        after = clock.monotonic_us()
        await owner.poll_until(lambda: member.last_contact_us() > after, timeout_s=5)


# ---- the log's start offset


async def test_a_position_before_the_log_start_is_reported_until_a_seek(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name, group = await topic(), a_group()
    await publish_all(kafka, name, [message(n) for n in range(10)])
    where = Partition(name, 0)
    async with open_admin_client(kafka, "tests") as admin:
        await admin.delete_records({TopicPartition(*where): RecordsToDelete(6)})
    owner = Owner()

    async def from_zero(partitions: frozenset[Partition]) -> None:
        assert owner.member is not None
        owner.member.seek(where, 0)

    owner.assigned = from_zero
    async with owner.joined(kafka, group, name) as member:
        for _ in range(2):
            with pytest.raises(OffsetOutOfRange) as caught:
                await owner.poll_until(lambda: False, timeout_s=20)
            assert caught.value.partitions == {where: 0}
        first = await member.beginning_offsets([where])
        assert first == {where: 6}
        member.seek(where, first[where])
        await owner.poll_until(lambda: len(owner.records) == 4)
    assert numbers(owner.records) == [6, 7, 8, 9]


# ---- a broker that dies


async def test_retries_after_a_killed_broker_lose_and_reorder_nothing(tmp_path: Path) -> None:
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers).model_copy(update={"request_timeout_s": 2.0})
        name = await make_topic(settings, partitions=4)
        async with Publisher.open(settings, "tests") as publisher, asyncio.TaskGroup() as tasks:
            senders = [tasks.create_task(send_for(publisher, name, lane, 12)) for lane in range(4)]
            await asyncio.sleep(2)
            await broker.kill()
            await asyncio.sleep(6)
            await broker.restart()
        sent = [sender.result() for sender in senders]
        async with TopicReader.open(settings, [name]) as reader:
            records = await reader.read_all()
    for lane in range(4):
        found = numbers(record for record in records if record.partition == lane)
        firsts = sorted(set(found), key=found.index)
        assert firsts == list(range(sent[lane])), "every record, first copies in order"
        assert len(found) - len(firsts) <= 2, "hardly a repeat"


async def send_for(publisher: Publisher, topic: str, lane: int, seconds: float) -> int:
    """Sends one record at a time, each repeated until acknowledged. Returns how many."""
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await publish_until_acknowledged(publisher, topic, message(number, size=20_000), lane)
        number += 1
        await asyncio.sleep(0.02)
    return number


async def test_a_producer_with_an_unknown_sequence_is_replaced(kafka: KafkaSettings, topic: MakeTopic) -> None:
    name = await topic()
    async with Publisher.open(kafka, "tests") as publisher:
        for number in range(3):
            await publisher.publish(name, message(number))
        async with open_admin_client(kafka, "tests") as admin:
            await admin.delete_topics([name])
            await asyncio.sleep(1)
            await admin.create_topics([NewTopic(name, 1, 1)])
        refusals = 0
        one = message(3)
        async with asyncio.timeout(30):
            while True:
                try:
                    ack = await publisher.publish(name, one)
                except Retriable:
                    refusals += 1
                else:
                    break
        assert ack.offset == 0
        assert (await publisher.publish(name, message(4))).offset == 1
    assert refusals <= 2


async def test_a_frozen_broker_is_noticed_and_a_retry_is_stored_once(tmp_path: Path) -> None:
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers).model_copy(update={"request_timeout_s": 1.5})
        name, group, clock = await make_topic(settings), a_group(), SystemClock()
        where = Partition(name, 0)
        owner, one = Owner(), message(1)
        async with Publisher.open(settings, "tests") as publisher, owner.joined(settings, group, name) as member:
            await publisher.publish(name, message(0))
            await owner.poll_until(lambda: len(owner.records) == 1)
            assert broker.pid is not None
            os.killpg(broker.pid, signal.SIGSTOP)
            frozen_us = clock.monotonic_us()
            for _ in range(2):
                with pytest.raises(Retriable, match="publishing"):
                    await publisher.publish(name, one)
            with pytest.raises(Retriable, match="committing"):
                await member.commit({where: Committed(1, "")})
            with pytest.raises(Retriable, match="reading the commits"):
                await member.committed([where])
            with pytest.raises(Retriable, match="end offsets: no answer in time"):
                await member.end_offsets([where])
            assert await member.poll(timeout_s=0.5) == {}
            assert member.last_contact_us() <= frozen_us + 1_000_000
            os.killpg(broker.pid, signal.SIGCONT)
            async with asyncio.timeout(30):
                await publish_until_acknowledged(publisher, name, one)
                await publish_until_acknowledged(publisher, name, message(2))
            await owner.poll_until(lambda: numbers(owner.records)[-1] == 2)
            await owner.poll_until(lambda: member.last_contact_us() > frozen_us)
        async with TopicReader.open(kafka_settings(broker.bootstrap_servers), [name]) as reader:
            assert numbers(await reader.read_all()) == [0, 1, 2]


async def publish_until_acknowledged(
    publisher: Publisher, topic: str, one: Message, partition: int | None = None
) -> None:
    while True:
        try:
            await publisher.publish(topic, one, partition=partition)
        except Retriable:
            await asyncio.sleep(0.1)
        else:
            return


async def test_a_group_member_survives_a_broker_restart(tmp_path: Path) -> None:
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        name, group = await make_topic(settings), a_group()
        where = Partition(name, 0)
        owner = Owner()
        await publish_all(settings, name, [message(0)])
        async with owner.joined(settings, group, name) as member:
            await owner.poll_until(lambda: len(owner.records) == 1)
            await member.commit({where: Committed(1, "one")})
            await broker.kill()
            with pytest.raises(Retriable):
                await member.commit({where: Committed(1, "two")})
            assert await member.poll(timeout_s=1) == {}
            await broker.restart()
            await publish_all(settings, name, [message(1)])
            await owner.poll_until(lambda: len(owner.records) >= 2)
            await commit_when_possible(member, where)
            assert (await member.committed([where]))[where] == Committed(2, "three")
    assert numbers(owner.records) == [0, 1]


@pytest.mark.correctness
async def test_a_log_that_lost_its_tail_and_grew_again_is_detected(tmp_path: Path) -> None:
    """No record after a lost one is returned by a reading member, by one that takes over, or by a follower."""
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        name, group = await make_topic(settings), a_group()
        where = Partition(name, 0)
        await publish_all(settings, name, [message(n) for n in range(10)])
        owner = Owner()
        async with owner.joined(settings, group, name) as member, TopicReader.open(settings, [name]) as follower:
            await owner.poll_until(lambda: len(owner.records) == 10)
            assert member.is_verified(where)
            assert len(await follower.read_all()) == 10
            read = [mark_of(record) for record in reversed(owner.records)]
            await lose_the_tail_and_grow(broker, tmp_path / "kafka" / "data", name)
            for _ in range(2):
                with pytest.raises(OffsetOutOfRange) as caught:
                    await owner.poll_until(lambda: False)
                assert caught.value.partitions == {where: 10}
                assert not member.is_verified(where)
            with pytest.raises(Retriable, match="no longer exist"):
                await follower.read_all()
            assert await member.first_surviving_marks({where: read}) == {where: read[4]}
            member.seek(where, 6, after=read[4])
            await owner.poll_until(lambda: len(owner.records) == 20)
            assert member.is_verified(where)
        assert numbers(owner.records) == [*range(10), *range(20, 30)]

        async def behind_what_was_read(partitions: frozenset[Partition]) -> None:
            assert later.member is not None
            assert partitions == {where}
            later.member.seek(where, 10, after=read[0])

        later = Owner()
        later.assigned = behind_what_was_read
        async with later.joined(settings, group, name):
            with pytest.raises(OffsetOutOfRange):
                await later.poll_until(lambda: False)
        assert later.records == []


async def lose_the_tail_and_grow(broker: Broker, data: Path, topic: str) -> None:
    """Keeps six of ten records and appends ten others, from 20 on."""
    await broker.kill()
    assert truncate_tail(data, topic, 0, end_offset=6) == 6
    await broker.restart()
    await publish_all(kafka_settings(broker.bootstrap_servers), topic, [message(n) for n in range(20, 30)])


async def commit_when_possible(member: GroupConsumer, where: Partition) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await member.commit({where: Committed(2, "three")})
            except Retriable:
                await member.poll(timeout_s=0.2)
            else:
                return


async def test_leaving_an_unreachable_broker_is_bounded_in_time(tmp_path: Path) -> None:
    async with kafka_server.running(tmp_path / "kafka", log_dir=tmp_path) as broker:
        settings = kafka_settings(broker.bootstrap_servers)
        name, owner = await make_topic(settings), Owner()
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(Publisher.open(settings, "tests"))
            await publisher.publish(name, message(0))
            await stack.enter_async_context(owner.joined(settings, a_group(), name))
            await owner.poll_until(lambda: len(owner.records) == 1)
            await broker.kill()
            left = time.monotonic()
        assert time.monotonic() - left < 25
