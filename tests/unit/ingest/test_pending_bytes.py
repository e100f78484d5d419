"""Pictures held by the timeline count in the process's buffer budget like those queued for Kafka."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, Lost, StreamEvent
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.stream import Stream
from districam_ingest.units import Picture
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue
from support.world_cameras import tick_us
from support.world_ingest import SimulatedHostClock
from unit.ingest.samples import picture

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

S = 1_000_000
FPS, PICTURE_US = 25, 40_000
PICTURE_BYTES = 5_000
ROOM = 40 * PICTURE_BYTES
CAMERA = Camera(camera_id="cam", name="x", url="rtsp://camera/x")


class FakeSource:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def use_precise_arrival(self) -> None:
        pass


@dataclass
class BudgetQueue(FakeSendQueue):
    """A send queue that sends immediately, so that only held bytes count."""

    room: int = 1 << 30

    def has_room(self, size_bytes: int) -> bool:
        return self.held_bytes + size_bytes <= self.room

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        super().adjust_buffered_bytes(delta_bytes)
        return self.held_bytes <= self.room

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == CAMERA.camera_id
        super().put_event(camera_id, event)

    @property
    def lost(self) -> list[Lost]:
        return [item for item in self.items if isinstance(item, Lost)]


def create_stream(queue: BudgetQueue) -> Stream:
    clock = SimulatedHostClock()
    queue.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    return Stream(CAMERA, cast("Source", FakeSource()), make_context(queue, stills=queue, clock=clock))


def keyframe_a_second(
    first_s: float, to_s: float, *, not_before_s: float | None = None, delay_s: float = 0
) -> list[Picture]:
    """Pictures with a keyframe per second; they arrive `delay_s` after capture, but not before `not_before_s`."""
    pictures: list[Picture] = []
    for n in range(round(first_s * FPS), round(to_s * FPS)):
        capture_us = 9 * S + n * PICTURE_US
        arrival_us = max(capture_us + round(delay_s * S), 9 * S + round((not_before_s or 0) * S))
        key = n % FPS == 0
        nal = (b"\x65\x88" if key else b"\x41\x9a") + bytes(PICTURE_BYTES)
        pictures.append(picture(n, key=key, arrival_us=arrival_us, slice_nal=nal))
    return pictures


@pytest.mark.correctness
def test_late_pictures_are_held_within_the_budget_and_stored_at_their_media_times():
    queue = BudgetQueue(room=ROOM)
    stream = create_stream(queue)
    stream.feed(keyframe_a_second(0, 4))
    assert queue.held_bytes == 0
    first_second, queue.max_held_bytes = queue.max_held_bytes, 0
    assert first_second >= FPS * PICTURE_BYTES, "the first second is held regardless of the budget: it has no time yet"
    stream.feed(keyframe_a_second(4, 10, delay_s=3))
    assert PICTURE_BYTES < queue.max_held_bytes <= ROOM + 2 * PICTURE_BYTES
    stream.feed(keyframe_a_second(10, 14))
    stream.close("handover", "the test ends", 0)
    assert queue.held_bytes == 0
    assert sum(one.info.access_units for one in queue.fragments) == 14 * FPS
    starts = [one.info.start_us - tick_us(0) for one in queue.fragments]
    assert all(abs(start - n * S) < 20_000 for n, start in enumerate(starts)), starts
    assert [lost.cause for lost in queue.lost] == ["handover"]


def test_late_pictures_are_held_while_the_budget_has_room():
    """Holding them distinguishes an encoder's pause from a slow network."""
    queue = BudgetQueue()
    stream = create_stream(queue)
    stream.feed(keyframe_a_second(0, 4))
    stream.feed(keyframe_a_second(4, 9, delay_s=3))
    assert queue.held_bytes >= 5 * FPS * PICTURE_BYTES
    stream.feed(keyframe_a_second(9, 16, delay_s=3))
    assert [lost.cause for lost in queue.lost] == ["stream_error"]


@pytest.mark.correctness
@pytest.mark.parametrize("ending", ["close", "abort", "deviation", "on time again"])
def test_held_bytes_are_always_released(ending: str):
    queue = BudgetQueue()
    stream = create_stream(queue)
    stream.feed(keyframe_a_second(0, 4))
    stream.feed(keyframe_a_second(4, 9, delay_s=3))
    assert queue.held_bytes > 0
    if ending == "deviation":
        stream.feed(keyframe_a_second(9, 16, delay_s=3))
        assert queue.lost
    if ending == "on time again":
        stream.feed(keyframe_a_second(9, 10))
    elif ending == "abort":
        stream.abort("stream_error", "internal error in ingest while processing the stream", 0.5)
    else:
        stream.close("handover", "the test ends", 0)
    assert queue.held_bytes == 0
