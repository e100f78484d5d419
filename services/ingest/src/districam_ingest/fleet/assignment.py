"""Assigns cameras to replicas: the consumer group on the topic `cameras` is the scheduler.

A rebalance stops no stream: streams continue until the new assignment is known and its records are read; then only
the difference is started or stopped.
"""

import asyncio
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import structlog

from districam_common.contract import wire
from districam_common.contract.events import Camera, Cause
from districam_common.contract.wire import WireError
from districam_common.errors import Retriable
from districam_common.kafka.consumer import GroupConsumer, MembershipLost, OffsetOutOfRange, Partition, Record
from districam_common.runtime.service import Runtime
from districam_ingest import metrics
from districam_ingest.fleet.camera_worker import CameraWorker, has_same_stream_settings

log = structlog.get_logger()

POLL_S = 0.5


@dataclass(slots=True)
class _RunningWorker:
    worker: CameraWorker
    task: asyncio.Task[None]
    linger_timer: asyncio.TimerHandle | None = None


class Fleet:
    """The camera workers of this replica; `reconcile` starts and stops the difference.

    Args:
        tasks: the group in which the workers run.
        linger_s: how long a worker continues after its camera moved to another replica.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, create_worker: Callable[[Camera], CameraWorker], *, linger_s: float
    ) -> None:
        self._tasks, self._create_worker, self._linger_s = tasks, create_worker, linger_s
        self._running: dict[str, _RunningWorker] = {}

    def __len__(self) -> int:
        return len(self._running)

    def reconcile(
        self,
        cameras: dict[str, Camera],
        removed: dict[str, Camera],
        *,
        unknown: Container[str] = (),
        has_lost_membership: bool = False,
    ) -> None:
        """Starts and stops workers until exactly the given cameras run.

        Args:
            cameras: enabled cameras of our partitions.
            removed: disabled or deleted cameras of our partitions: they stop at once. Cameras in neither table may
                have moved to another replica: they linger.
            unknown: cameras of partitions that are not read to their end yet: they keep their state.
            has_lost_membership: the group had removed this replica: cameras that are no longer ours stop at once,
                with cause `service_down`.
        """
        for camera_id, camera in cameras.items():
            self._ensure_running(camera_id, camera)
        for camera_id in list(self._running):
            if camera_id in removed:
                self._stop(camera_id, "stream_changed", "the camera was disabled or deleted")
            elif camera_id in cameras or camera_id in unknown:
                continue
            elif has_lost_membership:
                self._stop(camera_id, "service_down", "this replica was removed from the consumer group")
            else:
                self._stop_after_linger(camera_id)

    def _ensure_running(self, camera_id: str, camera: Camera) -> None:
        running = self._running.get(camera_id)
        if running is not None and has_same_stream_settings(running.worker.camera, camera):
            running.worker.camera = camera
            if running.linger_timer is not None:
                running.linger_timer.cancel()
                running.linger_timer = None
            return
        if running is not None:
            self._stop(camera_id, "stream_changed", "the camera's settings changed")
        worker = self._create_worker(camera)
        self._running[camera_id] = _RunningWorker(worker, self._tasks.create_task(worker.run(), name=camera_id))

    def _stop_after_linger(self, camera_id: str) -> None:
        running = self._running[camera_id]
        if running.linger_timer is None:
            linger_s = 0.0 if running.worker.camera.single_client else self._linger_s
            loop = asyncio.get_running_loop()
            running.linger_timer = loop.call_later(
                linger_s, self._stop, camera_id, "handover", "taken over by another replica"
            )

    def _stop(self, camera_id: str, cause: Cause, detail: str) -> None:
        running = self._running.pop(camera_id)
        if running.linger_timer is not None:
            running.linger_timer.cancel()
        running.worker.set_stop_cause(cause, detail)
        running.task.add_done_callback(lambda _: self._remove_metrics(camera_id))  # the end is still counted
        running.task.cancel()

    def _remove_metrics(self, camera_id: str) -> None:
        if camera_id not in self._running:
            metrics.remove_camera(camera_id)

    def stop_all(self, cause: Cause, detail: str, *, only_single_client: bool = False) -> None:
        """Stops every stream now, or only those of cameras that accept a single client."""
        for camera_id, running in list(self._running.items()):
            if running.worker.camera.single_client or not only_single_client:
                self._stop(camera_id, cause, detail)


class Assignment:
    """Reads the assigned partitions of `cameras` from the start and reconciles the fleet with them.

    A partition is applied once it is read to its end; one that cannot be read affects only its own cameras.

    Args:
        session_timeout_s: without contact to the group for longer, other replicas may have our cameras: streams of
            cameras that accept a single client are stopped. The others continue: reading a camera twice is harmless.
    """

    def __init__(self, fleet: Fleet, runtime: Runtime, *, session_timeout_s: float) -> None:
        self._fleet, self._runtime, self._session_timeout_us = fleet, runtime, session_timeout_s * 1e6
        self._cameras: dict[Partition, dict[str, Camera]] = {}
        self._partition_by_camera: dict[str, Partition] = {}
        self._unread_partitions: set[Partition] = set()
        self._is_reconciled = True
        self._read_deadline_us = 0.0
        self._has_lost_membership = False

    async def handle_assigned(self, member: GroupConsumer, partitions: frozenset[Partition]) -> None:
        """Seeks every partition to its start; none is applied before it is read to its end."""
        self._cameras = {partition: {} for partition in partitions}
        self._unread_partitions = set(partitions)
        self._is_reconciled = False
        self._read_deadline_us = self._runtime.clock.monotonic_us() + self._session_timeout_us
        for partition in partitions:
            member.seek(partition, 0)  # if the log begins later, `OffsetOutOfRange` is raised for that partition alone

    async def run(self, member: GroupConsumer) -> None:
        """Polls until the service stops.

        Raises:
            MembershipLost: this member cannot continue; join again.
        """
        clock = self._runtime.clock
        while not self._runtime.stopping.is_set():
            poll_start_us = clock.monotonic_us()
            batches = await self._poll(member)
            changed = [self._apply(partition, record) for partition, records in batches.items() for record in records]
            # A poll that took this long: this process was stalled, and the group has removed it.
            self._has_lost_membership |= clock.monotonic_us() - poll_start_us > self._session_timeout_us
            if not self._has_contact(member):
                self._fleet.stop_all("service_down", "lost contact with the consumer group", only_single_client=True)
                self._is_reconciled, self._has_lost_membership = False, True
            elif any(changed) or not self._is_reconciled:
                self._reconcile(member)

    async def _poll(self, member: GroupConsumer) -> dict[Partition, list[Record]]:
        try:
            return await member.poll(timeout_s=POLL_S)
        except OffsetOutOfRange as error:
            await self._reread_from_beginning(member, error.partitions)
        except MembershipLost:
            raise
        except Retriable as error:
            self._runtime.health.report_failing("kafka", str(error))
            await asyncio.sleep(POLL_S)
        return {}

    async def _reread_from_beginning(self, member: GroupConsumer, out_of_range: Mapping[Partition, int]) -> None:
        """Seeks partitions to their beginning whose log starts later, was truncated or recreated. Streams continue."""
        try:
            beginning_offsets = await member.beginning_offsets(out_of_range)
        except Retriable as error:
            self._runtime.health.report_failing("kafka", str(error))
            await asyncio.sleep(POLL_S)
            return
        for partition, offset in beginning_offsets.items():
            if partition in self._cameras and member.position(partition) == out_of_range[partition]:
                log.warning(
                    "re-reading camera records",
                    partition=partition.number,
                    position=out_of_range[partition],
                    beginning=offset,
                )
                member.seek(partition, offset)
                self._unread_partitions.add(partition)
                self._is_reconciled = False
                self._read_deadline_us = self._runtime.clock.monotonic_us() + self._session_timeout_us

    def _has_contact(self, member: GroupConsumer) -> bool:
        return self._runtime.clock.monotonic_us() - member.last_contact_us() < self._session_timeout_us

    def _apply(self, partition: Partition, record: Record) -> bool:
        if partition not in self._cameras:
            return False
        try:
            camera = wire.decode_camera(record.key, record.headers, record.value)
        except WireError as error:
            log.error(
                "camera record rejected",
                partition=record.partition,
                offset=record.offset,
                why=record.problem or str(error),
            )
            return False
        self._cameras[partition][camera.camera_id] = camera
        self._partition_by_camera[camera.camera_id] = partition
        return True

    def _reconcile(self, member: GroupConsumer) -> None:
        if member.assignment != self._cameras.keys():
            return  # rebalancing: the records read so far belong to the previous assignment
        self._unread_partitions = {
            partition for partition in self._unread_partitions if not _is_read_to_end(member, partition)
        }
        self._reconcile_fleet()
        if not self._unread_partitions and not self._is_reconciled:
            self._is_reconciled = True
            self._runtime.health.report_ok("cameras")
            log.info("assigned", partitions=len(self._cameras), cameras=sum(map(len, self._cameras.values())))
        elif self._unread_partitions and self._runtime.clock.monotonic_us() > self._read_deadline_us:
            sample = ", ".join(str(partition.number) for partition in sorted(self._unread_partitions)[:5])
            self._runtime.health.report_failing(
                "cameras", f"{len(self._unread_partitions)} partitions not read to the end yet: {sample}"
            )

    def _reconcile_fleet(self) -> None:
        assigned_cameras = {
            camera_id: camera
            for partition, table in self._cameras.items()
            if partition not in self._unread_partitions
            for camera_id, camera in table.items()
        }
        enabled = {camera_id: camera for camera_id, camera in assigned_cameras.items() if camera.is_expected}
        removed = {camera_id: camera for camera_id, camera in assigned_cameras.items() if not camera.is_expected}
        unknown = {
            camera_id
            for camera_id, partition in self._partition_by_camera.items()
            if partition in self._unread_partitions
        }
        self._fleet.reconcile(enabled, removed, unknown=unknown, has_lost_membership=self._has_lost_membership)
        self._has_lost_membership = False


def _is_read_to_end(member: GroupConsumer, partition: Partition) -> bool:
    """True if the position has reached the end of the log as of the last fetch."""
    end = member.highwater(partition)
    return end is not None and member.position(partition) >= end
