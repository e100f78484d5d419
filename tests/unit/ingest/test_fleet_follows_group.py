"""The fleet follows the consumer group: partitions count once read to their end; a removed member stops its streams."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.kafka.records import OffsetOutOfRange, Partition, Record
from districam_common.runtime.service import Runtime
from districam_ingest.fleet.assignment import Assignment, Fleet
from support.virtual_time import VirtualClock, in_virtual_time

if TYPE_CHECKING:
    from districam_common.kafka.consumer import GroupConsumer
    from districam_ingest.fleet.camera_worker import CameraWorker

CONTACT_S = 1.0
P0, P1 = Partition(names.CAMERAS, 0), Partition(names.CAMERAS, 1)


class FakeWorker:
    """Replaces `CameraWorker`: records when it starts, and with which cause it stops."""

    def __init__(self, camera: Camera, events: list[str]) -> None:
        self.camera, self._events, self._stop_cause = camera, events, "?"

    def set_stop_cause(self, cause: str, detail: str) -> None:
        assert detail
        self._stop_cause = cause

    async def run(self) -> None:
        self._events.append(f"{self.camera.camera_id} starts")
        try:
            await asyncio.Event().wait()
        finally:
            self._events.append(f"{self.camera.camera_id} {self._stop_cause}")


@dataclass
class FakeGroup:
    """The group's coordinator and its log, as a member sees them.

    Attributes:
        positions: offset of the next record per partition.
        unreadable: partitions that return no records.
    """

    log: dict[Partition, list[Camera | None]]
    assigned_us: int = 0
    assignment: frozenset[Partition] = frozenset()
    positions: dict[Partition, int] = field(default_factory=dict[Partition, int])
    unreadable: set[Partition] = field(default_factory=set[Partition])
    start_offsets: dict[Partition, int] = field(default_factory=dict[Partition, int])
    stall_s: float = 0.0
    is_unreachable: bool = False
    unread_records: int = 0
    """Records that the broker has but has not returned yet."""
    _contact_us: int = 0

    def last_contact_us(self) -> int:
        if not self.is_unreachable:
            self._contact_us = VirtualClock().monotonic_us()
        return self._contact_us

    def seek(self, partition: Partition, offset: int) -> None:
        self.positions[partition] = offset

    def position(self, partition: Partition) -> int:
        return self.positions[partition]

    def highwater(self, partition: Partition) -> int | None:
        return None if partition in self.unreadable else len(self.log[partition]) + self.unread_records

    async def beginning_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        return {partition: self.start_offsets.get(partition, 0) for partition in partitions}

    async def poll(self, *, timeout_s: float) -> dict[Partition, list[Record]]:
        assert timeout_s > 0
        stall_s, self.stall_s = self.stall_s, 0.0
        await asyncio.sleep(stall_s or 0.01)
        out_of_range = {
            partition: at
            for partition, at in self.positions.items()
            if partition in self.assignment
            and not self.start_offsets.get(partition, 0) <= at <= len(self.log[partition])
        }
        if out_of_range:
            raise OffsetOutOfRange(out_of_range)
        out: dict[Partition, list[Record]] = {}
        for partition in self.assignment - self.unreadable:
            at = self.positions[partition]
            out[partition] = [record(partition, at + n, one) for n, one in enumerate(self.log[partition][at:]) if one]
            self.positions[partition] = len(self.log[partition])
        return out


def record(partition: Partition, offset: int, camera: Camera) -> Record:
    message = wire.camera_message(camera, site="here")
    return Record(
        topic=partition.topic,
        partition=partition.number,
        offset=offset,
        append_us=0,
        key=message.key,
        headers=tuple(message.headers),
        value=message.value,
    )


@asynccontextmanager
async def run_assignment(group: FakeGroup, events: list[str]) -> AsyncGenerator[Assignment]:
    runtime, member = Runtime("ingest", clock=VirtualClock()), cast("GroupConsumer", group)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        fleet = Fleet(tasks, lambda camera: cast("CameraWorker", FakeWorker(camera, events)), linger_s=5)
        assignment = Assignment(fleet, runtime, session_timeout_s=CONTACT_S)
        polling = tasks.create_task(assignment.run(member))
        yield assignment
        runtime.stopping.set()
        await polling
        fleet.stop_all("handover", "the test ends")


async def assign(assignment: Assignment, group: FakeGroup, *partitions: Partition) -> None:
    """Assigns as a member does: the assignment is known before its positions."""
    group.assignment = frozenset(partitions)
    await assignment.handle_assigned(cast("GroupConsumer", group), frozenset(partitions))


async def wait_for_events(events: list[str], count: int) -> None:
    """Waits up to three seconds for `count` events, then a little longer for events that must not follow."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + 3
    while len(events) < count and loop.time() < deadline_s:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


def camera(camera_id: str, **fields: object) -> Camera:
    return replace(Camera(camera_id=camera_id, name="x", url="rtsp://127.0.0.1/x"), **fields)


A, B = camera("cam-a"), camera("cam-b")
SINGLE_CLIENT = camera("cam-s", single_client=True)
"""It does not linger: it stops at once when it is no longer assigned."""


