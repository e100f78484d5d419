import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import REGISTRY

from districam_common.contract.events import Camera, Location
from districam_ingest import metrics
from districam_ingest.fleet.assignment import Fleet
from support.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from districam_ingest.fleet.camera_worker import CameraWorker

LINGER_S = 20.0


class FakeWorker:
    """Replaces `CameraWorker`: records when it starts, and with which cause it stops."""

    def __init__(self, camera: Camera, events: list[str]) -> None:
        self.camera, self._events = camera, events
        self._stop_cause = "?"

    def set_stop_cause(self, cause: str, detail: str) -> None:
        assert detail
        self._stop_cause = cause

    async def run(self) -> None:
        self._events.append(f"{self._name} starts")
        try:
            await asyncio.Event().wait()
        finally:
            metrics.CONNECTED.labels(self.camera.camera_id).set(0)
            self._events.append(f"{self._name} {self._stop_cause}")

    @property
    def _name(self) -> str:
        return f"{self.camera.camera_id}.{self.camera.revision}"


@asynccontextmanager
async def open_fleet(events: list[str]) -> AsyncGenerator[Fleet]:
    async with asyncio.timeout(1000), asyncio.TaskGroup() as tasks:
        fleet = Fleet(tasks, lambda camera: cast("CameraWorker", FakeWorker(camera, events)), linger_s=LINGER_S)
        yield fleet
        fleet.stop_all("handover", "the test ends")


def camera(camera_id: str, **fields: object) -> Camera:
    return replace(Camera(camera_id=camera_id, name="x", url="rtsp://127.0.0.1/x"), **fields)


def by_id(*cameras: Camera) -> dict[str, Camera]:
    return {one.camera_id: one for one in cameras}


async def run_ready_tasks() -> None:
    """Lets all ready tasks run; too short for any lingering to end."""
    await asyncio.sleep(0.001)


A, B = camera("cam-a"), camera("cam-b")


@in_virtual_time
async def test_only_the_difference_starts_and_stops():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile(by_id(A, B), {})
        fleet.reconcile(by_id(A, B), {})
        await run_ready_tasks()
        assert events == ["cam-a.1 starts", "cam-b.1 starts"]
        assert len(fleet) == 2
    assert sorted(events[2:]) == ["cam-a.1 handover", "cam-b.1 handover"]


@in_virtual_time
async def test_a_camera_that_moved_away_lingers_and_then_ends_with_handover():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile({}, {})
        fleet.reconcile({}, {})
        await asyncio.sleep(LINGER_S - 1)
        assert events == ["cam-a.1 starts"]
        await asyncio.sleep(2)
        assert events == ["cam-a.1 starts", "cam-a.1 handover"]
        assert len(fleet) == 0


@in_virtual_time
async def test_a_camera_that_returns_while_lingering_keeps_its_stream():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile({}, {})
        await asyncio.sleep(LINGER_S - 1)
        fleet.reconcile(by_id(A), {})
        await asyncio.sleep(LINGER_S * 1.5)
        assert events == ["cam-a.1 starts"]


@in_virtual_time
async def test_a_single_client_camera_does_not_linger():
    events: list[str] = []
    single = camera("cam-s", single_client=True)
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(single, A), {})
        await run_ready_tasks()
        fleet.reconcile({}, {})
        await run_ready_tasks()
        assert events[2:] == ["cam-s.1 handover"]


@in_virtual_time
async def test_only_single_client_cameras_can_be_stopped():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(camera("cam-s", single_client=True), A), {})
        await run_ready_tasks()
        fleet.stop_all("service_down", "lost contact", only_single_client=True)
        await run_ready_tasks()
        assert events[2:] == ["cam-s.1 service_down"]
        assert len(fleet) == 1


STREAM_SETTINGS: dict[str, object] = {
    "url": "rtsp://127.0.0.1/y",
    "credential": "door",
    "transport": "udp",
    "reader": "native",
    "audio": False,
    "segment_s": 20,
    "keyframe_interval_s": 20,
}
OTHER_FIELDS: dict[str, object] = {
    "name": "y",
    "single_client": True,
    "retention_days": 7,
    "groups": ("gates",),
    "location": Location(latitude=11.7, longitude=108.3),
    "revision": 2,
    "updated_us": 2,
}
IDENTITY_FIELDS = {"camera_id", "enabled", "deleted"}


@pytest.mark.parametrize("field", STREAM_SETTINGS)
@in_virtual_time
async def test_a_change_of_a_stream_setting_restarts_the_stream(field: str):
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile(by_id(replace(A, revision=2, **{field: STREAM_SETTINGS[field]})), {})
        await run_ready_tasks()
        assert events == ["cam-a.1 starts", "cam-a.1 stream_changed", "cam-a.2 starts"]
        assert len(fleet) == 1


@pytest.mark.correctness
@pytest.mark.parametrize("field", OTHER_FIELDS)
@in_virtual_time
async def test_a_change_of_another_field_does_not_restart_the_stream(field: str):
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile(by_id(replace(A, **{field: OTHER_FIELDS[field]})), {})
        await run_ready_tasks()
        assert events == ["cam-a.1 starts"]


def test_every_field_of_a_record_is_classified():
    classified = {*STREAM_SETTINGS, *OTHER_FIELDS, *IDENTITY_FIELDS}
    assert classified == {one.name for one in fields(Camera)}


@pytest.mark.correctness
@in_virtual_time
async def test_a_running_stream_gets_the_newest_record():
    """A camera whose record changed to `single_client` does not linger at its next handover."""
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile(by_id(replace(A, revision=2, single_client=True)), {})
        fleet.reconcile({}, {})
        await run_ready_tasks()
        assert events == ["cam-a.1 starts", "cam-a.2 handover"]


@in_virtual_time
async def test_a_disabled_camera_stops_at_once_even_while_lingering():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        fleet.reconcile({}, {})
        fleet.reconcile({}, by_id(replace(A, enabled=False)))
        await run_ready_tasks()
        assert events == ["cam-a.1 starts", "cam-a.1 stream_changed"]
        await asyncio.sleep(LINGER_S * 1.5)
        assert len(fleet) == 0


def connected(camera_id: str) -> float | None:
    return REGISTRY.get_sample_value("districam_ingest_connected", {"camera": camera_id})


@in_virtual_time
async def test_metrics_are_removed_when_a_camera_stops_but_not_when_it_restarts():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(A), {})
        await run_ready_tasks()
        metrics.CONNECTED.labels("cam-a").set(1)
        fleet.reconcile(by_id(replace(A, revision=2, segment_s=20)), {})
        await run_ready_tasks()
        assert connected("cam-a") == 0
        fleet.stop_all("handover", "x")
        await run_ready_tasks()
        assert connected("cam-a") is None


@in_virtual_time
async def test_after_lost_membership_moved_cameras_stop_at_once_with_service_down():
    events: list[str] = []
    async with open_fleet(events) as fleet:
        fleet.reconcile(by_id(camera("a"), camera("b")), {})
        await run_ready_tasks()
        fleet.reconcile(by_id(camera("a")), {}, has_lost_membership=True)
        await run_ready_tasks()
        assert events == ["a.1 starts", "b.1 starts", "b.1 service_down"]
