"""A camera's life where others live: whatever is thrown in it stays with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, Lost, Refused
from districam_common.contract.media import Fragment
from districam_common.errors import Fatal
from districam_common.runtime.credentials import Credential
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.recording.camera_context import CameraContext
from districam_ingest.settings import IngestSettings
from districam_ingest.units import AudioUnit, Picture
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue
from support.virtual_time import VirtualClock, in_virtual_time
from unit.ingest.samples import picture

if TYPE_CHECKING:
    from districam_ingest.recording.open_limiter import OpenLimiter


class Told(FakeSendQueue):
    """What is told of cameras; fragments are not kept."""

    def put_fragment(self, fragment: Fragment) -> None:
        """Not kept."""

    def causes(self, camera_id: str) -> list[str]:
        return [e.cause for e in self.items if isinstance(e, Refused) and e.camera_id == camera_id]

    @property
    def waits(self) -> list[float]:
        return [event.next_retry_s for event in self.items if isinstance(event, Refused | Lost)]


class Broken:
    """A stream that fails at its first picture."""

    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def read(self) -> list[Picture]:
        raise self._error

    def read_remaining(self) -> list[Picture]:
        return []

    def drain_audio(self) -> list[AudioUnit]:
        return []

    def use_precise_arrival(self) -> None:
        pass


class Delivering(Broken):
    """A stream of a picture a second for so long, which then breaks off."""

    def __init__(self, pictures: int) -> None:
        super().__init__(ReadError("camera_unreachable", "reset"))
        self._pictures, self._sent = pictures, 0

    async def read(self) -> list[Picture]:
        if self._sent == self._pictures:
            await super().read()
        await asyncio.sleep(1)
        self._sent += 1
        arrival_us = VirtualClock().monotonic_us()
        return [picture(self._sent, key=True, interval=90_000, arrival_us=arrival_us)]


class Reader:
    """Opens streams that fail with the error that the camera's URL names."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self._errors = errors
        self.credentials: list[Credential | None] = []

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Broken]:
        assert transport == "tcp"
        self.credentials.append(credential)
        yield Broken(self._errors[url])


def around(reader: Reader, told: Told, credentials: Path | None = None) -> CameraContext:
    soon = IngestSettings(retry_first_s=0.01, retry_most_s=0.02)
    return make_context(told, reader=reader, credentials=credentials, settings=soon)


def camera(camera_id: str, url: str, credential: str | None = None) -> Camera:
    return Camera(camera_id=camera_id, name="x", url=url, credential=credential)


async def test_an_unexpected_error_fails_one_attempt_of_one_camera():
    told = Told()
    reader = Reader({"bad": ZeroDivisionError("hostile"), "gone": ReadError("not_found", "x")})
    surroundings = around(reader, told)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        lives = [
            tasks.create_task(CameraWorker(one, surroundings).run())
            for one in (camera("cam-bad", "bad"), camera("cam-gone", "gone"))
        ]
        while min(len(told.causes("cam-bad")), len(told.causes("cam-gone"))) < 3:
            await asyncio.sleep(0.01)
        assert not any(life.done() for life in lives)
        for life in lives:
            life.cancel()
    assert set(told.causes("cam-bad")) == {"stream_error"}
    assert set(told.causes("cam-gone")) == {"not_found"}


async def test_a_fatal_error_propagates():
    with pytest.raises(Fatal):
        await CameraWorker(camera("cam", "u"), around(Reader({"u": Fatal("x")}), Told())).run()


async def test_a_missing_credential_is_auth_failed_until_it_is_added(tmp_path: Path):
    file = tmp_path / "credentials.yaml"
    told, reader = Told(), Reader({"u": ReadError("not_found", "x")})
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        life = tasks.create_task(CameraWorker(camera("cam", "u", "door"), around(reader, told, file)).run())
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
    assert not any("secret" in repr(event) for event in told.items)


@dataclass
class SlowCamera:
    """Answers after `opens_s`, and refuses `fails` times; then it delivers a picture a second, `pictures` of them."""

    opens_s: float = 0.0
    fails: int = 1000
    pictures: int = 0

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Broken]:
        assert (url, credential, transport, with_audio) == ("u", None, "tcp", True)
        await asyncio.sleep(self.opens_s)
        self.fails -= 1
        if self.fails >= 0:
            raise ReadError("camera_unreachable", "no answer")
        yield Delivering(self.pictures)


@dataclass
class SlowOpenLimiter:
    """As many others want to be opened as make a camera wait for so long."""

    wait_s: float

    @asynccontextmanager
    async def acquire(self, *, is_failing: bool) -> AsyncGenerator[None]:
        assert is_failing in {True, False}
        await asyncio.sleep(self.wait_s)
        yield


async def waits(reader: SlowCamera, count: int, *, turn_s: float = 0.0, most_s: float = 30.0) -> list[float]:
    """The first `count` waits between the end of an attempt and the next one, as they are told."""
    queue, clock = Told(), VirtualClock()
    queue.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    settings = IngestSettings(open_s=300, retry_first_s=0.5, retry_most_s=most_s)
    around = make_context(queue, reader=reader, stills=queue, clock=clock, settings=settings)
    if turn_s:
        around = replace(around, open_limiter=cast("OpenLimiter", SlowOpenLimiter(turn_s)))
    async with asyncio.timeout(100_000), asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(around.stall_detector.run())
        life = tasks.create_task(CameraWorker(camera("cam", "u"), around).run())
        while len(queue.waits) < count:
            await asyncio.sleep(1)
        life.cancel()
        watch.cancel()
    return queue.waits[:count]


def is_one_of(wait_s: float, step: int, most_s: float = 30.0) -> bool:
    """Whether it is the wait after so many failures: at random from the upper half of the doubled one."""
    full_s = min(0.5 * 2**step, most_s)
    return full_s / 2 <= wait_s <= full_s


@in_virtual_time
async def test_the_retry_delay_doubles_up_to_its_limit():
    told = await waits(SlowCamera(), 9)
    assert all(is_one_of(wait_s, step) for step, wait_s in enumerate(told)), told


@pytest.mark.parametrize(
    ("slow", "turn_s", "most_s"),
    [(SlowCamera(), 70, 30), (SlowCamera(opens_s=70), 0, 30), (SlowCamera(), 0, 300)],
    ids=["waiting for a turn", "opening", "the pause itself"],
)
@in_virtual_time
async def test_a_connection_without_pictures_does_not_reset_the_backoff(
    slow: SlowCamera, turn_s: float, most_s: float
):
    told = await waits(slow, 12, turn_s=turn_s, most_s=most_s)
    assert all(is_one_of(wait_s, step, most_s) for step, wait_s in enumerate(told)), told


@in_virtual_time
async def test_less_than_a_minute_of_pictures_does_not_reset_the_backoff():
    told = await waits(SlowCamera(opens_s=30, fails=0, pictures=55), 8)
    assert all(is_one_of(wait_s, step) for step, wait_s in enumerate(told)), told


@in_virtual_time
async def test_a_minute_of_pictures_resets_the_backoff():
    told = await waits(SlowCamera(fails=8, pictures=70), 11)
    assert all(is_one_of(wait_s, step) for step, wait_s in enumerate(told[:8])), told
    assert all(is_one_of(wait_s, 0) for wait_s in told[8:]), told
