"""Both RTSP readers on simulated cameras: every sent picture is read byte for byte, and errors have the right cause.

`seen` reads three dozen cameras with both readers at once: various clips, responses, and faults from the
start or during playback. The tests check what was read.
"""

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from districam_common.runtime.clock import SystemClock
from districam_devkit.bitstream import parse_running_number
from districam_devkit.simcam import (
    CameraBehavior,
    Fault,
    Footage,
    Generated,
    SentPicture,
    SimCamera,
    read_send_log,
    running,
)
from districam_devkit.simcam.behavior import Quirk
from districam_devkit.simcam.clips import ClipSource
from districam_devkit.simcam.faults import FaultKind
from districam_ingest.codec.nal import is_keyframe
from districam_ingest.readers.native_reader import UnsupportedStreamError
from districam_ingest.units import Picture
from support.readers import (
    LARGE,
    READERS,
    SMALL,
    SMALL_HEVC,
    StreamRecording,
    are_consecutive,
    libav_threads,
    make_reader,
    running_numbers_or_none,
)
from support.wait_until import wait_until

pytestmark = pytest.mark.timeout(60)

CLIPS: dict[str, ClipSource] = {
    "h264": SMALL,
    "h264-b": replace(SMALL, b_frames=2),
    "h264-open-gop": replace(SMALL, b_frames=2, open_gop=True),
    "hevc": SMALL_HEVC,
    "hevc-b": replace(SMALL_HEVC, b_frames=2, fps=30),
    "hevc-open-gop": replace(SMALL_HEVC, b_frames=2, open_gop=True),
    "large": LARGE,
    "bikes": Footage("bikes"),
    "bigbuckbunny": Footage("bigbuckbunny"),
}
FROM_KEYFRAME = ["h264", "h264-b", "hevc", "hevc-b"]
SLOW = replace(SMALL, fps=10)
"""For cameras whose clip does not matter; it saves CPU time."""
QUIRKS: tuple[Quirk, ...] = (
    "no-base",
    "bare-base",
    "foreign-base",
    "absolute-control",
    "no-session-control",
    "no-timeout",
    "bare-line-ends",
    "low-names",
    "unmarked",
    "all-marked",
)
"""Quirks that libavformat supports too."""
REFUSALS: dict[FaultKind, str] = {
    "401": "auth_failed",
    "404": "not_found",
    "453": "camera_unreachable",
    "454": "not_found",
    "503": "camera_unreachable",
}
STEPS_S: dict[FaultKind, int] = {"ahead": 3600, "behind": -7200}
CAMERAS = [
    *(SimCamera(name, clip) for name, clip in CLIPS.items()),
    *(SimCamera(f"keyframe-{name}", CLIPS[name], start_at_keyframe=True) for name in FROM_KEYFRAME),
    *(SimCamera(quirk, SLOW, behavior=CameraBehavior(quirks=frozenset({quirk}))) for quirk in QUIRKS),
    *(SimCamera(f"refuses-{status}", SLOW) for status in REFUSALS),
    *(SimCamera(name, SLOW) for name in ("redirect", "query", "drop", "babble", "repeat", *STEPS_S)),
]
AT_FIRST = [Fault("redirect", "redirect", 0, 60), *(Fault(s, f"refuses-{s}", 0, 60) for s in REFUSALS)]
ONCE_READ = [
    *(Fault(kind, kind, 0, abs(step_s)) for kind, step_s in STEPS_S.items()),
    Fault("drop", "drop", 0),
    Fault("babble", "babble", 0, 60),
    Fault("repeat", "repeat", 0, 1),
]
"""Faults injected once every stream has ten pictures."""
QUERY = "?channel=1&subtype=0"
UNBROKEN = [*CLIPS, *(f"keyframe-{name}" for name in FROM_KEYFRAME), *QUIRKS, "redirect", "query", *STEPS_S]
SECONDS = 2.5  # across the loop of a clip


