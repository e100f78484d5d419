"""Cameras that misbehave, each in a way of its own and once for each reader, in one run of the whole pipeline on real servers.

Each costs itself alone: a gap with the right cause, no longer than the fault and what it takes to come back.
"""

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest

from districam_common.names import parse_segment_key
from districam_devkit.asking import Answered, asking
from districam_devkit.counting import CameraRecord, Counts, Interval, count, frame_us
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.report import Object, sent_by_camera, settled, shown, stored_objects
from districam_devkit.pipeline import SETTLED_SOON, apply_cameras, prepare, services_running
from districam_devkit.playing import entries
from districam_devkit.servers import all_running
from districam_devkit.simcam import Fault, Generated, Manners, SimCamera, parse_fault, running
from districam_devkit.simcam.camera import LiveCamera
from districam_devkit.simcam.clips import ClipSource
from districam_devkit.simcam.sendlog import Sent
from integration.conftest import beside

pytestmark = pytest.mark.timeout(180)

FPS, GOP_S, SHOW_S = 10, 2, 34
OPEN_S = 3
SILENCE_S, RETRY_FIRST_S, RETRY_MOST_S, SEGMENT_MAX_S = 4, 0.5, 2, 8
FRAGMENT_MAX_S = 2
SLACK_S = 2.0
"""Opening a stream, and a loaded machine."""
AT_S = 14.4
"""Cameras begin with a keyframe and have one every other second: a fault strikes soon after one."""
SETTINGS = {
    **SETTLED_SOON,
    "DISTRICAM_INGEST__LINGER_S": "0",
    "DISTRICAM_INGEST__OPEN_S": str(OPEN_S),
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
    "DISTRICAM_INGEST__RETRY_FIRST_S": str(RETRY_FIRST_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": str(RETRY_MOST_S),
    "DISTRICAM_INGEST__SEGMENT_MAX_S": str(SEGMENT_MAX_S),
}
CLIP = Generated(width=320, height=180, fps=FPS, seconds=4, gop_s=GOP_S, bitrate=150_000, label="x")
LARGER = replace(CLIP, width=400, height=224)
HEVC = replace(CLIP, codec="hevc", width=320, height=192)
MINUTE = replace(CLIP, width=160, height=96, seconds=60, gop_s=60, bitrate=60_000)
LONG_GOP, KEYFRAME_AT_S, STEADY = "long-gop", 18, ("steady-1", "steady-2", "steady-udp")
Reader = Literal["native", "ffmpeg"]
READERS: tuple[Reader, ...] = ("native", "ffmpeg")


@dataclass(frozen=True)
class Trial:
    """A camera, what befalls it, and what the ledger shall say of it.

    Attributes:
        fault: as `parse_fault` reads it, without the camera.
        cause: of its gaps; None: it has none.
        least_s, most_s: of gap, in all.
        epochs: how many at least.
        reconnects: whether another connection is made; else the stream goes on in the first one.
        theirs, theirs_more_s: the cause that libavformat makes of it, where that is another, and how much longer it takes.
        readers: who is tried: with loss the one that notices it.
    """

    fault: str = ""
    cause: str | None = None
    least_s: float = 0.0
    most_s: float = 0.0
    epochs: int = 2
    reconnects: bool = False
    other: ClipSource | None = None
    theirs: str | None = None
    theirs_more_s: float = 0.0
    readers: tuple[Reader, ...] = READERS
    transport: Literal["tcp", "udp"] = "tcp"
    manners: Manners = field(default_factory=Manners)

    def longest_s(self, reader: Reader) -> float:
        return self.most_s + (self.theirs_more_s if reader == "ffmpeg" else 0)

    def causes(self, reader: Reader) -> set[str | None]:
        return {self.theirs if reader == "ffmpeg" and self.theirs else self.cause}


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
    # libavformat looks for the next packet until its deadline.
    "babble": Trial(
        f"@{AT_S}+0.5",
        "stream_error",
        0.3,
        0.5 + RETRY_MOST_S + RETRIED_S,
        reconnects=True,
        theirs="source_silent",
        theirs_more_s=SILENCE_S,
    ),
    "453": Trial(f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    # libavformat tells 454 from no other refusal.
    "454": Trial(
        f"@0+{REFUSED_S}",
        "not_found",
        2,
        REFUSED_S + RETRY_MOST_S + BACK_S,
        epochs=1,
        theirs="camera_unreachable",
    ),
    "drip": Trial(
        f"@0+{REFUSED_S}",
        "source_silent",
        2,
        REFUSED_S + OPEN_S + RETRY_MOST_S + BACK_S,
        epochs=1,
    ),
    "redirect": Trial("@0+60", epochs=1),
    "ahead": Trial(f"@{AT_S}+3600", epochs=1),
    "behind": Trial(f"@{AT_S}+7200", epochs=1),
    "drift": Trial("@5+25%5", epochs=1),
    "lose": Trial("@5+25%1", epochs=1, readers=("native",)),
    "udp-lose": Trial("@5+25%1", epochs=1, readers=("native",), transport="udp"),
    "udp-reorder": Trial("@5+25%20", epochs=1, readers=("native",), transport="udp"),
    "udp-drop": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True, transport="udp"),
    "udp-alone": Trial(epochs=1, readers=("native",), manners=Manners(carriers=("udp",))),
    "one-client": Trial(epochs=1, manners=Manners(clients_most=1)),
}
KINDS = {"size": "change", "codec": "change"}
LOSSY = ("lose", "udp-lose")
CASES: list[tuple[str, Reader]] = [
    (name, reader) for name, trial in TRIALS.items() for reader in trial.readers
]


