"""A camera that means harm has little told of it, and what is not stored of it is told with its cause."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import (
    Camera,
    ClockStep,
    Connected,
    Lost,
    Profile,
    Refused,
    Shed,
    StreamEvent,
)
from districam_common.contract.media import Fragment
from districam_common.runtime.credentials import Credential
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.recording.epoch import OVERSIZE_DETAIL, TOO_MANY_KEYFRAMES_DETAIL
from districam_ingest.recording.rate_limits import (
    EPOCH_BURST,
    EPOCHS_PER_MINUTE,
    EVENTS_PER_MINUTE,
    CameraRateLimits,
)
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


class Told(FakeSendQueue):
    """What stands for Kafka."""

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == CAMERA.camera_id
        super().put_event(camera_id, event)

    def counts(self) -> Counter[str]:
        return Counter(type(item).__name__ for item in self.items)


class Playing:
    """A camera's pictures, all at once; then it says nothing."""

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


def playing(told: Told, budget: CameraRateLimits) -> Stream:
    around = make_context(told, stills=told)
    told.host_clock.feed_host_time(around.clock.now_us(), around.clock.monotonic_us())
    return Stream(CAMERA, cast("Source", Playing()), around, budget)


def changing(number: int, *, every_s: float) -> list[Picture]:
    """So many keyframes, each with other parameter sets than the one before."""
    n = round(FPS * every_s)
    return [
        picture(k * n, key=True, sets=FULL_HD if k % 2 else BASELINE, arrival_us=round(k * every_s * S))
        for k in range(number)
    ]


def test_a_few_parameter_changes_lose_no_footage():
    told, budget = Told(), CameraRateLimits()
    stream = playing(told, budget)
    with suppress(ReadError):  # what it would be ended for shows below
        stream.feed(changing(12, every_s=1))
    stream.close("handover", "the test ends", 0)
    assert told.picture_count == 12
    causes = [item.cause for item in told.items if isinstance(item, Lost)]
    assert causes == ["stream_changed"] * 11 + ["handover"]


def test_parameter_changes_at_every_keyframe_end_the_stream_with_a_cause():
    told, budget = Told(), CameraRateLimits()
    stream = playing(told, budget)
    with pytest.raises(ReadError) as raised:
        stream.feed(changing(1000, every_s=0.04))
    assert (raised.value.cause, raised.value.detail) == ("stream_error", TOO_MANY_EPOCHS_DETAIL)
    assert told.picture_count == EPOCH_BURST
    assert told.counts()["Connected"] == EPOCH_BURST
    last = told.items[-1]
    assert isinstance(last, Lost)
    assert (last.cause, last.detail, last.interrupted) == ("stream_error", TOO_MANY_EPOCHS_DETAIL, True)
    assert not stream.close("handover", "nothing runs any more", 0)


def test_reconnecting_does_not_reset_the_rate_limit():
    told, budget, begun = Told(), CameraRateLimits(), 0
    pictures = changing(4000, every_s=0.04)
    while pictures:
        stream = playing(told, budget)
        with pytest.raises(ReadError):
            stream.feed(pictures)
        begun, before = told.counts()["Connected"], begun
        pictures = pictures[begun - before + 1 :]
        if not pictures or pictures[-1].arrival_us - pictures[0].arrival_us < 2 * S:
            break
    minutes = 4000 * 0.04 / 60
    assert EPOCH_BURST <= told.counts()["Connected"] <= EPOCH_BURST + EPOCHS_PER_MINUTE * minutes + 1


async def test_the_next_attempt_waits_until_an_epoch_is_allowed():
    told, opened = Told(), 0

    class Reader:
        @asynccontextmanager
        async def open(
            self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
        ) -> AsyncGenerator[Playing]:
            nonlocal opened
            opened += 1
            now_us = around.clock.monotonic_us()
            yield Playing([replaced(one, now_us) for one in changing(100, every_s=0.04)])

    soon = IngestSettings(retry_first_s=0.01, retry_most_s=0.02)
    around = make_context(told, reader=Reader(), stills=told, settings=soon)
    told.host_clock.feed_host_time(around.clock.now_us(), around.clock.monotonic_us())
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        life = tasks.create_task(CameraWorker(CAMERA, around).run())
        while not told.counts()["Refused"]:
            await asyncio.sleep(0.01)
        life.cancel()
    refused = told.items[-1]
    assert isinstance(refused, Refused)
    assert (refused.cause, refused.detail, opened) == ("stream_error", TOO_MANY_EPOCHS_DETAIL, 1)
    assert 60 / EPOCHS_PER_MINUTE - 2 < refused.next_retry_s <= 60 / EPOCHS_PER_MINUTE


def replaced(one: Picture, now_us: int) -> Picture:
    return Picture(one.nals, one.pts, now_us)


def steady(seconds: int, **camera: int) -> list[Picture]:
    pictures = [picture(n, key=n % FPS == 0) for n in range(seconds * FPS)]
    for n, one in enumerate(pictures):
        if camera:
            one.camera_us = 1_790_000_000_000_000 + one.arrival_us + (n % 2) * camera["swings_s"] * S
    return pictures


