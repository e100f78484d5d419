"""The fleet follows the group: only what has been read to its end counts, and who was out of the group gives way."""

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
    """Stands where a camera's life does: says when it starts, and why it ends."""

    def __init__(self, camera: Camera, told: list[str]) -> None:
        self.camera, self._told, self._why = camera, told, "?"

    def set_stop_cause(self, cause: str, detail: str) -> None:
        assert detail
        self._why = cause

    async def run(self) -> None:
        self._told.append(f"{self.camera.camera_id} starts")
        try:
            await asyncio.Event().wait()
        finally:
            self._told.append(f"{self.camera.camera_id} {self._why}")


@dataclass
class Group:
    """The group's coordinator and its log, as a member sees them. What is `given` comes out of the next poll."""

    log: dict[Partition, list[Camera | None]]
    assigned_us: int = 0
    assignment: frozenset[Partition] = frozenset()
    given: dict[Partition, int] = field(default_factory=dict[Partition, int])
    holds_back: set[Partition] = field(default_factory=set[Partition])
    begins: dict[Partition, int] = field(default_factory=dict[Partition, int])
    stalls_s: float = 0.0
    is_away: bool = False
    ahead: int = 0
    """Records that the broker has and has not given yet."""
    _contact_us: int = 0

    def last_contact_us(self) -> int:
        if not self.is_away:
            self._contact_us = VirtualClock().monotonic_us()
        return self._contact_us

    def seek(self, partition: Partition, offset: int) -> None:
        self.given[partition] = offset

    def position(self, partition: Partition) -> int:
        return self.given[partition]

    def highwater(self, partition: Partition) -> int | None:
        return None if partition in self.holds_back else len(self.log[partition]) + self.ahead

    async def beginning_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        return {partition: self.begins.get(partition, 0) for partition in partitions}

    async def poll(self, *, timeout_s: float) -> dict[Partition, list[Record]]:
        assert timeout_s > 0
        stalls_s, self.stalls_s = self.stalls_s, 0.0
        await asyncio.sleep(stalls_s or 0.01)
        fallen = {
            partition: at
            for partition, at in self.given.items()
            if partition in self.assignment and not self.begins.get(partition, 0) <= at <= len(self.log[partition])
        }
        if fallen:
            raise OffsetOutOfRange(fallen)
        out: dict[Partition, list[Record]] = {}
        for partition in self.assignment - self.holds_back:
            at = self.given[partition]
            out[partition] = [record(partition, at + n, one) for n, one in enumerate(self.log[partition][at:]) if one]
            self.given[partition] = len(self.log[partition])
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
async def following(group: Group, told: list[str]) -> AsyncGenerator[Assignment]:
    runtime, member = Runtime("ingest", clock=VirtualClock()), cast("GroupConsumer", group)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        fleet = Fleet(tasks, lambda camera: cast("CameraWorker", FakeWorker(camera, told)), linger_s=5)
        assignment = Assignment(fleet, runtime, session_timeout_s=CONTACT_S)
        polling = tasks.create_task(assignment.run(member))
        yield assignment
        runtime.stopping.set()
        await polling
        fleet.stop_all("handover", "the test ends")


async def assign(assignment: Assignment, group: Group, *partitions: Partition) -> None:
    """As a member does it: the assignment is known before its positions are."""
    group.assignment = frozenset(partitions)
    await assignment.handle_assigned(cast("GroupConsumer", group), frozenset(partitions))


