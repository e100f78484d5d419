"""A host whose clock is wrong, from the start or later: the times of its pictures, and the reported causes."""

from typing import TYPE_CHECKING, cast

import pytest

from districam_common.contract.events import Camera, Connected, Lost, StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.stream import Stream
from districam_ingest.recording.timeline import MAX_UNCERTAIN_WINDOW_US
from support.camera_context import make_context
from unit.ingest.samples import BASELINE, picture

if TYPE_CHECKING:
    from districam_ingest.readers.reader import Source

S, MS = 1_000_000, 1_000
FPS = 25
FRAME_US = S // FPS
AHEAD_US = 7 * 3600 * S
TRUE_US = 1_790_000_000 * S
"""True wall time, which is the brokers' time, at monotonic time 0."""

pytestmark = pytest.mark.correctness


class FakeSource:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def read_remaining(self) -> list[object]:
        return []

    def use_precise_arrival(self) -> None:
        pass


class Host:
    """An ingest with one camera, on a host whose wall clock is off by `clock_error_us`."""

    def __init__(self, clock_error_us: int = 0) -> None:
        self.at_us, self.true_us, self.clock_error_us = 100 * S, TRUE_US, clock_error_us
        self.host_clock = HostClock()
        self.sent: list[Fragment | StreamEvent] = []
        self.host_clock.feed_host_time(self.now_us(), self.at_us)
        host_clock = self.host_clock
        context = make_context(self, stills=self, clock=self, now_us=lambda: self.at_us + host_clock.offset_us)
        self._stall_detector = context.stall_detector
        camera = Camera(camera_id="cam-1", name="x", url="rtsp://camera/x")
        self.stream = Stream(camera, cast("Source", FakeSource()), context)
        self._pictures = 0

    def monotonic_us(self) -> int:
        return self.at_us

    def now_us(self) -> int:
        return self.true_us + self.at_us + self.clock_error_us

    def _poll_clocks(self) -> None:
        self.host_clock.feed_host_time(self.now_us(), self.at_us)
        self._stall_detector.has_stalled_since(0)

    def ack(self) -> None:
        append_us = (self.true_us + self.at_us + MS) // 1000 * 1000
        self.host_clock.feed_ack(append_us, self.at_us, self.at_us + 2 * MS, 1)

    def read_live(self, seconds: float, *, acks: bool = True) -> None:
        """The camera sends for `seconds`, with a keyframe per second; sent records are acknowledged if `acks`."""
        for _ in range(round(seconds * FPS)):
            n, self._pictures = self._pictures, self._pictures + 1
            self.at_us += FRAME_US
            self._poll_clocks()
            before = len(self.sent)
            self.stream.feed([picture(n, key=n % FPS == 0, sets=BASELINE, arrival_us=self.at_us)])
            if acks and len(self.sent) > before:
                self.ack()

    def read_burst(self, seconds: int) -> None:
        """Pictures buffered by the socket are read at once."""
        for _ in range(seconds * FPS):
            n, self._pictures = self._pictures, self._pictures + 1
            self._poll_clocks()
            self.stream.feed([picture(n, key=n % FPS == 0, sets=BASELINE, arrival_us=self.at_us)])

    def pause(self, for_s: int) -> None:
        """Pauses the machine with its monotonic clock; the camera's connection breaks."""
        self.true_us += for_s * S
        self.stream.close("camera_unreachable", "reset", 0.5)
        self._pictures += for_s * FPS
        self._pictures += -self._pictures % FPS

    # replaces the send queue and the still maker

    def has_room(self, size_bytes: int) -> bool:
        return bool(size_bytes)

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        return delta_bytes < 1 << 30

    def put_fragment(self, fragment: Fragment) -> None:
        self.sent.append(fragment)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert camera_id == "cam-1"
        self.sent.append(event)

    def submit(self, request: object) -> None:
        pass

    # results

    def lost_causes(self) -> list[str]:
        return [one.cause for one in self.sent if isinstance(one, Lost)]

    def misplaced_us(self) -> list[int]:
        """Times of fragments and `connected` events that lie over a second outside the true recording time."""
        at = [(one.info.start_us, one.info.start_us) for one in self.sent if isinstance(one, Fragment)]
        at += [(one.at_us, one.at_us) for one in self.sent if isinstance(one, Connected)]
        first, last = self.true_us + 100 * S, self.true_us + self.at_us
        return [us for us, _ in at if not first - S <= us <= last + S]