def test_clock_steps_at_every_picture_are_reported_at_a_limited_rate():
    told = Told()
    playing(told, CameraRateLimits()).feed(steady(60, swings_s=3600))
    steps = [item for item in told.items if isinstance(item, ClockStep)]
    assert EVENTS_PER_MINUTE <= len(steps) <= 2 * EVENTS_PER_MINUTE
    assert all(abs(one.step_us) in {0, 3600 * S} for one in steps)
    for before, after in pairwise(steps):  # what is told adds up
        assert after.offset_us - before.offset_us == pytest.approx(after.step_us, abs=S)


def test_a_constantly_changing_profile_is_reported_at_a_limited_rate():
    """Media time that runs ahead within an epoch's first second: a window of ten seconds passes with every five pictures."""
    told = Told()
    pts = list(accumulate(90_000 if n // 20 % 2 else 22_500 for n in range(1100)))
    pictures = [picture(n, key=n % 10 == 0, pts=pts[n], arrival_us=n * 900) for n in range(1100)]
    stream = playing(told, CameraRateLimits())
    with pytest.raises(ReadError, match=TOO_MANY_EPOCHS_DETAIL):
        stream.feed(pictures)
    profiles = [item for item in told.items if isinstance(item, Profile)]
    assert len(profiles) == EVENTS_PER_MINUTE
    assert len({round(one.fps or 0) for one in profiles}) > 1


def test_each_oversize_picture_is_reported_and_too_many_end_the_stream():
    told = Told()
    stream = playing(told, CameraRateLimits())
    large = b"\x65" + bytes(9 << 20)
    pictures = [
        picture(n, key=True, slice_nal=large if n > FPS and n % 2 else None, arrival_us=n * 40_000) for n in range(60)
    ]
    with pytest.raises(ReadError) as raised:
        stream.feed(pictures)
    stream.close(raised.value.cause, raised.value.detail, 30.0)
    assert (raised.value.cause, raised.value.detail) == ("stream_error", OVERSIZE_DETAIL)
    sheds = [item for item in told.items if isinstance(item, Shed)]
    assert EVENTS_PER_MINUTE <= len(sheds) <= EVENTS_PER_MINUTE + 2
    lost = told.items[-1]
    assert isinstance(lost, Lost)
    assert (lost.cause, lost.detail, lost.next_retry_s) == ("stream_error", OVERSIZE_DETAIL, 30.0)
    shed_seqs = {seq for one in sheds for seq in range(one.first_seq, one.last_seq + 1)}
    stored = {item.info.seq for item in told.items if isinstance(item, Fragment)}
    assert shed_seqs | stored == set(range(lost.last_seq + 1)), "each fragment is stored or told"
    assert not any(isinstance(item, Connected) for item in told.items[1:])


def test_an_epoch_cannot_overlap_footage_of_an_hour_ago():
    """Media time that runs ahead within the first second: where it is now is known, so that where it began lies far behind."""
    told = Told()
    stream = playing(told, CameraRateLimits())
    pictures = [picture(n, key=n % 10 == 0, pts=n * 170_000, arrival_us=n * 500) for n in range(2000)]
    with pytest.raises(ReadError, match=TOO_MANY_EPOCHS_DETAIL):
        stream.feed(pictures)
    now_us = told.host_clock.offset_us
    starts = [item.info.start_us for item in told.items if isinstance(item, Fragment)]
    assert starts
    assert min(starts) >= now_us - 31 * S
    assert {item.cause for item in told.items if isinstance(item, Lost)} == {"stream_error"}


def test_old_pictures_that_a_camera_sends_on_connecting_are_stored():
    told = Told()
    stream = playing(told, CameraRateLimits())
    burst = [picture(n, key=n % 50 == 0, arrival_us=n * 100) for n in range(20 * FPS)]
    then = [picture(n, key=n % 50 == 0, arrival_us=(n - 20 * FPS) * 40_000) for n in range(20 * FPS, 60 * FPS)]
    stream.feed(burst + then)
    stream.close("handover", "the test ends", 0)
    assert told.picture_count == 60 * FPS
    assert told.counts()["Connected"] == 1


def keyframes(a_second: int, seconds: int) -> list[Picture]:
    step = 90_000 // a_second
    return [picture(n, key=True, interval=step) for n in range(a_second * seconds)]


def test_more_than_a_hundred_keyframes_per_second_end_the_stream():
    told = Told()
    stream = playing(told, CameraRateLimits())
    with pytest.raises(ReadError) as raised:
        stream.feed(keyframes(400, 60))
    assert (raised.value.cause, raised.value.detail) == ("stream_error", TOO_MANY_KEYFRAMES_DETAIL)
    assert 1_500 <= told.counts()["Fragment"] < 2_200


def test_sixty_keyframes_per_second_lose_no_footage():
    told = Told()
    stream = playing(told, CameraRateLimits())
    stream.feed(keyframes(60, 60))
    stream.close("handover", "the test ends", 0)
    assert told.picture_count == 3_600


def test_the_number_of_held_pictures_is_bounded():
    """Read in one go they have one time of arrival, and the first second would never be over."""
    told = Told()
    stream = playing(told, CameraRateLimits())
    at_once = [picture(n, key=True, interval=45, arrival_us=7 * S) for n in range(12_000)]
    with pytest.raises(ReadError, match=TOO_MANY_KEYFRAMES_DETAIL):
        stream.feed(at_once)
    stream.close("stream_error", TOO_MANY_KEYFRAMES_DETAIL, 0.0)
    assert told.counts()["Fragment"] <= 1_600