def _id(name: str, reader: Reader = "native") -> str:
    return f"camera-{name}-{reader}"


def _fault(name: str, reader: Reader) -> Fault:
    kind = KINDS.get(name, name.removeprefix("udp-"))
    return parse_fault(f"{kind}:{_id(name, reader)}{TRIALS[name].fault}")


CAMERAS = [
    *(
        SimCamera(_id(name, reader), CLIP, other=trial.other, begins_s=0, manners=trial.manners)
        for name, reader in CASES
        for trial in [TRIALS[name]]
    ),
    SimCamera(LONG_GOP, MINUTE, begins_s=60 - KEYFRAME_AT_S),
    *(SimCamera(camera_id, CLIP) for camera_id in STEADY),
]
FAULTS = [_fault(name, reader) for name, reader in CASES if TRIALS[name].fault]
ASKED = {
    "steady-udp": {"transport": "udp"},
    **{_id(name, reader): {"reader": reader, "transport": TRIALS[name].transport} for name, reader in CASES},
}


@dataclass(frozen=True)
class Seen:
    """All that is known of one camera at the end; `states` from the cameras' start to its last picture.

    Attributes:
        shapes: codec and size of each epoch, as the playlist's inits say.
        torn: running numbers of pictures of which packets were lost on the way.
    """

    sent: list[Sent]
    objects: list[Object]
    states: list[Answered]
    counts: Counts
    shapes: list[tuple[str, int, int]]
    torn: frozenset[int]

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
            records = [
                {
                    "camera_id": camera_id,
                    "name": camera_id,
                    "url": url,
                    "segment_s": 4,
                    **ASKED.get(camera_id, {}),
                }
                for camera_id, url in simulation.urls().items()
            ]
            await apply_cameras(home / "cameras.yaml", records, servers.environment())
            await asyncio.sleep(began_us / 1e6 + SHOW_S - time.time())
            torn = {name: _torn(camera) for name, camera in simulation.cameras.items()}
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
                lossy=[lost for one in own if (lost := _lossy(one)) is not None],
            )
            text = await api.text(api.playlist_url(camera_id, began_us, now_us()))
            urls = dict.fromkeys((entry.init_url, entry.init_range) for entry in entries(text))
            shapes = [_shape_of(await api.media(*url)) for url in urls]
            counts = count(record)
            story[camera_id] = Seen(pictures, own, states[camera_id], counts, shapes, torn[camera_id])
        yield story


def _torn(camera: LiveCamera) -> frozenset[int]:
    return frozenset(number for _, number in camera.mishaps.lost)


def _lossy(one: Object) -> Interval | None:
    entry = parse_segment_key(one.key, 0).entry
    return Interval(entry.start_us, entry.end_us) if entry.is_lossy else None


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


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_a_fault_is_a_gap_with_its_cause_no_longer_than_the_fault_and_the_coming_back(
    story: Story, name: str, reader: Reader
) -> None:
    seen, trial = story[_id(name, reader)], TRIALS[name]
    causes = {(gap.cause, gap.detail) for gap in seen.gaps}
    if trial.cause is not None:
        assert {cause for cause, _ in causes} <= trial.causes(reader), causes
    gap_s = sum(gap.to_us - gap.from_us for gap in seen.gaps) / 1e6
    assert trial.least_s <= gap_s <= trial.longest_s(reader), causes
    assert seen.epochs >= trial.epochs
    assert (seen.connections > 1) == trial.reconnects


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_no_stored_picture_lies_in_a_gap(story: Story, name: str, reader: Reader) -> None:
    """More than a frame from its edges: what is stored, is found at the time at which it was sent."""
    assert story[_id(name, reader)].inside_gaps() == []


@pytest.mark.parametrize("name", ["repeat", "size", "udp-reorder", "udp-alone"])
def test_what_takes_no_time_costs_no_picture(story: Story, name: str) -> None:
    seen = story[_id(name)]
    assert seen.counts.stored == seen.counts.sent - seen.counts.before_first_keyframe


@pytest.mark.parametrize("name", LOSSY)
def test_every_segment_that_lost_something_says_so_and_no_other_does(story: Story, name: str) -> None:
    seen = story[_id(name)]
    assert len(seen.torn) > 3
    told = 0
    for one in seen.objects:
        numbers = [picture.number for picture in one.pictures]
        first, last = min(numbers), max(numbers)
        is_lossy = _lossy(one) is not None
        told += is_lossy
        if any(first < number < last for number in seen.torn):
            assert is_lossy
        if not any(first - 2 <= number <= last + 2 for number in seen.torn):  # nor at its edges
            assert not is_lossy
    assert told


def test_no_other_camera_s_segments_are_lossy(story: Story) -> None:
    lossy = [
        one.key for seen in story.values() if not seen.torn for one in seen.objects if _lossy(one) is not None
    ]
    assert lossy == []


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
