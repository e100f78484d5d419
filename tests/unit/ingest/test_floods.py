"""A malicious camera causes a limited number of events, and what is not stored is reported with its cause."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, ClockStep, Connected, Lost, Profile, Refused, Shed, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.runtime.credentials import Credential
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.recording.epoch import OVERSIZE_DETAIL, TOO_MANY_KEYFRAMES_DETAIL
from districam_ingest.recording.rate_limits import EPOCH_BURST, EPOCHS_PER_MINUTE, EVENTS_PER_MINUTE, CameraRateLimits
from districam_ingest.recording.stream import TOO_MANY_EPOCHS_DETAIL, Stream
from districam_ingest.settings import IngestSettings
from districam_ingest.units import AudioUnit, Picture
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue
from unit.ingest.samples import BASELINE, FULL_HD, picture

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

pytestmark = pytest.mark.hostile

S, FPS = 1_000_000, 25
CAMERA = Camera(camera_id="cam", name="x", url="rtsp://camera/x")


class CountingQueue(FakeSendQueue):
    """Replaces the send queue and counts its items."""

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == CAMERA.camera_id
        super().put_event(camera_id, event)

    def counts(self) -> Counter[str]:
        return Counter(type(item).__name__ for item in self.items)


class FakeSource:
    """Returns its pictures in one read, then blocks."""

    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def __init__(self, pictures: list[Picture] | None = None) -> None:
        self._pictures = pictures

    async def read(self) -> list[Picture]:
        if self._pictures is None:
            await asyncio.Event().wait()
        pictures, self._pictures = self._pictures or [], None
        return pictures

    def read_remaining(self) -> list[Picture]:
        return []

    def drain_audio(self) -> list[AudioUnit]:
        return []

    def use_precise_arrival(self) -> None:
        pass


def create_stream(queue: CountingQueue, rate_limits: CameraRateLimits) -> Stream:
    context = make_context(queue, stills=queue)
    queue.host_clock.feed_host_time(context.clock.now_us(), context.clock.monotonic_us())
    return Stream(CAMERA, cast("Source", FakeSource()), context, rate_limits)


def changing_keyframes(number: int, *, interval_s: float) -> list[Picture]:
    """`number` keyframes, each with other parameter sets than the previous one."""
    n = round(FPS * interval_s)
    return [
        picture(k * n, key=True, sets=FULL_HD if k % 2 else BASELINE, arrival_us=round(k * interval_s * S))
        for k in range(number)
    ]


def test_a_few_parameter_changes_lose_no_footage():
    queue, rate_limits = CountingQueue(), CameraRateLimits()
    stream = create_stream(queue, rate_limits)
    with suppress(ReadError):  # tested below
        stream.feed(changing_keyframes(12, interval_s=1))
    stream.close("handover", "the test ends", 0)
    assert queue.picture_count == 12
    causes = [item.cause for item in queue.items if isinstance(item, Lost)]
    assert causes == ["stream_changed"] * 11 + ["handover"]


def test_parameter_changes_at_every_keyframe_end_the_stream_with_a_cause():
    queue, rate_limits = CountingQueue(), CameraRateLimits()
    stream = create_stream(queue, rate_limits)
    with pytest.raises(ReadError) as raised:
        stream.feed(changing_keyframes(1000, interval_s=0.04))
    assert (raised.value.cause, raised.value.detail) == ("stream_error", TOO_MANY_EPOCHS_DETAIL)
    assert queue.picture_count == EPOCH_BURST
    assert queue.counts()["Connected"] == EPOCH_BURST
    last = queue.items[-1]
    assert isinstance(last, Lost)
    assert (last.cause, last.detail, last.interrupted) == ("stream_error", TOO_MANY_EPOCHS_DETAIL, True)
    assert not stream.close("handover", "no epoch is running", 0)


def test_reconnecting_does_not_reset_the_rate_limit():
    queue, rate_limits, started = CountingQueue(), CameraRateLimits(), 0
    pictures = changing_keyframes(4000, interval_s=0.04)
    while pictures:
        stream = create_stream(queue, rate_limits)
        with pytest.raises(ReadError):
            stream.feed(pictures)
        started, before = queue.counts()["Connected"], started
        pictures = pictures[started - before + 1 :]
        if not pictures or pictures[-1].arrival_us - pictures[0].arrival_us < 2 * S:
            break
    minutes = 4000 * 0.04 / 60
    assert EPOCH_BURST <= queue.counts()["Connected"] <= EPOCH_BURST + EPOCHS_PER_MINUTE * minutes + 1


async def test_the_next_attempt_waits_until_an_epoch_is_allowed():
    queue, open_count = CountingQueue(), 0

    class FakeReader:
        @asynccontextmanager
        async def open(
            self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
        ) -> AsyncGenerator[FakeSource]:
            nonlocal open_count
            open_count += 1
            now_us = context.clock.monotonic_us()
            yield FakeSource([with_arrival(one, now_us) for one in changing_keyframes(100, interval_s=0.04)])

    fast_retry = IngestSettings(retry_first_s=0.01, retry_most_s=0.02)
    context = make_context(queue, reader=FakeReader(), stills=queue, settings=fast_retry)
    queue.host_clock.feed_host_time(context.clock.now_us(), context.clock.monotonic_us())
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(CameraWorker(CAMERA, context).run())
        while not queue.counts()["Refused"]:
            await asyncio.sleep(0.01)
        task.cancel()
    refused = queue.items[-1]
    assert isinstance(refused, Refused)
    assert (refused.cause, refused.detail, open_count) == ("stream_error", TOO_MANY_EPOCHS_DETAIL, 1)
    assert 60 / EPOCHS_PER_MINUTE - 2 < refused.next_retry_s <= 60 / EPOCHS_PER_MINUTE


def with_arrival(one: Picture, now_us: int) -> Picture:
    return Picture(one.nals, one.pts, now_us)


def steady(seconds: int, **camera: int) -> list[Picture]:
    pictures = [picture(n, key=n % FPS == 0) for n in range(seconds * FPS)]
    for n, one in enumerate(pictures):
        if camera:
            one.camera_us = 1_790_000_000_000_000 + one.arrival_us + (n % 2) * camera["swing_s"] * S
    return pictures


def test_clock_steps_at_every_picture_are_reported_at_a_limited_rate():
    queue = CountingQueue()
    create_stream(queue, CameraRateLimits()).feed(steady(60, swing_s=3600))
    steps = [item for item in queue.items if isinstance(item, ClockStep)]
    assert EVENTS_PER_MINUTE <= len(steps) <= 2 * EVENTS_PER_MINUTE
    assert all(abs(one.step_us) in {0, 3600 * S} for one in steps)
    for before, after in pairwise(steps):  # the reported steps add up
        assert after.offset_us - before.offset_us == pytest.approx(after.step_us, abs=S)


def test_a_constantly_changing_profile_is_reported_at_a_limited_rate():
    """Media time runs ahead within an epoch's first second: a ten-second window passes with every five pictures."""
    queue = CountingQueue()
    pts = list(accumulate(90_000 if n // 20 % 2 else 22_500 for n in range(1100)))
    pictures = [picture(n, key=n % 10 == 0, pts=pts[n], arrival_us=n * 900) for n in range(1100)]
    stream = create_stream(queue, CameraRateLimits())
    with pytest.raises(ReadError, match=TOO_MANY_EPOCHS_DETAIL):
        stream.feed(pictures)
    profiles = [item for item in queue.items if isinstance(item, Profile)]
    assert len(profiles) == EVENTS_PER_MINUTE
    assert len({round(one.fps or 0) for one in profiles}) > 1


def test_each_oversize_picture_is_reported_and_too_many_end_the_stream():
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    large = b"\x65" + bytes(9 << 20)
    pictures = [
        picture(n, key=True, slice_nal=large if n > FPS and n % 2 else None, arrival_us=n * 40_000) for n in range(60)
    ]
    with pytest.raises(ReadError) as raised:
        stream.feed(pictures)
    stream.close(raised.value.cause, raised.value.detail, 30.0)
    assert (raised.value.cause, raised.value.detail) == ("stream_error", OVERSIZE_DETAIL)
    sheds = [item for item in queue.items if isinstance(item, Shed)]
    assert EVENTS_PER_MINUTE <= len(sheds) <= EVENTS_PER_MINUTE + 2
    lost = queue.items[-1]
    assert isinstance(lost, Lost)
    assert (lost.cause, lost.detail, lost.next_retry_s) == ("stream_error", OVERSIZE_DETAIL, 30.0)
    shed_seqs = {seq for one in sheds for seq in range(one.first_seq, one.last_seq + 1)}
    stored = {item.info.seq for item in queue.items if isinstance(item, Fragment)}
    assert shed_seqs | stored == set(range(lost.last_seq + 1)), "each fragment is stored or reported"
    assert not any(isinstance(item, Connected) for item in queue.items[1:])


def test_an_epoch_cannot_overlap_footage_of_an_hour_ago():
    """Media time runs ahead within the first second. Anchored at its newest picture, the epoch would start far back."""
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    pictures = [picture(n, key=n % 10 == 0, pts=n * 170_000, arrival_us=n * 500) for n in range(2000)]
    with pytest.raises(ReadError, match=TOO_MANY_EPOCHS_DETAIL):
        stream.feed(pictures)
    now_us = queue.host_clock.offset_us
    starts = [item.info.start_us for item in queue.items if isinstance(item, Fragment)]
    assert starts
    assert min(starts) >= now_us - 31 * S
    assert {item.cause for item in queue.items if isinstance(item, Lost)} == {"stream_error"}


def test_old_pictures_that_a_camera_sends_on_connecting_are_stored():
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    burst = [picture(n, key=n % 50 == 0, arrival_us=n * 100) for n in range(20 * FPS)]
    live = [picture(n, key=n % 50 == 0, arrival_us=(n - 20 * FPS) * 40_000) for n in range(20 * FPS, 60 * FPS)]
    stream.feed(burst + live)
    stream.close("handover", "the test ends", 0)
    assert queue.picture_count == 60 * FPS
    assert queue.counts()["Connected"] == 1


def keyframes(per_second: int, seconds: int) -> list[Picture]:
    step = 90_000 // per_second
    return [picture(n, key=True, interval=step) for n in range(per_second * seconds)]


def test_more_than_a_hundred_keyframes_per_second_end_the_stream():
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    with pytest.raises(ReadError) as raised:
        stream.feed(keyframes(400, 60))
    assert (raised.value.cause, raised.value.detail) == ("stream_error", TOO_MANY_KEYFRAMES_DETAIL)
    assert 1_500 <= queue.counts()["Fragment"] < 2_200


def test_sixty_keyframes_per_second_lose_no_footage():
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    stream.feed(keyframes(60, 60))
    stream.close("handover", "the test ends", 0)
    assert queue.picture_count == 3_600


def test_the_number_of_held_pictures_is_bounded():
    """Pictures of one read have the same arrival, so that the first second would never end."""
    queue = CountingQueue()
    stream = create_stream(queue, CameraRateLimits())
    at_once = [picture(n, key=True, interval=45, arrival_us=7 * S) for n in range(12_000)]
    with pytest.raises(ReadError, match=TOO_MANY_KEYFRAMES_DETAIL):
        stream.feed(at_once)
    stream.close("stream_error", TOO_MANY_KEYFRAMES_DETAIL, 0.0)
    assert queue.counts()["Fragment"] <= 1_600
