"""Errors while an epoch starts: `connected` is never left without `lost`, and an epoch without fragments has no events."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, Connected, Lost, StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.stream import Stream
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue
from support.world_ingest import SimulatedHostClock
from unit.ingest.samples import FULL_HD, picture

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

CAMERA = Camera(camera_id="cam", name="x", url="rtsp://camera/x")
FPS = 25


class FakeSource:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def use_precise_arrival(self) -> None:
        pass


@dataclass
class FaultyQueue(FakeSendQueue):
    """Replaces the send queue and the still maker. Once armed, the `nth` call of `kind` raises; no other does."""

    kind: str = ""
    nth: int = 0
    is_armed: bool = False

    def _fail_if_due(self, kind: str) -> None:
        if self.is_armed and kind == self.kind:
            self.nth -= 1
            if self.nth < 0:
                self.is_armed = False
                raise ZeroDivisionError("a bug")

    def has_room(self, size_bytes: int) -> bool:
        self._fail_if_due("room")
        return size_bytes > 0

    def put_fragment(self, fragment: Fragment) -> None:
        self._fail_if_due("fragment")
        super().put_fragment(fragment)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == CAMERA.camera_id
        self._fail_if_due("event")
        super().put_event(camera_id, event)

    def submit(self, request: object) -> None:
        self._fail_if_due("still")

    def epochs(self, kind: type[Connected | Lost]) -> list[str]:
        """The epochs of the events of that type."""
        return [item.epoch for item in self.items if isinstance(item, kind)]


def fail_at(kind: str, nth: int) -> FaultyQueue:
    """Records a camera that changes its parameter sets after four seconds; the new epoch meets the bug."""
    queue, clock = FaultyQueue(kind=kind, nth=nth), SimulatedHostClock()
    stream = Stream(CAMERA, cast("Source", FakeSource()), make_context(queue, stills=queue, clock=clock))
    stream.feed([picture(n, key=n % FPS == 0) for n in range(4 * FPS)])
    changed = [picture(n, key=n % FPS == 0, sets=FULL_HD) for n in range(4 * FPS, 10 * FPS)]
    stream.feed(changed[:1])
    queue.is_armed = True
    try:
        stream.feed(changed[1:])
    except ZeroDivisionError:
        stream.abort("stream_error", "internal error in ingest while processing the stream", 0.5)  # as the worker does
    assert not queue.is_armed, "the bug was not met"
    return queue


@pytest.mark.correctness
@pytest.mark.parametrize(
    ("kind", "nth"),
    [("room", 0), ("room", 1), ("fragment", 0), ("fragment", 1), ("still", 0), ("still", 1), ("event", 0)],
)
def test_an_error_at_an_epochs_start_never_leaves_connected_without_lost(kind: str, nth: int):
    queue = fail_at(kind, nth)
    assert set(queue.epochs(Connected)) == set(queue.epochs(Lost))
    [lost] = [item for item in queue.items[-1:] if isinstance(item, Lost)] or [None]
    assert lost is not None, "`lost` is last"
    ends = [item.info.end_us for item in queue.items if isinstance(item, Fragment) and item.info.epoch == lost.epoch]
    assert lost.end_us >= max(ends, default=0), "all fragments lie within the epoch"


@pytest.mark.correctness
def test_an_epoch_whose_first_fragment_cannot_be_muxed_sends_no_event():
    queue = fail_at("room", 0)
    assert len(queue.epochs(Connected)) == len(queue.epochs(Lost)) == 1, "only the previous epoch"
