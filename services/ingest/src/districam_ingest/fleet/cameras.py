"""Which cameras are mine: the consumer group on `cameras` is the scheduler.

A rebalance stops nothing: streams go on until the new assignment is known and its records are read, then only the
difference starts or stops.
"""

import asyncio
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import structlog

from districam_common.contract import wire
from districam_common.contract.events import Camera, Cause
from districam_common.contract.wire import WireError
from districam_common.errors import Retriable
from districam_common.kafka.consumer import FellOff, Member, MembershipLost, Partition, Record
from districam_common.runtime.service import Runtime
from districam_ingest import metrics
from districam_ingest.fleet.camera import CameraLife, asks_the_same

log = structlog.get_logger()

POLL_S = 0.5


@dataclass(slots=True)
class _Running:
    life: CameraLife
    task: asyncio.Task[None]
    leaves: asyncio.TimerHandle | None = None


class Fleet:
    """The streams of this replica; `want` starts and stops the difference.

    Args:
        tasks: where they live.
        live: makes a camera's life.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, live: Callable[[Camera], CameraLife], *, linger_s: float
    ) -> None:
        self._tasks, self._live, self._linger_s = tasks, live, linger_s
        self._running: dict[str, _Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def want(
        self,
        cameras: dict[str, Camera],
        gone: dict[str, Camera],
        *,
        unknown: Container[str] = (),
        was_out: bool = False,
    ) -> None:
        """These shall run.

        Args:
            cameras: enabled cameras of our partitions.
            gone: disabled or deleted ones of our partitions: they stop at once; others may have moved, and linger.
            unknown: of these nothing is known yet: they go on as they are.
            was_out: we had been put out of the group unasked: what is not ours any more ends now, and it was our fault.
        """
        for camera_id, camera in cameras.items():
            self._ensure(camera_id, camera)
        for camera_id in list(self._running):
            if camera_id in gone:
                self._stop(camera_id, "stream_changed", "the camera was disabled or deleted")
            elif camera_id in cameras or camera_id in unknown:
                continue
            elif was_out:
                self._stop(camera_id, "service_down", "this replica was out of its group")
            else:
                self._let_go(camera_id)

    def _ensure(self, camera_id: str, camera: Camera) -> None:
        running = self._running.get(camera_id)
        if running is not None and asks_the_same(running.life.camera, camera):
            running.life.camera = camera
            if running.leaves is not None:
                running.leaves.cancel()
                running.leaves = None
            return
        if running is not None:
            self._stop(camera_id, "stream_changed", "the camera's record changed")
        life = self._live(camera)
        self._running[camera_id] = _Running(life, self._tasks.create_task(life.run(), name=camera_id))

    def _let_go(self, camera_id: str) -> None:
        running = self._running[camera_id]
        if running.leaves is None:
            linger_s = 0.0 if running.life.camera.single_client else self._linger_s
            loop = asyncio.get_running_loop()
            running.leaves = loop.call_later(
                linger_s, self._stop, camera_id, "handover", "another replica has it"
            )

    def _stop(self, camera_id: str, cause: Cause, detail: str) -> None:
        running = self._running.pop(camera_id)
        if running.leaves is not None:
            running.leaves.cancel()
        running.life.explain(cause, detail)
        running.task.add_done_callback(lambda _: self._forget(camera_id))  # its end still counts
        running.task.cancel()

    def _forget(self, camera_id: str) -> None:
        if camera_id not in self._running:
            metrics.forget(camera_id)

    def stop_all(self, cause: Cause, detail: str, *, single_client: bool = False) -> None:
        """Ends every stream now, or those of cameras that take a single client."""
        for camera_id, running in list(self._running.items()):
            if running.life.camera.single_client or not single_client:
                self._stop(camera_id, cause, detail)


class Assignment:
    """Reads the assigned partitions of `cameras` from the start and keeps the fleet to them.

    Each partition counts once it is read to its end: one that cannot be read costs its own cameras alone.

    Args:
        contact_s: out of contact with the group for longer, others may have our cameras: then the streams stop that
            take a single client. The rest goes on: two pulls of a camera are harmless.
    """

    def __init__(self, fleet: Fleet, runtime: Runtime, *, contact_s: float) -> None:
        self._fleet, self._runtime, self._contact_us = fleet, runtime, contact_s * 1e6
        self._cameras: dict[Partition, dict[str, Camera]] = {}
        self._home: dict[str, Partition] = {}
        self._unread: set[Partition] = set()
        self._is_settled = True
        self._patient_until_us = 0.0
        self._was_out = False

    async def assigned(self, member: Member, partitions: frozenset[Partition]) -> None:
        """Seeks every partition to its start; of none anything starts or stops before it is read to its end."""
        self._cameras = {partition: {} for partition in partitions}
        self._unread = set(partitions)
        self._is_settled = False
        self._patient_until_us = self._runtime.clock.monotonic_us() + self._contact_us
        for partition in partitions:
            member.seek(partition, 0)  # where the log begins later, it says so: each partition by itself

    async def run(self, member: Member) -> None:
        """Polls until the service stops.

        Raises:
            MembershipLost: this member reads no more.
        """
        clock = self._runtime.clock
        while not self._runtime.stopping.is_set():
            began_us = clock.monotonic_us()
            batches = await self._poll(member)
            changed = [
                self._apply(partition, record) for partition, records in batches.items() for record in records
            ]
            self._was_out |= clock.monotonic_us() - began_us > self._contact_us  # this process stood still
            if not self._has_contact(member):
                self._fleet.stop_all("service_down", "out of contact with the group", single_client=True)
                self._is_settled, self._was_out = False, True
            elif any(changed) or not self._is_settled:
                self._settle(member)

    async def _poll(self, member: Member) -> dict[Partition, list[Record]]:
        try:
            return await member.poll(timeout_s=POLL_S)
        except FellOff as fell:
            await self._begin_again(member, fell.partitions)
        except MembershipLost:
            raise
        except Retriable as error:
            self._runtime.health.failing("kafka", str(error))
            await asyncio.sleep(POLL_S)
        return {}

    async def _begin_again(self, member: Member, fallen: Mapping[Partition, int]) -> None:
        """Reads partitions from their beginnings: new to us, made anew, or without their end. What is known goes on."""
        try:
            begins = await member.beginnings(fallen)
        except Retriable as error:
            self._runtime.health.failing("kafka", str(error))
            await asyncio.sleep(POLL_S)
            return
        for partition, offset in begins.items():
            if partition in self._cameras and member.position(partition) == fallen[partition]:
                log.warning(
                    "cameras are read again",
                    partition=partition.number,
                    position=fallen[partition],
                    beginning=offset,
                )
                member.seek(partition, offset)
                self._unread.add(partition)
                self._is_settled = False
                self._patient_until_us = self._runtime.clock.monotonic_us() + self._contact_us

    def _has_contact(self, member: Member) -> bool:
        return self._runtime.clock.monotonic_us() - member.contact_us() < self._contact_us

    def _apply(self, partition: Partition, record: Record) -> bool:
        if partition not in self._cameras:
            return False
        try:
            camera = wire.camera(record.key, record.headers, record.value)
        except WireError as error:
            log.error(
                "camera record rejected",
                partition=record.partition,
                offset=record.offset,
                why=record.problem or str(error),
            )
            return False
        self._cameras[partition][camera.camera_id] = camera
        self._home[camera.camera_id] = partition
        return True

    def _settle(self, member: Member) -> None:
        if member.member_assignment != self._cameras.keys():
            return  # being rebalanced: what we had read belongs to the assignment before
        self._unread = {partition for partition in self._unread if not _is_read(member, partition)}
        self._keep_to_what_is_read()
        if not self._unread and not self._is_settled:
            self._is_settled = True
            self._runtime.health.ok("cameras")
            log.info("assigned", partitions=len(self._cameras), cameras=sum(map(len, self._cameras.values())))
        elif self._unread and self._runtime.clock.monotonic_us() > self._patient_until_us:
            few = ", ".join(str(partition.number) for partition in sorted(self._unread)[:5])
            self._runtime.health.failing("cameras", f"{len(self._unread)} partitions not read yet: {few}")

    def _keep_to_what_is_read(self) -> None:
        mine = {
            camera_id: camera
            for partition, table in self._cameras.items()
            if partition not in self._unread
            for camera_id, camera in table.items()
        }
        wanted = {camera_id: camera for camera_id, camera in mine.items() if camera.is_expected}
        gone = {camera_id: camera for camera_id, camera in mine.items() if not camera.is_expected}
        unknown = {camera_id for camera_id, home in self._home.items() if home in self._unread}
        self._fleet.want(wanted, gone, unknown=unknown, was_out=self._was_out)
        self._was_out = False


def _is_read(member: Member, partition: Partition) -> bool:
    """Up to its end, as the last fetch told it."""
    end = member.highwater(partition)
    return end is not None and member.position(partition) >= end
