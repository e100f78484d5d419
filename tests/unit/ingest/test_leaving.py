"""A stream that we end ourselves: what had come by then is stored, what is missing behind it is told, nobody else ends."""

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
class Queue(FakeSendQueue):
    """What would go to Kafka. `broken`: a bug is met before anything goes there."""

    broken: bool = False

    def has_room(self, size_bytes: int) -> bool:
        if self.broken:
            raise ZeroDivisionError("a bug")
        return size_bytes > 0

    @property
    def lost(self) -> list[Lost]:
        return [item for item in self.items if isinstance(item, Lost)]


class Playing:
    """Gives some pictures, then waits; more have come when it is left."""

    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def __init__(self, now: list[Picture], later: list[Picture]) -> None:
        self._now, self._later = now, later
        self.waits = asyncio.Event()

    async def read(self) -> list[Picture]:
        if not self._now:
            self.waits.set()
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


class Failing(Playing):
    """A stream that breaks off, and whatever is sent from then on meets a bug."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(filmed(0, 60), [])
        self._queue = queue

    async def read(self) -> list[Picture]:
        if self._now:
            return await super().read()
        self._queue.broken = True
        raise ReadError("camera_unreachable", "reset")


class Reader:
    """Opens its one stream; leaving it breaks if told to."""

    def __init__(self, source: Playing, *, breaks: bool = False) -> None:
        self._source, self._breaks = source, breaks

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Source]:
        assert (url, credential, transport, with_audio) == ("u", None, "tcp", True)
        try:
            yield self._source
        finally:
            if self._breaks:
                raise ZeroDivisionError("a bug")


def around(queue: Queue, reader: Reader) -> CameraContext:
    clock = SystemClock()
    queue.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    return make_context(queue, reader=reader, stills=queue, clock=clock)


def filmed(first: int, count: int) -> list[Picture]:
    return [picture(n, key=n % FPS == 0) for n in range(first, first + count)]


async def left(queue: Queue, source: Playing, *, breaks: bool = False, bug: bool = False) -> None:
    """A replica hands the camera over. Its task must end as cancelled: any other end would be that of all cameras."""
    life = CameraWorker(Camera(camera_id="cam", name="x", url="u"), around(queue, Reader(source, breaks=breaks)))
    task = asyncio.ensure_future(life.run())
    async with asyncio.timeout(5):
        await source.waits.wait()
        queue.broken = bug
        life.set_stop_cause("handover", "taken over by another replica")
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_pictures_received_before_the_stop_are_stored_and_lost_is_interrupted():
    queue = Queue()
    await left(queue, Playing(filmed(0, 40), filmed(40, 5)))
    assert queue.picture_count == 45
    [lost] = queue.lost
    assert queue.items[-1] is lost
    assert (lost.cause, lost.detail, lost.interrupted) == ("handover", "taken over by another replica", True)


async def test_invalid_data_at_the_stop_ends_the_epoch_with_stream_error():
    queue = Queue()
    unusable = picture(41, key=True, sets=(b"\x67\x42", b"\x68\xce"))
    await left(queue, Playing(filmed(0, 40), [*filmed(40, 1), NOISE, unusable]))
    assert queue.picture_count == 41
    assert [(lost.cause, lost.interrupted) for lost in queue.lost] == [("stream_error", True)]


async def test_a_bug_during_the_stop_loses_the_held_pictures_and_is_reported():
    queue = Queue()
    await left(queue, Playing(filmed(0, 60), filmed(60, 5)), bug=True)
    assert queue.picture_count == 50
    [lost] = queue.lost
    last = [item.info for item in queue.items if isinstance(item, Fragment)][-1]
    assert (lost.cause, lost.last_seq, lost.end_us) == ("stream_error", last.seq, last.end_us)
    assert lost.interrupted


async def test_a_bug_in_closing_the_connection_ends_no_other_camera():
    queue = Queue()
    await left(queue, Playing(filmed(0, 40), []), breaks=True)
    assert (queue.picture_count, [lost.cause for lost in queue.lost]) == (40, ["handover"])


@pytest.mark.parametrize(
    ("following", "interrupted"),
    [
        ([picture(60, key=True, sets=FULL_HD)], False),
        ([NOISE, *filmed(61, 20)], True),
        ([picture(60, pts=59 * 3600, slice_nal=b"\x41\x9a\x24\x77"), *filmed(61, 20)], True),
        ([picture(60, key=True, sets=FULL_HD[:1])], True),
    ],
    ids=["other parameter sets", "noise", "one time twice", "parameter sets of which one is missing"],
)
async def test_an_epoch_followed_by_another_at_the_next_picture_is_not_interrupted(
    following: list[Picture], *, interrupted: bool
):
    queue = Queue()
    source = Playing([], [])
    stream = Stream(Camera(camera_id="cam", name="x", url="u"), source, around(queue, Reader(source)))
    stream.feed(filmed(0, 60))
    with suppress(ReadError):  # of what makes no epoch
        stream.feed(following)
    assert [lost.interrupted for lost in queue.lost] == [interrupted]


async def test_a_bug_while_closing_a_failed_stream_is_reported():
    queue = Queue()
    life = CameraWorker(Camera(camera_id="cam", name="x", url="u"), around(queue, Reader(Failing(queue))))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(life.run())
        while not queue.lost:
            await asyncio.sleep(0.01)
        task.cancel()
    assert [lost.cause for lost in queue.lost] == ["stream_error"]