@pytest.mark.parametrize("clock_error_us", [AHEAD_US, -AHEAD_US])
def test_the_first_second_is_placed_by_the_brokers_time_after_one_probe(clock_error_us: int):
    """Ingest probes the brokers before it opens the first camera."""
    host = Host(clock_error_us)
    host.ack()
    host.read_live(5)
    assert len(host.sent) > 3
    assert host.misplaced_us() == []
    assert host.lost_causes() == []


def test_a_probe_answered_within_the_first_second_is_early_enough():
    """The epoch has emitted nothing by then, so it need not end."""
    host = Host(AHEAD_US)
    host.read_live(0.8)
    host.ack()
    host.read_live(5)
    assert len(host.sent) > 3
    assert host.misplaced_us() == []
    assert host.lost_causes() == []


def test_setting_the_host_clock_wrong_does_not_end_a_running_epoch():
    host = Host()
    host.read_live(5)
    host.clock_error_us = AHEAD_US
    host.read_live(5, acks=False)  # no ack shows it yet
    host.read_live(5)
    assert host.lost_causes() == []
    assert host.misplaced_us() == []


@pytest.mark.parametrize("unacked_s", [0.2, 5])
def test_pictures_after_a_pause_wait_for_the_brokers_time(unacked_s: float):
    """After the pause the wall clock may be right or wrong: the next ack decides."""
    host = Host()
    host.read_live(5)
    host.pause(600)
    sent = len(host.sent)
    host.read_live(unacked_s, acks=False)
    assert len(host.sent) == sent
    host.ack()
    host.read_live(5)
    del host.sent[:sent]
    assert len(host.sent) > 3
    assert host.misplaced_us() == []


def test_pictures_wait_at_most_ten_seconds_for_an_unavailable_broker():
    """After that the host's clock is used: a paused machine is more likely than a clock set wrong."""
    host = Host()
    host.read_live(5)
    host.pause(600)
    del host.sent[:]
    host.read_live(MAX_UNCERTAIN_WINDOW_US / S + 2, acks=False)
    assert len(host.sent) > 3
    assert host.misplaced_us() == []


def test_a_pause_undetected_by_the_host_clock_ends_the_epoch_and_the_next_is_correct():
    """The wall clock stopped as well: only the broker's acks show the pause."""
    host = Host()
    host.read_live(5)
    host.true_us += 600 * S
    host.clock_error_us = -600 * S
    host.read_live(5)
    assert host.lost_causes() == ["clock_step"]
    del host.sent[:]
    host.read_live(5)
    assert host.misplaced_us() == []


def test_socket_buffered_pictures_after_a_machine_pause_are_service_down():
    """They arrive at once, and by the stopped monotonic clock long before their capture."""
    host = Host()
    host.read_live(5)
    host.true_us += 60 * S
    host.read_burst(60)
    host.ack()
    host.read_live(5)
    assert len(host.lost_causes()) == 1
    assert set(host.lost_causes()) == {"service_down"}
    starts_us = [one.info.start_us for one in host.sent if isinstance(one, Fragment)]
    capture_us = [TRUE_US + 100 * S + n * S for n in range(70)]  # a fragment starts with the keyframe of each second
    assert all(min(abs(at_us - us) for us in capture_us) <= S // 10 for at_us in starts_us)
    assert starts_us == sorted(set(starts_us))
    assert len(starts_us) >= len(capture_us) - 3  # except those at the change of epochs and those still held
