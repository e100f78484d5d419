"""Stopping a stream: received pictures are stored, what may be missing is reported, and no other stream ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from districam_common.contract.events import Camera, Lost
from districam_common.contract.media import Fragment
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.credentials import Credential
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.readers.reader import ReadError, Source, SourceInfo
from districam_ingest.recording.camera_context import CameraContext
from districam_ingest.recording.stream import Stream
from districam_ingest.units import AudioUnit, Picture
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue
from unit.ingest.samples import FULL_HD, picture

FPS = 25
NOISE = Picture((b"\xff" * 20,), 0, 0)


@dataclass
class FaultyQueue(FakeSendQueue):
    """Replaces the send queue; if `is_broken`, a bug is raised before anything is queued."""

    is_broken: bool = False

    def has_room(self, size_bytes: int) -> bool:
        if self.is_broken:
            raise ZeroDivisionError("a bug")
        return size_bytes > 0

    @property
    def lost(self) -> list[Lost]:
        return [item for item in self.items if isinstance(item, Lost)]


class FakeSource:
    """Returns the `first` pictures, then blocks; `later` ones are still unread when it is stopped."""

    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def __init__(self, first: list[Picture], later: list[Picture]) -> None:
        self._now, self._later = first, later
        self.is_waiting = asyncio.Event()

    async def read(self) -> list[Picture]:
        if not self._now:
            self.is_waiting.set()
            await asyncio.Event().wait()
        pictures, self._now = self._now, []
        return pictures

    def read_remaining(self) -> list[Picture]:
        pictures, self._later = self._later, []
        return pictures

    def drain_audio(self) -> list[AudioUnit]:
        return []

    def use_precise_arrival(self) -> None:
        pass


class FailingSource(FakeSource):
    """A stream that fails; from then on the queue is broken."""

    def __init__(self, queue: FaultyQueue) -> None:
        super().__init__(steady(0, 60), [])
        self._queue = queue

    async def read(self) -> list[Picture]:
        if self._now:
            return await super().read()
        self._queue.is_broken = True
        raise ReadError("camera_unreachable", "reset")


class FakeReader:
    """Opens its one stream; closing it raises if `fails_on_close`."""

    def __init__(self, source: FakeSource, *, fails_on_close: bool = False) -> None:
        self._source, self._fails_on_close = source, fails_on_close

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Source]:
        assert (url, credential, transport, with_audio) == ("u", None, "tcp", True)
        try:
            yield self._source
        finally:
            if self._fails_on_close:
                raise ZeroDivisionError("a bug")


def context_of(queue: FaultyQueue, reader: FakeReader) -> CameraContext:
    clock = SystemClock()
    queue.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    return make_context(queue, reader=reader, stills=queue, clock=clock)


def steady(first: int, count: int) -> list[Picture]:
    return [picture(n, key=n % FPS == 0) for n in range(first, first + count)]


async def stop_worker(
    queue: FaultyQueue, source: FakeSource, *, fails_on_close: bool = False, with_bug: bool = False
) -> None:
    """Hands the camera over. Its task must end as cancelled: any other result would cancel all cameras of the TaskGroup."""
    worker = CameraWorker(
        Camera(camera_id="cam", name="x", url="u"), context_of(queue, FakeReader(source, fails_on_close=fails_on_close))
    )
    task = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(5):
        await source.is_waiting.wait()
        queue.is_broken = with_bug
        worker.set_stop_cause("handover", "taken over by another replica")
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_pictures_received_before_the_stop_are_stored_and_lost_is_interrupted():
    queue = FaultyQueue()
    await stop_worker(queue, FakeSource(steady(0, 40), steady(40, 5)))
    assert queue.picture_count == 45
    [lost] = queue.lost
    assert queue.items[-1] is lost
    assert (lost.cause, lost.detail, lost.interrupted) == ("handover", "taken over by another replica", True)


async def test_invalid_data_at_the_stop_ends_the_epoch_with_stream_error():
    queue = FaultyQueue()
    unusable = picture(41, key=True, sets=(b"\x67\x42", b"\x68\xce"))
    await stop_worker(queue, FakeSource(steady(0, 40), [*steady(40, 1), NOISE, unusable]))
    assert queue.picture_count == 41
    assert [(lost.cause, lost.interrupted) for lost in queue.lost] == [("stream_error", True)]


async def test_a_bug_during_the_stop_loses_the_held_pictures_and_is_reported():
    queue = FaultyQueue()
    await stop_worker(queue, FakeSource(steady(0, 60), steady(60, 5)), with_bug=True)
    assert queue.picture_count == 50
    [lost] = queue.lost
    last = [item.info for item in queue.items if isinstance(item, Fragment)][-1]
    assert (lost.cause, lost.last_seq, lost.end_us) == ("stream_error", last.seq, last.end_us)
    assert lost.interrupted


async def test_a_bug_in_closing_the_connection_ends_no_other_camera():
    queue = FaultyQueue()
    await stop_worker(queue, FakeSource(steady(0, 40), []), fails_on_close=True)
    assert (queue.picture_count, [lost.cause for lost in queue.lost]) == (40, ["handover"])


@pytest.mark.parametrize(
    ("following", "interrupted"),
    [
        ([picture(60, key=True, sets=FULL_HD)], False),
        ([NOISE, *steady(61, 20)], True),
        ([picture(60, pts=59 * 3600, slice_nal=b"\x41\x9a\x24\x77"), *steady(61, 20)], True),
        ([picture(60, key=True, sets=FULL_HD[:1])], True),
    ],
    ids=["other parameter sets", "noise", "one time twice", "parameter sets of which one is missing"],
)
async def test_an_epoch_followed_by_another_at_the_next_picture_is_not_interrupted(
    following: list[Picture], *, interrupted: bool
):
    queue = FaultyQueue()
    source = FakeSource([], [])
    stream = Stream(Camera(camera_id="cam", name="x", url="u"), source, context_of(queue, FakeReader(source)))
    stream.feed(steady(0, 60))
    with suppress(ReadError):  # for pictures that start no epoch
        stream.feed(following)
    assert [lost.interrupted for lost in queue.lost] == [interrupted]


async def test_a_bug_while_closing_a_failed_stream_is_reported():
    queue = FaultyQueue()
    worker = CameraWorker(
        Camera(camera_id="cam", name="x", url="u"), context_of(queue, FakeReader(FailingSource(queue)))
    )
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(worker.run())
        while not queue.lost:
            await asyncio.sleep(0.01)
        task.cancel()
    assert [lost.cause for lost in queue.lost] == ["stream_error"]
