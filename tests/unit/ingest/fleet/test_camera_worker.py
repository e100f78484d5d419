"""Camera workers: an error affects only its own camera, and retries back off."""

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


class EventQueue(FakeSendQueue):
    """Keeps events; drops fragments."""

    def put_fragment(self, fragment: Fragment) -> None:
        """Dropped."""

    def causes(self, camera_id: str) -> list[str]:
        return [e.cause for e in self.items if isinstance(e, Refused) and e.camera_id == camera_id]

    @property
    def retry_delays(self) -> list[float]:
        return [event.next_retry_s for event in self.items if isinstance(event, Refused | Lost)]


class FailingSource:
    """A stream whose first read fails with `error`."""

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


class TimedSource(FailingSource):
    """A stream of one picture per second that fails after `pictures`."""

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


class FakeReader:
    """Opens streams that fail with the error registered for the camera's URL."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self._errors = errors
        self.credentials: list[Credential | None] = []

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[FailingSource]:
        assert transport == "tcp"
        self.credentials.append(credential)
        yield FailingSource(self._errors[url])


def context_of(reader: FakeReader, queue: EventQueue, credentials: Path | None = None) -> CameraContext:
    fast_retry = IngestSettings(retry_first_s=0.01, retry_most_s=0.02)
    return make_context(queue, reader=reader, credentials=credentials, settings=fast_retry)


def camera(camera_id: str, url: str, credential: str | None = None) -> Camera:
    return Camera(camera_id=camera_id, name="x", url=url, credential=credential)


async def test_an_unexpected_error_fails_one_attempt_of_one_camera():
    queue = EventQueue()
    reader = FakeReader({"bad": ZeroDivisionError("hostile"), "gone": ReadError("not_found", "x")})
    context = context_of(reader, queue)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        workers = [
            tasks.create_task(CameraWorker(one, context).run())
            for one in (camera("cam-bad", "bad"), camera("cam-gone", "gone"))
        ]
        while min(len(queue.causes("cam-bad")), len(queue.causes("cam-gone"))) < 3:
            await asyncio.sleep(0.01)
        assert not any(worker.done() for worker in workers)
        for worker in workers:
            worker.cancel()
    assert set(queue.causes("cam-bad")) == {"stream_error"}
    assert set(queue.causes("cam-gone")) == {"not_found"}


async def test_a_fatal_error_propagates():
    with pytest.raises(Fatal):
        await CameraWorker(camera("cam", "u"), context_of(FakeReader({"u": Fatal("x")}), EventQueue())).run()


async def test_a_missing_credential_is_auth_failed_until_it_is_added(tmp_path: Path):
    file = tmp_path / "credentials.yaml"
    queue, reader = EventQueue(), FakeReader({"u": ReadError("not_found", "x")})
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(CameraWorker(camera("cam", "u", "door"), context_of(reader, queue, file)).run())
        while len(queue.causes("cam")) < 2:
            await asyncio.sleep(0.01)
        assert set(queue.causes("cam")) == {"auth_failed"}
        file.write_text("other: {username: a, password: b}")
        count_before = len(queue.causes("cam"))
        while len(queue.causes("cam")) < count_before + 2:
            await asyncio.sleep(0.01)
        assert not reader.credentials
        file.write_text("door: {username: admin, password: secret}")
        while not reader.credentials:
            await asyncio.sleep(0.01)
        worker.cancel()
    assert reader.credentials[0] == Credential("admin", "secret")
    assert not any("secret" in repr(event) for event in queue.items)


@dataclass
class SlowCamera:
    """Answers after `open_delay_s`; after `failures` refusals it delivers one picture per second, `pictures` in all."""

    open_delay_s: float = 0.0
    failures: int = 1000
    pictures: int = 0

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[FailingSource]:
        assert (url, credential, transport, with_audio) == ("u", None, "tcp", True)
        await asyncio.sleep(self.open_delay_s)
        self.failures -= 1
        if self.failures >= 0:
            raise ReadError("camera_unreachable", "no answer")
        yield TimedSource(self.pictures)


@dataclass
class SlowOpenLimiter:
    """Makes each camera wait `delay_s` for a slot."""

    delay_s: float

    @asynccontextmanager
    async def acquire(self, *, is_failing: bool) -> AsyncGenerator[None]:
        assert is_failing in {True, False}
        await asyncio.sleep(self.delay_s)
        yield


async def retry_delays(reader: SlowCamera, count: int, *, slot_wait_s: float = 0.0, max_s: float = 30.0) -> list[float]:
    """The first `count` delays between an attempt and the next, as the events report them."""
    queue, clock = EventQueue(), VirtualClock()
    queue.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    settings = IngestSettings(open_s=300, retry_first_s=0.5, retry_most_s=max_s)
    context = make_context(queue, reader=reader, stills=queue, clock=clock, settings=settings)
    if slot_wait_s:
        context = replace(context, open_limiter=cast("OpenLimiter", SlowOpenLimiter(slot_wait_s)))
    async with asyncio.timeout(100_000), asyncio.TaskGroup() as tasks:
        stall_task = tasks.create_task(context.stall_detector.run())
        worker = tasks.create_task(CameraWorker(camera("cam", "u"), context).run())
        while len(queue.retry_delays) < count:
            await asyncio.sleep(1)
        worker.cancel()
        stall_task.cancel()
    return queue.retry_delays[:count]


def is_backoff_delay(delay_s: float, step: int, max_s: float = 30.0) -> bool:
    """True if `delay_s` is in the upper half of the doubled delay after `step` failures, where jitter places it."""
    full_s = min(0.5 * 2**step, max_s)
    return full_s / 2 <= delay_s <= full_s


@in_virtual_time
async def test_the_retry_delay_doubles_up_to_its_limit():
    delays = await retry_delays(SlowCamera(), 9)
    assert all(is_backoff_delay(delay_s, step) for step, delay_s in enumerate(delays)), delays


@pytest.mark.parametrize(
    ("reader_case", "slot_wait_s", "max_s"),
    [(SlowCamera(), 70, 30), (SlowCamera(open_delay_s=70), 0, 30), (SlowCamera(), 0, 300)],
    ids=["waiting for a slot", "opening", "the delay itself"],
)
@in_virtual_time
async def test_a_connection_without_pictures_does_not_reset_the_backoff(
    reader_case: SlowCamera, slot_wait_s: float, max_s: float
):
    delays = await retry_delays(reader_case, 12, slot_wait_s=slot_wait_s, max_s=max_s)
    assert all(is_backoff_delay(delay_s, step, max_s) for step, delay_s in enumerate(delays)), delays


@in_virtual_time
async def test_less_than_a_minute_of_pictures_does_not_reset_the_backoff():
    delays = await retry_delays(SlowCamera(open_delay_s=30, failures=0, pictures=55), 8)
    assert all(is_backoff_delay(delay_s, step) for step, delay_s in enumerate(delays)), delays


@in_virtual_time
async def test_a_minute_of_pictures_resets_the_backoff():
    delays = await retry_delays(SlowCamera(failures=8, pictures=70), 11)
    assert all(is_backoff_delay(delay_s, step) for step, delay_s in enumerate(delays[:8])), delays
    assert all(is_backoff_delay(delay_s, 0) for delay_s in delays[8:]), delays
