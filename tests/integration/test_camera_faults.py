"""Cameras that misbehave, each in a way of its own, in one run of the whole pipeline on real servers.

Each costs itself alone: a gap with the right cause, no longer than the fault and what it takes to come back.
"""

import asyncio
import json
import struct
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from districam_devkit.asking import Answered, asking
from districam_devkit.counting import CameraRecord, Counts, count, frame_us
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.report import Object, sent_by_camera, settled, shown, stored_objects
from districam_devkit.pipeline import command, prepare, services_running
from districam_devkit.playing import entries
from districam_devkit.servers import all_running
from districam_devkit.simcam import Generated, SimCamera, parse_fault, running
from districam_devkit.simcam.clips import ClipSource
from districam_devkit.simcam.sendlog import Sent
from integration.conftest import beside

pytestmark = pytest.mark.timeout(180)

FPS, GOP_S, SHOW_S = 10, 2, 34
SILENCE_S, RETRY_FIRST_S, RETRY_MOST_S, SEGMENT_MAX_S = 4, 0.5, 2, 8
FRAGMENT_MAX_S = 2
SLACK_S = 2.0
"""Opening a stream, and a loaded machine."""
AT_S = 14.4
"""Cameras begin with a keyframe and have one every other second: a fault strikes soon after one."""
SETTINGS = {
    "DISTRICAM_API__SETTLE_S": "5",
    "DISTRICAM_INDEXER__SETTLE_S": "5",
    "DISTRICAM_RECORDER__CONTACT_S": "2",
    "DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "1",
    "DISTRICAM_INGEST__LINGER_S": "0",
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
    "DISTRICAM_INGEST__RETRY_FIRST_S": str(RETRY_FIRST_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": str(RETRY_MOST_S),
    "DISTRICAM_INGEST__SEGMENT_MAX_S": str(SEGMENT_MAX_S),
}
CLIP = Generated(width=320, height=180, fps=FPS, seconds=4, gop_s=GOP_S, bitrate=150_000, label="x")
LARGER = replace(CLIP, width=400, height=224)
HEVC = replace(CLIP, codec="hevc", width=320, height=192)
MINUTE = replace(CLIP, width=160, height=96, seconds=60, gop_s=60, bitrate=60_000)
LONG_GOP, KEYFRAME_AT_S, STEADY = "long-gop", 18, ("steady-1", "steady-2")


@dataclass(frozen=True)
class Trial:
    """A camera, what befalls it, and what the ledger shall say of it.

    Attributes:
        fault: as `parse_fault` reads it, without the camera.
        cause: of its gaps; None: it has none.
        least_s, most_s: of gap, in all.
        epochs: how many at least.
        reconnects: whether another connection is made; else the stream goes on in the first one.
    """

    fault: str = ""
    cause: str | None = None
    least_s: float = 0.0
    most_s: float = 0.0
    epochs: int = 2
    reconnects: bool = False
    other: ClipSource | None = None


BACK_S = GOP_S + SLACK_S
"""Until the next keyframe."""
RETRIED_S = RETRY_FIRST_S + BACK_S
REFUSED_S = 9
TRIALS = {
    "drop": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True),
    # The deadline passes within the silence; whoever waits for the next attempt when it ends waits that long.
    "silence": Trial(f"@{AT_S}+9", "source_silent", 8.5, 9 + RETRY_MOST_S + BACK_S, reconnects=True),
    "freeze": Trial(f"@{AT_S}+3", "source_silent", 2.5, 3 + BACK_S),
    "stall": Trial(f"@{AT_S}+3", "stream_error", 2.5, 3 + BACK_S),
    "forward": Trial(f"@{AT_S}+60", "stream_error", most_s=BACK_S),
    "back": Trial(f"@{AT_S}+60", "stream_error", most_s=BACK_S),
    "repeat": Trial(f"@{AT_S}+3", epochs=1),
    # A keyframe amid it makes an epoch of a single picture.
    "stuck": Trial(f"@{AT_S}+3", "stream_error", 2.0, 3 + BACK_S, epochs=3),
    "size": Trial(f"@{AT_S}", other=LARGER),
    "codec": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True, other=HEVC),
    "401": Trial(f"@0+{REFUSED_S}", "auth_failed", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "404": Trial(f"@0+{REFUSED_S}", "not_found", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "503": Trial(f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "garbage": Trial(f"@{AT_S}+1", "stream_error", 0.9, 1 + BACK_S),
    "babble": Trial(f"@{AT_S}+0.5", "stream_error", 0.3, 0.5 + RETRY_MOST_S + RETRIED_S, reconnects=True),
}
KINDS = {"size": "change", "codec": "change"}


def _id(name: str) -> str:
    return f"camera-{name}"


CAMERAS = [
    *(SimCamera(_id(name), CLIP, other=trial.other, begins_s=0) for name, trial in TRIALS.items()),
    SimCamera(LONG_GOP, MINUTE, begins_s=60 - KEYFRAME_AT_S),
    *(SimCamera(camera_id, CLIP) for camera_id in STEADY),
]
FAULTS = [parse_fault(f"{KINDS.get(name, name)}:{_id(name)}{trial.fault}") for name, trial in TRIALS.items()]


@dataclass(frozen=True)
class Seen:
    """All that is known of one camera at the end; `states` from the cameras' start to its last picture.

    Attributes:
        shapes: codec and size of each epoch, as the playlist's inits say.
    """

    sent: list[Sent]
    objects: list[Object]
    states: list[Answered]
    counts: Counts
    shapes: list[tuple[str, int, int]]

    @property
    def gaps(self) -> list[Answered]:
        return [state for state in self.states if state.state == "gap"]

    @property
    def epochs(self) -> int:
        return len({one.key.split(".")[2] for one in self.objects})

    @property
    def connections(self) -> int:
        return len({number for one in self.sent for number in one.connections})

    def inside_gaps(self) -> list[float]:
        """How long before a gap's end stored pictures were sent that lie in it, over a frame from its edges. Seconds."""
        edge_us = frame_us(self.sent)
        return [
            (gap.to_us - picture.sent_us) / 1e6
            for gap in self.gaps
            for one in self.objects
            for picture in one.pictures
            if gap.from_us + edge_us < picture.sent_us < gap.to_us - edge_us
        ]


Story = dict[str, Seen]


@asynccontextmanager
async def _told(home: Path) -> AsyncGenerator[Story]:
    log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(asking(pipeline.api_url))
        began_us = time.time_ns() // 1000
        async with running(CAMERAS, log=log, faults=FAULTS, cache=Path(".devkit/clips")) as simulation:
            file = home / "cameras.yaml"
            records = [
                {"camera_id": camera_id, "name": camera_id, "url": url, "segment_s": 4}
                for camera_id, url in simulation.urls().items()
            ]
            file.write_text(json.dumps({"cameras": records}))
            arguments = ("apply", "-f", str(file))
            await command("districam_common.commands.cameras", *arguments, environment=servers.environment())
            await asyncio.sleep(began_us / 1e6 + SHOW_S - time.time())
        async with asyncio.timeout(20):
            while any((await pipeline["ingest"].metric("districam_ingest_connected")).values()):
                await asyncio.sleep(0.2)
        await pipeline["ingest"].child.stop()
        sent = sent_by_camera(log)
        windows = {camera_id: (began_us, pictures[-1].sent_us) for camera_id, pictures in sent.items()}
        states = await settled(api, windows)
        objects = await asyncio.to_thread(stored_objects, servers)
        story: Story = {}
        for camera_id, pictures in sent.items():
            own = [one for one in objects if one.key.startswith(f"{camera_id}/")]
            record = CameraRecord(
                sent=pictures,
                stored=[picture for one in own for picture in one.pictures],
                shown=await shown(api, camera_id, began_us, now_us()),
                states=states[camera_id],
            )
            text = await api.text(api.playlist_url(camera_id, began_us, now_us()))
            urls = dict.fromkeys((entry.init_url, entry.init_range) for entry in entries(text))
            shapes = [_shape_of(await api.media(*url)) for url in urls]
            story[camera_id] = Seen(pictures, own, states[camera_id], count(record), shapes)
        yield story


def _shape_of(init: bytes) -> tuple[str, int, int]:
    """Sample entry, width and height (ISO/IEC 14496-12 section 12.1.3.2)."""
    for name in ("avc1", "hvc1"):
        at = init.rfind(name.encode())
        if at >= 0:
            return name, *struct.unpack_from(">HH", init, at + 28)
    raise AssertionError("no video in the init")


@pytest.fixture(scope="module")
def story() -> Generator[Story]:
    with TemporaryDirectory(prefix="districam-") as home, beside(lambda: _told(Path(home))) as told:
        yield told


@pytest.mark.parametrize("camera_id", [camera.camera_id for camera in CAMERAS])
def test_every_picture_is_stored_or_in_a_gap_and_none_is_shown_twice(story: Story, camera_id: str) -> None:
    counted = story[camera_id].counts
    assert counted.stored > 100
    assert (counted.unaccounted, counted.duplicates) == (0, 0), counted


@pytest.mark.parametrize("camera_id", STEADY)
def test_undisturbed_cameras_notice_nothing(story: Story, camera_id: str) -> None:
    seen = story[camera_id]
    assert seen.gaps == []
    assert (seen.epochs, seen.connections) == (1, 1)
    assert seen.counts.stored == seen.counts.sent - seen.counts.before_first_keyframe


@pytest.mark.parametrize("name", TRIALS)
def test_a_fault_is_a_gap_with_its_cause_no_longer_than_the_fault_and_the_coming_back(
    story: Story, name: str
) -> None:
    seen, trial = story[_id(name)], TRIALS[name]
    causes = {(gap.cause, gap.detail) for gap in seen.gaps}
    if trial.cause is not None:
        assert {cause for cause, _ in causes} <= {trial.cause}, causes
    gap_s = sum(gap.to_us - gap.from_us for gap in seen.gaps) / 1e6
    assert trial.least_s <= gap_s <= trial.most_s, causes
    assert seen.epochs >= trial.epochs
    assert (seen.connections > 1) == trial.reconnects


@pytest.mark.parametrize("name", TRIALS)
def test_no_stored_picture_lies_in_a_gap(story: Story, name: str) -> None:
    """More than a frame from its edges: what is stored, is found at the time at which it was sent."""
    assert story[_id(name)].inside_gaps() == []


@pytest.mark.parametrize("name", ["repeat", "size"])
def test_what_takes_no_time_costs_no_picture(story: Story, name: str) -> None:
    seen = story[_id(name)]
    assert seen.counts.stored == seen.counts.sent - seen.counts.before_first_keyframe


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("size", [("avc1", 320, 180), ("avc1", 400, 224)]),
        ("codec", [("avc1", 320, 180), ("hvc1", 320, 192)]),
    ],
)
def test_another_size_or_codec_has_its_own_init(
    story: Story, name: str, shapes: list[tuple[str, int, int]]
) -> None:
    assert story[_id(name)].shapes == shapes