async def heard(told: list[str], count: int) -> None:
    """Waits for so much, three seconds at most, and for what ought not to follow."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + 3
    while len(told) < count and loop.time() < deadline_s:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


def camera(camera_id: str, **fields: object) -> Camera:
    return replace(Camera(camera_id=camera_id, name="x", url="rtsp://127.0.0.1/x"), **fields)


A, B = camera("cam-a"), camera("cam-b")
ALONE = camera("cam-s", single_client=True)
"""It does not linger: it ends at once when it is let go of."""


@in_virtual_time
async def test_an_unreadable_partition_affects_only_its_own_cameras():
    told: list[str] = []
    group = Group({P0: [A], P1: [B]}, holds_back={P1})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0, P1)
        await heard(told, 1)
        assert told == ["cam-a starts"]
        group.holds_back.clear()
        await heard(told, 2)
        assert told == ["cam-a starts", "cam-b starts"]


@in_virtual_time
async def test_a_partitions_cameras_start_only_after_it_is_read_to_its_end():
    told: list[str] = []
    group = Group({P0: [A, B]}, ahead=2)
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await asyncio.sleep(0.1)
        assert told == []
        group.log[P0] += [replace(B, revision=2, enabled=False), None]
        group.ahead = 0
        await heard(told, 1)
        assert told == ["cam-a starts"]


@in_virtual_time
async def test_streams_continue_while_their_partition_is_re_read():
    told: list[str] = []
    group = Group({P0: [A], P1: [ALONE]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0, P1)
        await heard(told, 2)
        group.holds_back = {P1}
        await assign(assignment, group, P0, P1)
        await asyncio.sleep(0.2)
        assert told[2:] == []


@pytest.mark.correctness
@in_virtual_time
async def test_a_recreated_or_truncated_topic_is_re_read_and_stops_no_stream():
    told: list[str] = []
    group = Group({P0: [ALONE, B, None]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 2)
        group.log[P0] = []  # made anew
        await asyncio.sleep(0.1)
        group.log[P0] = [B, camera("cam-c")]
        await heard(told, 3)
        assert told[2:] == ["cam-c starts"], "and what it no longer tells of goes on until it is told to stop"


@pytest.mark.correctness
@in_virtual_time
async def test_a_log_that_starts_later_is_read_from_its_beginning_offset():
    told: list[str] = []
    group = Group({P0: [None, None, A]}, begins={P0: 2})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 1)
        assert told == ["cam-a starts"]


@in_virtual_time
async def test_a_rebalance_interrupts_nothing():
    """Revoked, and not assigned again yet; then what stays goes on, and what is new starts."""
    told: list[str] = []
    group = Group({P0: [A], P1: [B]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 1)
        group.assignment = frozenset()
        await asyncio.sleep(0.1)
        await assign(assignment, group, P0, P1)
        await heard(told, 2)
        assert told == ["cam-a starts", "cam-b starts"]


@in_virtual_time
async def test_lost_contact_stops_single_client_streams_only():
    told: list[str] = []
    group = Group({P0: [A, camera("cam-s", single_client=True)]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 2)
        group.is_away = True
        await heard(told, 3)
        assert told[2:] == ["cam-s service_down"]


@in_virtual_time
async def test_after_lost_contact_moved_cameras_stop_once_the_assignment_is_known():
    told: list[str] = []
    group = Group({P0: [A], P1: [B]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0, P1)
        await heard(told, 2)
        group.is_away = True
        await asyncio.sleep(CONTACT_S * 1.5)
        group.assignment, group.is_away = frozenset(), False  # back, and not told yet
        await asyncio.sleep(0.1)
        assert told[2:] == []
        await assign(assignment, group, P0)
        await heard(told, 3)
        assert told[2:] == ["cam-b service_down"]


@in_virtual_time
async def test_after_a_stall_moved_cameras_stop_once_the_assignment_is_known():
    told: list[str] = []
    group = Group({P0: [A], P1: [B]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0, P1)
        await heard(told, 2)
        group.stalls_s, group.assignment = CONTACT_S * 1.5, frozenset()
        await asyncio.sleep(CONTACT_S * 2)
        await assign(assignment, group, P0)
        await heard(told, 3)
        assert told[2:] == ["cam-b service_down"]


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
    told: list[str] = []
    group = Group({P0: [A, B]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 2)
        group.log[P0] += [forged, replace(A, revision=2, url="rtsp://127.0.0.1/another")]
        await heard(told, 4)
        assert told[2:] == ["cam-a stream_changed", "cam-a starts"]


@in_virtual_time
async def test_a_changed_record_affects_no_other_camera():
    told: list[str] = []
    group = Group({P0: [A, B]})
    async with following(group, told) as assignment:
        await assign(assignment, group, P0)
        await heard(told, 2)
        group.log[P0].append(replace(B, revision=2, url="rtsp://127.0.0.1/another"))
        await heard(told, 4)
        assert told[2:] == ["cam-b stream_changed", "cam-b starts"]
