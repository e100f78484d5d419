"""Pictures that wait for their time stand in the process's budget like those that wait for Kafka."""

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


class Playing:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def use_precise_arrival(self) -> None:
        pass


@dataclass
class Budget(FakeSendQueue):
    """What stands for Kafka: it takes all at once, so that only what is held counts."""

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


def playing(budget: Budget) -> Stream:
    clock = SimulatedHostClock()
    budget.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    return Stream(CAMERA, cast("Source", Playing()), make_context(budget, stills=budget, clock=clock))


def filmed(first_s: float, to_s: float, *, comes_s: float | None = None, later_s: float = 0) -> list[Picture]:
    """A keyframe a second; pictures come when they are taken, or so much later, or not before `comes_s`."""
    out: list[Picture] = []
    for n in range(round(first_s * FPS), round(to_s * FPS)):
        taken_us = 9 * S + n * PICTURE_US
        arrival_us = max(taken_us + round(later_s * S), 9 * S + round((comes_s or 0) * S))
        key = n % FPS == 0
        nal = (b"\x65\x88" if key else b"\x41\x9a") + bytes(PICTURE_BYTES)
        out.append(picture(n, key=key, arrival_us=arrival_us, slice_nal=nal))
    return out


@pytest.mark.correctness
def test_late_pictures_are_held_within_the_budget_and_stored_at_their_media_times():
    budget = Budget(room=ROOM)
    stream = playing(budget)
    stream.feed(filmed(0, 4))
    assert budget.held_bytes == 0
    first_second, budget.max_held_bytes = budget.max_held_bytes, 0
    assert first_second >= FPS * PICTURE_BYTES, "the first second is held whatever it takes: it has no time yet"
    stream.feed(filmed(4, 10, later_s=3))
    assert PICTURE_BYTES < budget.max_held_bytes <= ROOM + 2 * PICTURE_BYTES
    stream.feed(filmed(10, 14))
    stream.close("handover", "the test ends", 0)
    assert budget.held_bytes == 0
    assert sum(one.info.access_units for one in budget.fragments) == 14 * FPS
    starts = [one.info.start_us - tick_us(0) for one in budget.fragments]
    assert all(abs(start - n * S) < 20_000 for n, start in enumerate(starts)), starts
    assert [lost.cause for lost in budget.lost] == ["handover"]


def test_late_pictures_are_held_while_the_budget_has_room():
    """So an encoder that paused is told from a slow network."""
    budget = Budget()
    stream = playing(budget)
    stream.feed(filmed(0, 4))
    stream.feed(filmed(4, 9, later_s=3))
    assert budget.held_bytes >= 5 * FPS * PICTURE_BYTES
    stream.feed(filmed(9, 16, later_s=3))
    assert [lost.cause for lost in budget.lost] == ["stream_error"]


@pytest.mark.correctness
@pytest.mark.parametrize("how", ["ends", "is abandoned", "strays", "comes back"])
def test_held_bytes_are_always_released(how: str):
    budget = Budget()
    stream = playing(budget)
    stream.feed(filmed(0, 4))
    stream.feed(filmed(4, 9, later_s=3))
    assert budget.held_bytes > 0
    if how == "strays":
        stream.feed(filmed(9, 16, later_s=3))
        assert budget.lost
    if how == "comes back":
        stream.feed(filmed(9, 10))
    elif how == "is abandoned":
        stream.abort("stream_error", "internal error in ingest while processing the stream", 0.5)
    else:
        stream.close("handover", "the test ends", 0)
    assert budget.held_bytes == 0
