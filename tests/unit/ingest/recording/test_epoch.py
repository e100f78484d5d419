"""The order of an epoch's records: the send queue is one queue, so the order of putting is that of the log."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from districam_common.contract.events import Camera, Connected, Lost, Shed, StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.output.sinks import Sinks
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.epoch import Epoch
from districam_ingest.recording.epoch_splitter import Append, EpochSplitter, Start
from districam_ingest.recording.fragmenter import FragmentLimits
from districam_ingest.recording.rate_limits import CameraRateLimits
from support.fake_send_queue import FakeSendQueue
from unit.ingest.samples import TICKS_25, picture

if TYPE_CHECKING:
    from districam_ingest.output.send_queue import SendQueue
    from districam_ingest.output.stills import StillMaker

S = 1_000_000
OFFSET_US = 1_790_000_000 * S
GOP = 25
CAMERA = Camera(camera_id="cam-1", name="x", url="rtsp://127.0.0.1/x")
NOW_US = OFFSET_US + 99 * S
"""Wall time of all events; far from that of the pictures."""


@dataclass
class LimitedQueue(FakeSendQueue):
    """Keeps an epoch's records in order; has room for `room` fragments."""

    room: int = 1000
    max_held_bytes: int = 1 << 30

    def has_room(self, size_bytes: int) -> bool:
        self.room -= 1
        return self.room >= 0

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        return super().adjust_buffered_bytes(delta_bytes) and self.held_bytes <= self.max_held_bytes

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == CAMERA.camera_id
        if isinstance(event, Connected | Lost | Shed):
            super().put_event(camera_id, event)


def record_epoch(queue: LimitedQueue, seconds: int) -> None:
    """Records one epoch of a steady camera with one keyframe per second."""
    queue.host_clock.feed_host_time(OFFSET_US, 0)
    sinks = Sinks(
        send_queue=cast("SendQueue", queue),
        stills=cast("StillMaker", queue),
        instance="test",
        host_clock=queue.host_clock,
        now_us=lambda: NOW_US,
    )
    splitter, epoch = EpochSplitter("h264"), None
    for n in range(seconds * GOP):
        for decision in splitter.decide(picture(n, key=n % GOP == 0, interval=TICKS_25)):
            if isinstance(decision, Start):
                info = SourceInfo(codec="h264", parameter_sets=(), reader="test")
                epoch = Epoch(
                    CAMERA, info, decision, FragmentLimits(), sinks, epoch_id="e1", rate_limits=CameraRateLimits()
                )
            elif isinstance(decision, Append) and epoch is not None:
                epoch.feed(decision)
    assert epoch is not None
    epoch.close("handover", "the test ends", interval_us=splitter.interval_us)


def fragments(queue: LimitedQueue) -> list[Fragment]:
    return [item for item in queue.items if isinstance(item, Fragment)]


def test_connected_precedes_all_fragments_and_lost_follows_them():
    queue = LimitedQueue()
    record_epoch(queue, 5)
    types = [type(item) for item in queue.items]
    assert types == [Connected, *[Fragment] * 5, Lost]
    last, lost = fragments(queue)[-1].info, queue.items[-1]
    assert isinstance(lost, Lost)
    assert (lost.last_seq, lost.end_us, last.ends) == (last.seq, last.end_us, "epoch")


def test_connected_takes_effect_at_the_first_access_unit():
    queue = LimitedQueue()
    record_epoch(queue, 3)
    connected = queue.items[0]
    assert isinstance(connected, Connected)
    assert connected.at_us == fragments(queue)[0].info.start_us == OFFSET_US


def test_an_epoch_shorter_than_a_second_is_sent_at_its_end():
    queue = LimitedQueue()
    record_epoch(queue, 1)
    assert [type(item) for item in queue.items] == [Connected, Fragment, Lost]


def test_a_shed_range_is_reported_before_the_fragments_that_follow_it():
    queue = LimitedQueue(room=2)
    record_epoch(queue, 5)
    assert [type(item) for item in queue.items] == [Connected, Fragment, Fragment, Shed, Lost]
    shed, lost = queue.items[-2:]
    assert isinstance(shed, Shed)
    assert isinstance(lost, Lost)
    assert (shed.first_seq, shed.last_seq, lost.last_seq) == (2, 4, 4)
    assert (shed.start_us, shed.end_us) == (fragments(queue)[-1].info.end_us, lost.end_us)
