"""Footage missed during a stall of this process is reported as `service_down`, whatever the camera does next."""

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

FPS, STALL_S = 25, 30


class FakeSource:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def use_precise_arrival(self) -> None:
        pass


class NoStills:
    def submit(self, request: object) -> None:
        pass


class Ingest:
    """One camera's stream in a process with a simulated clock."""

    def __init__(self) -> None:
        self.clock, self.link = SimulatedHostClock(), BrokerLink()
        self.queue = SimulatedSendQueue(self.link)
        camera = Camera(camera_id="cam", name="x", url="rtsp://camera/x")
        context = make_context(self.queue, stills=NoStills(), clock=self.clock)
        self._stall_detector = context.stall_detector
        self.stream = Stream(camera, cast("Source", FakeSource()), context)
        self._sent = 0

    def read(self, for_s: float) -> None:
        """The camera sends for `for_s`, and each picture is read when it arrives."""
        for _ in range(round(for_s * FPS)):
            self.clock.tick = round(self._sent / FPS * 1e6 / TICK_US)
            self._stall_detector.has_stalled_since(0)
            self._feed(self._sent)
            self._sent += 1

    def stall(self, buffered: int) -> None:
        """Nothing is read for half a minute; then the `buffered` pictures of the socket are read."""
        self.clock.tick += round(STALL_S * 1e6 / TICK_US)
        for number in range(self._sent, self._sent + buffered):
            self._feed(number)
        self._sent += STALL_S * FPS

    def _feed(self, number: int) -> None:
        key = number % (2 * FPS) == 0 or number == self._sent
        self.stream.feed([picture(number, key=key, arrival_us=self.clock.monotonic_us())])


@pytest.mark.parametrize("cause", ["camera_unreachable", "source_silent"])
def test_a_camera_failure_right_after_a_stall_is_service_down(cause: Cause):
    ingest = Ingest()
    ingest.read(for_s=4)
    ingest.stall(buffered=3)
    assert not ingest.stream.close(cause, "x", 0.5)  # the camera's failure is still to be reported
    assert ingest.queue.causes == {"cam": "service_down"}


@pytest.mark.parametrize("cause", ["camera_unreachable", "source_silent"])
def test_a_camera_failure_at_another_time_keeps_its_cause(cause: Cause):
    ingest = Ingest()
    ingest.read(for_s=4)
    assert ingest.stream.close(cause, "x", 0.5)
    assert ingest.queue.causes == {"cam": cause}


def test_an_epoch_of_only_socket_buffered_pictures_sends_no_event():
    ingest = Ingest()
    ingest.stall(buffered=10)
    ingest.stream.close("stream_error", "x", 0.5)
    assert ingest.link.queued_fragments == []