@dataclass(frozen=True, slots=True)
class Seen:
    """What each reader read of each camera, by (camera, reader), and the simulator's send log."""

    watches: dict[tuple[str, str], StreamRecording] = field(repr=False)
    log: list[SentPicture] = field(repr=False)

    def sent(self, camera_id: str) -> list[list[int]]:
        """The running numbers that each of the camera's connections was sent."""
        connections: dict[int, list[int]] = {}
        for one in self.log:
            if one.camera_id == camera_id:
                for connection in one.connections:
                    connections.setdefault(connection, []).append(one.number)
        return sorted(connections.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    log = tmp_path_factory.mktemp("readers") / "sent"
    watches = {(camera.camera_id, name): StreamRecording() for camera in CAMERAS for name in READERS}
    del watches["babble", "ffmpeg"]  # it keeps reading without output until its own deadline
    async with asyncio.TaskGroup() as tasks, running(CAMERAS, log=log, faults=AT_FIRST) as simulation:
        readers = {name: make_reader(name) for name in READERS}
        for (camera_id, name), watch in watches.items():
            url = simulation.url(camera_id) + (QUERY if camera_id == "query" else "")
            tasks.create_task(watch.run(readers[name], url))
        await wait_until(lambda: all(watch.has(count=10) for watch in watches.values()))
        for fault in ONCE_READ:
            simulation.inject(fault)
        await wait_until(lambda: all(watch.has(seconds=SECONDS) for watch in watches.values()))
    assert await wait_until(lambda: not libav_threads(), within_s=5)
    return Seen(watches, read_send_log(log))


@pytest.fixture(params=READERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("camera_id", UNBROKEN)
def test_every_sent_picture_is_read_including_first_and_last(camera_id: str, seen: Seen):
    found = [seen.watches[camera_id, name].numbers for name in READERS]
    assert all(are_consecutive(one) for one in found)
    assert sorted(found) == seen.sent(camera_id)


@pytest.mark.parametrize("camera_id", UNBROKEN)
def test_both_readers_read_the_same_bytes_and_timestamps(camera_id: str, seen: Seen):
    ours, theirs = (by_number(seen.watches[camera_id, name]) for name in ("native", "ffmpeg"))
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 20
    assert not [number for number in shared if ours[number].nals != theirs[number].nals]
    assert len({(ours[number].pts - theirs[number].pts) % (1 << 32) for number in shared}) == 1
    assert {(one.lost_packets, one.is_damaged) for one in ours.values()} == {(0, False)}


def by_number(watch: StreamRecording) -> dict[int, Picture]:
    return dict(zip(watch.numbers, watch.pictures, strict=True))


@pytest.mark.parametrize("camera_id", UNBROKEN)
def test_pictures_match_the_send_log_and_are_evenly_spaced(camera_id: str, name: str, seen: Seen):
    watch = seen.watches[camera_id, name]
    assert watch.info
    sent = {one.number: one for one in seen.log if one.camera_id == camera_id}
    times_us = [one.sent_us for one in sent.values()]
    assert times_us == sorted(times_us)
    for picture in watch.pictures:
        running_number = parse_running_number(watch.info.codec, picture.nals)
        assert running_number
        assert running_number.camera_id == camera_id
        assert running_number.sent_us == sent[running_number.number].sent_us
        assert is_keyframe(watch.info.codec, picture.nals) == sent[running_number.number].is_keyframe
    # some are missing at the ends, which cut through reordered pictures
    shown = sorted(picture.pts for picture in watch.pictures)[3:-3]
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {90_000 / rate(camera_id)}


def rate(camera_id: str) -> float:
    """Pictures per second."""
    clip = next(camera.clip for camera in CAMERAS if camera.camera_id == camera_id)
    return clip.fps if isinstance(clip, Generated) else 25


@pytest.mark.parametrize("camera_id", UNBROKEN)
def test_opening_returns_codec_parameter_sets_and_server(camera_id: str, name: str, seen: Seen):
    info, error = seen.watches[camera_id, name].info, seen.watches[camera_id, name].error
    assert info
    assert info.reader == name
    assert info.codec == ("hevc" if "hevc" in camera_id else "h264")
    assert info.parameter_sets
    assert info.server == ("simcam" if name == "native" else None)  # libavformat does not provide it
    assert error
    assert error.cause == "camera_unreachable"


@pytest.mark.parametrize("camera_id", [camera_id for camera_id in UNBROKEN if "keyframe-" in camera_id])
def test_a_camera_that_starts_with_a_keyframe_is_read_from_there(camera_id: str, name: str, seen: Seen):
    watch = seen.watches[camera_id, name]
    assert watch.info
    assert is_keyframe(watch.info.codec, watch.pictures[0].nals)


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_has_its_cause(status: FaultKind, name: str, seen: Seen):
    watch = seen.watches[f"refuses-{status}", name]
    assert watch.info is None
    assert watch.error
    # libavformat does not distinguish 454 from other errors.
    is_blurred = status == "454" and name == "ffmpeg"
    assert watch.error.cause == ("camera_unreachable" if is_blurred else REFUSALS[status])
    assert not isinstance(watch.error, UnsupportedStreamError)  # another reader would fail too


@pytest.mark.parametrize("kind", STEPS_S)
def test_a_step_of_the_cameras_wall_clock_is_reported_and_changes_nothing_else(kind: FaultKind, name: str, seen: Seen):
    pictures = seen.watches[kind, name].pictures
    first, last = pictures[0].camera_us, pictures[-1].camera_us
    assert first is not None
    assert last is not None
    assert (last - first) / 1e6 - (len(pictures) - 1) / SLOW.fps == pytest.approx(STEPS_S[kind], abs=0.2)


def test_a_dropped_connection_ends_the_stream_after_its_last_picture(name: str, seen: Seen):
    watch = seen.watches["drop", name]
    assert watch.error
    assert watch.error.cause == "camera_unreachable"
    # The last picture may be cut off: the send log omits it, or its running number was not received.
    found = running_numbers_or_none("h264", watch.pictures)
    numbers = [number for number in found if number is not None]
    assert None not in found[:-1]
    assert are_consecutive(numbers)
    assert any(sent[0] == numbers[0] and 0 <= numbers[-1] - sent[-1] <= 1 for sent in seen.sent("drop"))


def test_neither_rtp_nor_rtsp_ends_the_native_readers_stream(seen: Seen):
    watch = seen.watches["babble", "native"]
    assert watch.error
    assert watch.error.cause == "stream_error"
    assert are_consecutive(watch.numbers)


def test_a_picture_sent_twice_is_read_as_two_pictures(seen: Seen):
    found = seen.watches["repeat", "native"].numbers
    assert are_consecutive(sorted(set(found)))
    assert 6 < len(found) - len(set(found)) < 14


async def test_arrivals_are_close_to_sending_and_the_camera_clock_is_known(tmp_path: Path):
    """The native reader drains its sockets ten times a second once a stream runs."""
    log = tmp_path / "sent"
    watches = {name: StreamRecording() for name in READERS}
    async with asyncio.TaskGroup() as tasks, running([SimCamera("cam", CLIPS["h264-b"])], log=log) as simulation:
        clock = SystemClock()
        offset_us = clock.now_us() - clock.monotonic_us()
        for name, watch in watches.items():
            tasks.create_task(watch.run(make_reader(name), simulation.url("cam")))
        await wait_until(lambda: all(watch.has(seconds=4) for watch in watches.values()))
    sent_us = {one.number: one.sent_us for one in read_send_log(log)}
    for name, watch in watches.items():
        read_of = by_number(watch)
        late_us = sorted(one.arrival_us + offset_us - sent_us[number] for number, one in read_of.items())
        assert -5_000 < late_us[0] < 10_000, name
        assert late_us[len(late_us) // 2] < {"native": 130_000, "ffmpeg": 20_000}[name], name
        for number, picture in read_of.items():
            assert picture.camera_us is not None, name
            assert abs(picture.camera_us - sent_us[number]) < 500_000, name