@in_virtual_time
async def test_an_unreadable_partition_affects_only_its_own_cameras():
    events: list[str] = []
    group = FakeGroup({P0: [A], P1: [B]}, unreadable={P1})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0, P1)
        await wait_for_events(events, 1)
        assert events == ["cam-a starts"]
        group.unreadable.clear()
        await wait_for_events(events, 2)
        assert events == ["cam-a starts", "cam-b starts"]


@in_virtual_time
async def test_a_partitions_cameras_start_only_after_it_is_read_to_its_end():
    events: list[str] = []
    group = FakeGroup({P0: [A, B]}, unread_records=2)
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await asyncio.sleep(0.1)
        assert events == []
        group.log[P0] += [replace(B, revision=2, enabled=False), None]
        group.unread_records = 0
        await wait_for_events(events, 1)
        assert events == ["cam-a starts"]


@in_virtual_time
async def test_streams_continue_while_their_partition_is_re_read():
    events: list[str] = []
    group = FakeGroup({P0: [A], P1: [SINGLE_CLIENT]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0, P1)
        await wait_for_events(events, 2)
        group.unreadable = {P1}
        await assign(assignment, group, P0, P1)
        await asyncio.sleep(0.2)
        assert events[2:] == []


@pytest.mark.correctness
@in_virtual_time
async def test_a_recreated_or_truncated_topic_is_re_read_and_stops_no_stream():
    events: list[str] = []
    group = FakeGroup({P0: [SINGLE_CLIENT, B, None]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 2)
        group.log[P0] = []  # recreated
        await asyncio.sleep(0.1)
        group.log[P0] = [B, camera("cam-c")]
        await wait_for_events(events, 3)
        assert events[2:] == ["cam-c starts"], "cameras without a record continue until a record stops them"


@pytest.mark.correctness
@in_virtual_time
async def test_a_log_that_starts_later_is_read_from_its_beginning_offset():
    events: list[str] = []
    group = FakeGroup({P0: [None, None, A]}, start_offsets={P0: 2})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 1)
        assert events == ["cam-a starts"]


@in_virtual_time
async def test_a_rebalance_interrupts_nothing():
    """Between revocation and the new assignment; then kept cameras continue and new ones start."""
    events: list[str] = []
    group = FakeGroup({P0: [A], P1: [B]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 1)
        group.assignment = frozenset()
        await asyncio.sleep(0.1)
        await assign(assignment, group, P0, P1)
        await wait_for_events(events, 2)
        assert events == ["cam-a starts", "cam-b starts"]


@in_virtual_time
async def test_lost_contact_stops_single_client_streams_only():
    events: list[str] = []
    group = FakeGroup({P0: [A, camera("cam-s", single_client=True)]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 2)
        group.is_unreachable = True
        await wait_for_events(events, 3)
        assert events[2:] == ["cam-s service_down"]


@in_virtual_time
async def test_after_lost_contact_moved_cameras_stop_once_the_assignment_is_known():
    events: list[str] = []
    group = FakeGroup({P0: [A], P1: [B]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0, P1)
        await wait_for_events(events, 2)
        group.is_unreachable = True
        await asyncio.sleep(CONTACT_S * 1.5)
        group.assignment, group.is_unreachable = frozenset(), False  # back, but the assignment is not known yet
        await asyncio.sleep(0.1)
        assert events[2:] == []
        await assign(assignment, group, P0)
        await wait_for_events(events, 3)
        assert events[2:] == ["cam-b service_down"]


@in_virtual_time
async def test_after_a_stall_moved_cameras_stop_once_the_assignment_is_known():
    events: list[str] = []
    group = FakeGroup({P0: [A], P1: [B]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0, P1)
        await wait_for_events(events, 2)
        group.stall_s, group.assignment = CONTACT_S * 1.5, frozenset()
        await asyncio.sleep(CONTACT_S * 2)
        await assign(assignment, group, P0)
        await wait_for_events(events, 3)
        assert events[2:] == ["cam-b service_down"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    "forged",
    [
        replace(B, revision=2, url="file:///etc/passwd"),
        replace(B, revision=2, url="http://169.254.169.254/latest/meta-data"),
        replace(B, revision=2, url="rtsp://[::1", credential="gate"),
        replace(B, revision=2, url="rtsp://10.0.0.1:99999/"),
        replace(B, revision=2, credential="../gate"),
    ],
    ids=lambda camera: camera.url,
)
@in_virtual_time
async def test_a_forged_record_does_not_change_a_cameras_url(forged: Camera):
    events: list[str] = []
    group = FakeGroup({P0: [A, B]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 2)
        group.log[P0] += [forged, replace(A, revision=2, url="rtsp://127.0.0.1/another")]
        await wait_for_events(events, 4)
        assert events[2:] == ["cam-a stream_changed", "cam-a starts"]


@in_virtual_time
async def test_a_changed_record_affects_no_other_camera():
    events: list[str] = []
    group = FakeGroup({P0: [A, B]})
    async with run_assignment(group, events) as assignment:
        await assign(assignment, group, P0)
        await wait_for_events(events, 2)
        group.log[P0].append(replace(B, revision=2, url="rtsp://127.0.0.1/another"))
        await wait_for_events(events, 4)
        assert events[2:] == ["cam-b stream_changed", "cam-b starts"]
