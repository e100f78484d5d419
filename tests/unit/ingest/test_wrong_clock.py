"""A host whose clock is wrong, from the start or from some instant on: where its pictures are filed, and what is told."""

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
"""When the monotonic clock was 0, by the brokers and in truth."""

pytestmark = pytest.mark.correctness


class Playing:
    info = SourceInfo(codec="h264", parameter_sets=(), reader="test")

    def read_remaining(self) -> list[object]:
        return []

    def use_precise_arrival(self) -> None:
        pass


class Host:
    """An ingest with one camera. `off_us`: its wall clock's error; `delay_us`: until the broker's answer."""

    def __init__(self, off_us: int = 0) -> None:
        self.at_us, self.true_us, self.off_us = 100 * S, TRUE_US, off_us
        self.host_clock = HostClock()
        self.sent: list[Fragment | StreamEvent] = []
        self.host_clock.feed_host_time(self.now_us(), self.at_us)
        host_clock = self.host_clock
        around = make_context(self, stills=self, clock=self, now_us=lambda: self.at_us + host_clock.offset_us)
        self._watch = around.stall_detector
        camera = Camera(camera_id="cam-1", name="x", url="rtsp://camera/x")
        self.stream = Stream(camera, cast("Source", Playing()), around)
        self._pictures = 0

    def monotonic_us(self) -> int:
        return self.at_us

    def now_us(self) -> int:
        return self.true_us + self.at_us + self.off_us

    def _look(self) -> None:
        self.host_clock.feed_host_time(self.now_us(), self.at_us)
        self._watch.has_stalled_since(0)

    def ack(self) -> None:
        append_us = (self.true_us + self.at_us + MS) // 1000 * 1000
        self.host_clock.feed_ack(append_us, self.at_us, self.at_us + 2 * MS, 1)

    def reads(self, seconds: float, *, acks: bool = True) -> None:
        """The camera goes on for so long, a keyframe each second; what is sent is acknowledged, or not."""
        for _ in range(round(seconds * FPS)):
            n, self._pictures = self._pictures, self._pictures + 1
            self.at_us += FRAME_US
            self._look()
            before = len(self.sent)
            self.stream.feed([picture(n, key=n % FPS == 0, sets=BASELINE, arrival_us=self.at_us)])
            if acks and len(self.sent) > before:
                self.ack()

    def bursts(self, seconds: int) -> None:
        """What the socket had kept is read at once."""
        for _ in range(seconds * FPS):
            n, self._pictures = self._pictures, self._pictures + 1
            self._look()
            self.stream.feed([picture(n, key=n % FPS == 0, sets=BASELINE, arrival_us=self.at_us)])

    def is_paused(self, for_s: int) -> None:
        """The machine, its monotonic clock, and the camera's connection."""
        self.true_us += for_s * S
        self.stream.close("camera_unreachable", "reset", 0.5)
        self._pictures += for_s * FPS
        self._pictures += -self._pictures % FPS

    # in place of the outbox and of stills

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

    # what came of it

    def told(self) -> list[str]:
        return [one.cause for one in self.sent if isinstance(one, Lost)]

    def errors_us(self) -> list[int]:
        """By how much each fragment, and each beginning that is told, is filed off its true time, if that is over a second."""
        at = [(one.info.start_us, one.info.start_us) for one in self.sent if isinstance(one, Fragment)]
        at += [(one.at_us, one.at_us) for one in self.sent if isinstance(one, Connected)]
        first, last = self.true_us + 100 * S, self.true_us + self.at_us
        return [us for us, _ in at if not first - S <= us <= last + S]


@pytest.mark.parametrize("off_us", [AHEAD_US, -AHEAD_US])
def test_the_first_second_is_placed_by_the_brokers_time_after_one_probe(off_us: int):
    """Ingest asks the brokers before it opens the first camera."""
    host = Host(off_us)
    host.ack()
    host.reads(5)
    assert len(host.sent) > 3
    assert host.errors_us() == []
    assert host.told() == []


def test_a_probe_answered_within_the_first_second_is_early_enough():
    """Nothing has left the epoch by then, so nothing has to end."""
    host = Host(AHEAD_US)
    host.reads(0.8)
    host.ack()
    host.reads(5)
    assert len(host.sent) > 3
    assert host.errors_us() == []
    assert host.told() == []


def test_setting_the_host_clock_wrong_does_not_end_a_running_epoch():
    host = Host()
    host.reads(5)
    host.off_us = AHEAD_US
    host.reads(5, acks=False)  # nobody knows yet
    host.reads(5)
    assert host.told() == []
    assert host.errors_us() == []


@pytest.mark.parametrize("away_s", [0.2, 5])
def test_pictures_after_a_pause_wait_for_the_brokers_time(away_s: float):
    """Its wall clock may be right, since it was set anew, or wrong, since somebody set it: the next answer tells."""
    host = Host()
    host.reads(5)
    host.is_paused(600)
    sent = len(host.sent)
    host.reads(away_s, acks=False)
    assert len(host.sent) == sent
    host.ack()
    host.reads(5)
    del host.sent[:sent]
    assert len(host.sent) > 3
    assert host.errors_us() == []


def test_pictures_wait_at_most_ten_seconds_for_an_unavailable_broker():
    """By then the host's own clock counts: the machine was paused, which is likelier than a clock set wrong."""
    host = Host()
    host.reads(5)
    host.is_paused(600)
    del host.sent[:]
    host.reads(MAX_UNCERTAIN_WINDOW_US / S + 2, acks=False)
    assert len(host.sent) > 3
    assert host.errors_us() == []


def test_a_pause_undetected_by_the_host_clock_ends_the_epoch_and_the_next_is_correct():
    """The wall clock stood still as well: the broker's answers alone tell."""
    host = Host()
    host.reads(5)
    host.true_us += 600 * S
    host.off_us = -600 * S
    host.reads(5)
    assert host.told() == ["clock_step"]
    del host.sent[:]
    host.reads(5)
    assert host.errors_us() == []


def test_socket_buffered_pictures_after_a_machine_pause_are_service_down():
    """All of it comes at once, and by a monotonic clock that stood still it comes long before it was taken."""
    host = Host()
    host.reads(5)
    host.true_us += 60 * S
    host.bursts(60)
    host.ack()
    host.reads(5)
    assert len(host.told()) == 1
    assert set(host.told()) == {"service_down"}
    starts_us = [one.info.start_us for one in host.sent if isinstance(one, Fragment)]
    taken_us = [TRUE_US + 100 * S + n * S for n in range(70)]  # a fragment begins with the keyframe of each second
    assert all(min(abs(at_us - us) for us in taken_us) <= S // 10 for at_us in starts_us)
    assert starts_us == sorted(set(starts_us))
    assert len(starts_us) >= len(taken_us) - 3  # all but what lies at the change of epochs and is held yet
