"""What this process misses while it stands still is its own fault, whatever the camera does next."""

from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, Cause
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.stream import Stream
from support.camera_context import make_context
from support.world_cameras import TICK_US
from support.world_ingest import BrokerLink, SimulatedHostClock, SimulatedSendQueue
from unit.ingest.samples import picture

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

FPS, STOOD_S = 25, 30


class Playing:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def use_precise_arrival(self) -> None:
        pass


class NoStills:
    def submit(self, request: object) -> None:
        pass


class Ingest:
    """One camera's stream in a process whose time passes when told to."""

    def __init__(self) -> None:
        self.clock, self.way = SimulatedHostClock(), BrokerLink()
        self.queue = SimulatedSendQueue(self.way)
        camera = Camera(camera_id="cam", name="x", url="rtsp://camera/x")
        around = make_context(self.queue, stills=NoStills(), clock=self.clock)
        self._watch = around.stall_detector
        self.stream = Stream(camera, cast("Source", Playing()), around)
        self._sent = 0

    def read(self, for_s: float) -> None:
        """The camera sends for so long, and each picture is read when it comes."""
        for _ in range(round(for_s * FPS)):
            self.clock.tick = round(self._sent / FPS * 1e6 / TICK_US)
            self._watch.has_stalled_since(0)
            self._take(self._sent)
            self._sent += 1

    def stand_still(self, kept: int) -> None:
        """Nothing is read for half a minute; then come the pictures that the socket has kept."""
        self.clock.tick += round(STOOD_S * 1e6 / TICK_US)
        for number in range(self._sent, self._sent + kept):
            self._take(number)
        self._sent += STOOD_S * FPS

    def _take(self, number: int) -> None:
        key = number % (2 * FPS) == 0 or number == self._sent
        self.stream.feed([picture(number, key=key, arrival_us=self.clock.monotonic_us())])


@pytest.mark.parametrize("cause", ["camera_unreachable", "source_silent"])
def test_a_camera_failure_right_after_a_stall_is_service_down(cause: Cause):
    ingest = Ingest()
    ingest.read(for_s=4)
    ingest.stand_still(kept=3)
    assert not ingest.stream.close(cause, "x", 0.5)  # what the camera did is still to be told
    assert ingest.queue.causes == {"cam": "service_down"}


@pytest.mark.parametrize("cause", ["camera_unreachable", "source_silent"])
def test_a_camera_failure_at_another_time_keeps_its_cause(cause: Cause):
    ingest = Ingest()
    ingest.read(for_s=4)
    assert ingest.stream.close(cause, "x", 0.5)
    assert ingest.queue.causes == {"cam": cause}


def test_an_epoch_of_only_socket_buffered_pictures_sends_no_event():
    ingest = Ingest()
    ingest.stand_still(kept=10)
    ingest.stream.close("stream_error", "x", 0.5)
    assert ingest.way.queued_fragments == []