def test_a_gop_of_a_minute_is_waited_for_and_cut_by_time(story: Story) -> None:
    """Joined in its middle. Fragments last two seconds at most, segments so long as a keyframe is awaited."""
    seen = story[LONG_GOP]
    assert (seen.epochs, seen.connections) == (1, 1)
    (gap,) = seen.gaps
    assert (gap.cause, gap.detail) == ("stream_error", "no keyframe for 10 s")
    keyframes = [one.sent_us for one in seen.sent if one.is_keyframe]
    assert abs(gap.to_us - keyframes[0]) < frame_us(seen.sent) + 100_000
    assert abs(gap.from_us - seen.sent[0].sent_us - 10_000_000) < SLACK_S * 1e6
    segments = [one.key.split(".") for one in seen.objects]
    assert [flags for *_, flags, _ in segments] == ["01", *["00"] * (len(segments) - 1)]
    assert len(segments) > 1
    for _, _, _, seqs, duration_us, *_ in segments:
        first, last = map(int, seqs.split("-"))
        assert int(duration_us) <= (SEGMENT_MAX_S + FRAGMENT_MAX_S) * 1_000_000
        assert int(duration_us) <= (last - first + 1) * (FRAGMENT_MAX_S * 1_000_000 + frame_us(seen.sent))
