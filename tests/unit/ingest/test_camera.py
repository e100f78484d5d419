"""A camera's life where others live: whatever is thrown in it stays with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from districam_common.credentials import Credential
from districam_common.errors import Fatal
from districam_common.events import Camera, Refused, StreamEvent
from districam_ingest.camera import CameraLife
from districam_ingest.core.units import Picture, Sound
from districam_ingest.reading import ReadError, SourceInfo
from districam_ingest.settings import IngestSettings
from districam_ingest.surroundings import Surroundings
from support.surroundings import surroundings


@dataclass
class Told:
    """Where a camera's events go: the one thing of the outbox that a life without an epoch needs."""

    events: list[StreamEvent] = field(default_factory=list[StreamEvent])

    def offer_event(self, camera_id: str, event: StreamEvent) -> None:
        assert getattr(event, "camera_id", None) == camera_id
        self.events.append(event)

    def causes(self, camera_id: str) -> list[str]:
        return [e.cause for e in self.events if isinstance(e, Refused) and e.camera_id == camera_id]


class Broken:
    """A stream that fails at its first picture."""

    info = SourceInfo(codec="h264", sets=(), reader="test")

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def read(self) -> list[Picture]:
        raise self._error

    def rest(self) -> list[Picture]:
        return []

    def take_sound(self) -> list[Sound]:
        return []

    def look_closely(self) -> None:
        pass


class Reader:
    """Opens streams that fail with the error that the camera's URL names."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self._errors = errors
        self.credentials: list[Credential | None] = []

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_sound: bool = False
    ) -> AsyncGenerator[Broken]:
        assert transport == "tcp"
        self.credentials.append(credential)
        yield Broken(self._errors[url])


def around(reader: Reader, told: Told, credentials: Path | None = None) -> Surroundings:
    soon = IngestSettings(retry_first_s=0.01, retry_most_s=0.02)
    return surroundings(told, reader=reader, credentials=credentials, settings=soon)


def camera(camera_id: str, url: str, credential: str | None = None) -> Camera:
    return Camera(camera_id=camera_id, name="x", url=url, credential=credential)


async def test_an_unforeseen_error_costs_its_own_camera_an_attempt_and_no_other_anything():
    told = Told()
    reader = Reader({"bad": ZeroDivisionError("hostile"), "gone": ReadError("not_found", "x")})
    surroundings = around(reader, told)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        lives = [
            tasks.create_task(CameraLife(one, surroundings).run())
            for one in (camera("cam-bad", "bad"), camera("cam-gone", "gone"))
        ]
        while min(len(told.causes("cam-bad")), len(told.causes("cam-gone"))) < 3:
            await asyncio.sleep(0.01)
        assert not any(life.done() for life in lives)
        for life in lives:
            life.cancel()
    assert set(told.causes("cam-bad")) == {"stream_error"}
    assert set(told.causes("cam-gone")) == {"not_found"}


async def test_what_is_fatal_passes():
    with pytest.raises(Fatal):
        await CameraLife(camera("cam", "u"), around(Reader({"u": Fatal("x")}), Told())).run()


async def test_a_credential_that_is_not_there_is_auth_failed_until_it_is(tmp_path: Path):
    file = tmp_path / "credentials.yaml"
    told, reader = Told(), Reader({"u": ReadError("not_found", "x")})
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        life = tasks.create_task(CameraLife(camera("cam", "u", "door"), around(reader, told, file)).run())
        while len(told.causes("cam")) < 2:
            await asyncio.sleep(0.01)
        assert set(told.causes("cam")) == {"auth_failed"}
        file.write_text("other: {username: a, password: b}")
        seen = len(told.causes("cam"))
        while len(told.causes("cam")) < seen + 2:
            await asyncio.sleep(0.01)
        assert not reader.credentials
        file.write_text("door: {username: admin, password: secret}")
        while not reader.credentials:
            await asyncio.sleep(0.01)
        life.cancel()
    assert reader.credentials[0] == Credential("admin", "secret")
    assert not any("secret" in repr(event) for event in told.events)
