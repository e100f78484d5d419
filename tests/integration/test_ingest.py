"""Ingest as a process, on real Kafka and simulated cameras: what lies in the log, whatever the cameras do."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from districam_common import names, wire
from districam_common.events import Camera, ClockStep, Connected, Lost, Profile, Refused, StreamEvent
from districam_common.kafka.consumer import Reader, Record
from districam_common.kafka.producer import Publisher
from districam_common.media import Fragment, Still
from districam_common.settings import KafkaSettings
from districam_devkit.bitstream import running_numbers
from districam_devkit.pipeline import command, service_running
from districam_devkit.servers import Servers
from districam_devkit.servers.process import Child
from districam_devkit.simcam import (
    Clip,
    Footage,
    Generated,
    Sent,
    SimCamera,
    Simulation,
    read_send_log,
    running,
)
from districam_devkit.simcam.clips import AccessUnit
from districam_ingest.core.gate import FREEZE_US
from integration.conftest import kafka_settings

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

SITE = "local"
SILENCE_S = 3
SETTINGS = {
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
    "DISTRICAM_INGEST__LINGER_S": "1",
    "DISTRICAM_INGEST__OPEN_S": "3",
    "DISTRICAM_INGEST__RETRY_MOST_S": "2",
    "DISTRICAM_LOG__FORMAT": "json",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
    "DISTRICAM_KAFKA__HEARTBEAT_S": "0.5",
}
SUFFIX = "ingest"  # the topics are shared with other tests
STEADY, DROPPED, SILENT, B_FRAMES, LEAVES = (
    f"{name}-{SUFFIX}" for name in ("steady", "dropped", "silent", "b-frames", "leaves")
)
MALFORMED, PARTIAL, GARBLED = (f"{name}-{SUFFIX}" for name in ("malformed", "partial", "garbled"))
NOBODY, UNKNOWN, NO_CREDENTIAL = (f"{name}-{SUFFIX}" for name in ("nobody", "unknown", "no-credential"))
SMALL = Generated(width=320, height=180, seconds=4, gop_s=1, bitrate=300_000, label="x")
SPS, PPS = bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8")


def hostile(*sets: bytes) -> Clip:
    """Five seconds of slices that are noise, behind these parameter sets."""
    dice = random.Random(1)
    units = tuple(
        AccessUnit(
            ((b"\x65" if n % 25 == 0 else b"\x41") + dice.randbytes(300).replace(b"\0", b"\1"),),
            is_keyframe=n % 25 == 0,
            pts=n * 3600,
            dts=n * 3600,
        )
        for n in range(125)
    )
    return Clip("h264", sets, units, Fraction(25), 640, 360, 125 * 3600)


CAMERAS = [
    SimCamera(MALFORMED, hostile(bytes.fromhex("6764001e88ffffffff"), PPS)),  # a chroma format of 7
    SimCamera(PARTIAL, hostile(SPS)),
    SimCamera(GARBLED, hostile(SPS, PPS)),
    SimCamera(STEADY, SMALL),
    SimCamera(DROPPED, replace(SMALL, codec="hevc")),
    SimCamera(SILENT, SMALL),
    SimCamera(B_FRAMES, Footage("bikes")),
    SimCamera(LEAVES, SMALL),
]


@dataclass(frozen=True)
class Story:
    """All that lies in the log once ingest has stopped, and what the cameras sent."""

    fragments: dict[str, list[tuple[Fragment, Record]]]
    events: dict[str, list[tuple[StreamEvent, Record]]]
    stills: dict[str, list[Still]]
    sent: dict[str, list[Sent]]
    log: str

    def epochs(self, camera_id: str) -> list[list[Fragment]]:
        """The camera's fragments by epoch, in the log's order."""
        out: dict[str, list[Fragment]] = {}
        for fragment, _ in self.fragments.get(camera_id, []):
            out.setdefault(fragment.info.epoch, []).append(fragment)
        return list(out.values())

    def numbers(self, camera_id: str) -> list[int]:
        return [p.number for f, _ in self.fragments.get(camera_id, []) for p in running_numbers(f.value)]

    def told(self, camera_id: str) -> list[StreamEvent]:
        return [event for event, _ in self.events.get(camera_id, [])]

    def causes(self, camera_id: str) -> list[str]:
        return [event.cause for event in self.told(camera_id) if isinstance(event, Lost | Refused)]


@asynccontextmanager
async def ingest(folder: Path, servers: Servers) -> AsyncGenerator[Child]:
    settings = {**servers.environment(), **SETTINGS}
    async with service_running("ingest", folder, settings, ready="readyz") as service:
        yield service.child


def records(simulation: Simulation) -> list[Camera]:
    urls = {camera_id: simulation.url(camera_id) for camera_id in simulation.cameras}
    urls[UNKNOWN] = simulation.url(STEADY) + "-x"
    urls[NO_CREDENTIAL] = simulation.url(STEADY)
    urls[NOBODY] = "rtsp://127.0.0.1:9/x"
    made = [Camera(camera_id=key, name=key, url=url, segment_s=4, updated_us=1) for key, url in urls.items()]
    return [replace(one, credential="door" if one.camera_id == NO_CREDENTIAL else None) for one in made]


async def publish(kafka: KafkaSettings, cameras: list[Camera]) -> None:
    async with Publisher.open(kafka, "tests") as publisher:
        for camera in cameras:
            await publisher.publish(names.CAMERAS, wire.camera_message(camera, site=SITE))


async def read(kafka: KafkaSettings, topic: str) -> list[Record]:
    async with Reader.open(kafka, [topic]) as reader:
        return [record for record in await reader.read_all() if (record.key or b"").endswith(SUFFIX.encode())]


async def told(folder: Path, servers: Servers, cache: Path) -> Story:
    kafka, log = kafka_settings(servers.kafka.bootstrap_servers), folder / "sent"
    await command("districam_common.commands.topics", "apply", environment=servers.environment())
    async with running(CAMERAS, log=log, cache=cache) as simulation, ingest(folder, servers) as child:
        cameras = records(simulation)
        await publish(kafka, cameras)
        await asyncio.sleep(5)
        simulation.drop(DROPPED)
        simulation.silence(SILENT, SILENCE_S + 2.5)
        leaving = next(one for one in cameras if one.camera_id == LEAVES)
        await publish(kafka, [replace(leaving, enabled=False, revision=2, updated_us=2)])
        await asyncio.sleep(8)
        await child.stop()
        await publish(kafka, [replace(one, deleted=True, revision=3, updated_us=3) for one in cameras])
    return await gathered(kafka, folder, log)


async def gathered(kafka: KafkaSettings, folder: Path, log: Path) -> Story:
    story = Story({}, {}, {}, {}, (folder / "logs" / "ingest.log").read_text())
    for record in await read(kafka, names.FRAGMENTS):
        fragment = wire.fragment(record.key, record.headers, record.value)
        story.fragments.setdefault(fragment.info.camera_id, []).append((fragment, record))
    for record in await read(kafka, names.STREAMS):
        event = wire.event(record.key, record.headers, record.value)
        story.events.setdefault((record.key or b"").decode(), []).append((event, record))
    for record in await read(kafka, names.KEYFRAMES):
        still = wire.still(record.key, record.headers, record.value)
        story.stills.setdefault(still.camera_id, []).append(still)
    for one in read_send_log(log):
        story.sent.setdefault(one.camera_id, []).append(one)
    return story


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return await told(tmp_path_factory.mktemp("ingest"), servers, tmp_path_factory.mktemp("clips"))


READ = (STEADY, DROPPED, SILENT, B_FRAMES, LEAVES, GARBLED)


async def test_it_stops_when_asked_and_has_logged_no_error(story: Story):
    lines = [json.loads(line) for line in story.log.splitlines()]
    assert lines[-1]["event"] == "stopped"
    errors = [line["event"] for line in lines if line["level"] not in {"info", "warning"}]
    assert [
        event for event in errors if "GroupCoordinatorNotAvailable" not in event
    ] == []  # a fresh broker's


@pytest.mark.parametrize("camera_id", READ)
async def test_fragments_of_an_epoch_are_numbered_and_tile(story: Story, camera_id: str):
    assert story.epochs(camera_id)
    for fragments in story.epochs(camera_id):
        infos = [fragment.info for fragment in fragments]
        assert [info.seq for info in infos] == list(range(len(infos)))
        assert all(earlier.end_us == later.start_us for earlier, later in pairwise(infos))
        assert infos[0].is_keyframe
        assert infos[0].starts_segment
        assert [info.ends for info in infos].index("epoch") == len(infos) - 1
        assert all((a.ends == "segment") is b.starts_segment for a, b in pairwise(infos))
        assert len({fragment.init for fragment in fragments}) == 1
        assert all(
            info.access_units == len(running_numbers(f.value))
            for info, f in zip(infos, fragments, strict=True)
        )


def is_in_a_gap(story: Story, camera_id: str) -> Callable[[Sent], bool]:
    """Whether no epoch covers the instant of a sent picture, give or take one picture and the way it went."""
    spans = [(fragments[0].info.start_us, fragments[-1].info.end_us) for fragments in story.epochs(camera_id)]
    return lambda one: (
        not any(start_us - 60_000 <= one.sent_us < end_us - 100_000 for start_us, end_us in spans)
    )


@pytest.mark.parametrize("camera_id", READ)
async def test_every_picture_from_the_first_keyframe_on_is_in_the_log_once(story: Story, camera_id: str):
    stored = story.numbers(camera_id)
    assert len(stored) == len(set(stored))
    sent = [one for one in story.sent[camera_id] if not one.before_first_keyframe]
    assert len(sent) > 100
    missing = [one for one in sent if one.number not in set(stored)]
    assert [one.number for one in missing if not is_in_a_gap(story, camera_id)(one)] == []
    numbers = {one.number for one in story.sent[camera_id]}
    extra = [number for number in stored if number not in numbers]
    assert len(extra) <= len(story.epochs(camera_id))  # cut off in the middle: the log does not call it sent


@pytest.mark.parametrize("camera_id", [STEADY, B_FRAMES])
async def test_a_steady_camera_is_one_epoch_that_ends_by_handover(story: Story, camera_id: str):
    assert len(story.epochs(camera_id)) == 1
    stored = story.numbers(camera_id)
    assert sorted(stored) == list(range(stored[0], stored[0] + len(stored)))
    told = [event for event in story.told(camera_id) if not isinstance(event, Profile | ClockStep)]
    assert [type(event) for event in told] == [Connected, Lost]
    assert story.causes(camera_id) == ["handover"]


async def test_the_profile_says_what_a_camera_is_seen_to_be(story: Story):
    """Told after ten seconds of pictures; the simulator's clock is ours."""
    profiles = [event for event in story.told(B_FRAMES) if isinstance(event, Profile)]
    assert profiles[0].b_frames
    assert profiles[0].fps == pytest.approx(25, abs=1.5)
    assert any("B-frames" in defect for defect in profiles[0].defects)
    steady = [event for event in story.told(STEADY) if isinstance(event, Profile)]
    assert not steady[0].b_frames
    assert steady[0].defects == ()
    clocks = [event for event in story.told(STEADY) if isinstance(event, ClockStep)]
    assert [event.step_us for event in clocks] == [0]
    assert abs(clocks[0].offset_us) < 1_000_000


@pytest.mark.parametrize("camera_id", READ)
async def test_connected_comes_before_an_epochs_fragments_and_lost_behind_them(story: Story, camera_id: str):
    appended = {
        fragment.info.epoch: [
            r.append_us for f, r in story.fragments[camera_id] if f.info.epoch == fragment.info.epoch
        ]
        for fragment, _ in story.fragments[camera_id]
    }
    for fragments in story.epochs(camera_id):
        first, last = fragments[0].info, fragments[-1].info
        of_epoch = [(e, r) for e, r in story.events[camera_id] if getattr(e, "epoch", None) == first.epoch]
        (connected, began), (lost, ended) = of_epoch
        assert isinstance(connected, Connected)
        assert isinstance(lost, Lost)
        assert began.append_us <= min(appended[first.epoch])
        assert ended.append_us >= max(appended[first.epoch])
        assert (connected.at_us, connected.codecs) == (first.start_us, first.codecs)
        assert (lost.last_seq, lost.end_us) == (last.seq, last.end_us)


async def test_a_dropped_connection_is_told_and_comes_back(story: Story):
    assert story.causes(DROPPED) == ["camera_unreachable", "handover"]
    first, second = story.epochs(DROPPED)
    gap_us = second[0].info.start_us - first[-1].info.end_us
    assert 0 < gap_us < 4_000_000


async def test_a_silent_camera_is_told_so_and_comes_back(story: Story):
    causes = story.causes(SILENT)
    assert causes[0] == "source_silent"
    assert causes[-1] == "handover"
    assert set(causes) == {"source_silent", "handover"}
    first, *_, last = story.epochs(SILENT)
    assert last[0].info.start_us - first[-1].info.end_us > FREEZE_US


async def test_a_disabled_camera_ends_at_once(story: Story):
    assert story.causes(LEAVES) == ["stream_changed"]


@pytest.mark.parametrize(
    ("camera_id", "cause"),
    [(NOBODY, "camera_unreachable"), (UNKNOWN, "not_found"), (NO_CREDENTIAL, "auth_failed")],
)
async def test_what_cannot_be_read_is_refused_again_and_again(story: Story, camera_id: str, cause: str):
    causes = story.causes(camera_id)
    assert len(causes) >= 3
    assert set(causes) == {cause}
    assert camera_id not in story.fragments
    times = [event.at_us for event in story.told(camera_id)]
    retries = [event.next_retry_s for event in story.told(camera_id) if isinstance(event, Refused)]
    for (earlier, later), retry_s in zip(pairwise(times), retries, strict=False):
        assert later - earlier < (retry_s + 4) * 1_000_000


@pytest.mark.parametrize("camera_id", [MALFORMED, PARTIAL])
async def test_what_no_decoder_could_read_is_a_stream_error(story: Story, camera_id: str):
    assert camera_id not in story.fragments
    assert set(story.causes(camera_id)) == {"stream_error"}


async def test_noise_is_stored_as_it_came_without_stills(story: Story):
    assert story.causes(GARBLED) == ["handover"]
    assert len(story.numbers(GARBLED)) > 200
    assert GARBLED not in story.stills


@pytest.mark.parametrize("camera_id", [STEADY, DROPPED, B_FRAMES])
async def test_stills_are_jpegs_of_fragments_that_begin_with_a_keyframe(story: Story, camera_id: str):
    keyframes = {
        (f.info.epoch, f.info.seq): f.info.start_us
        for f, _ in story.fragments[camera_id]
        if f.info.is_keyframe
    }
    assert story.stills[camera_id]
    for still in story.stills[camera_id]:
        assert keyframes[still.epoch, still.seq] == still.at_us
        assert still.jpeg[:2] == b"\xff\xd8"


async def test_starts_are_near_the_sending(story: Story):
    sent = {one.number: one.sent_us for one in story.sent[STEADY]}
    for fragment, _ in story.fragments[STEADY]:
        first = running_numbers(fragment.value)[0]
        assert abs(fragment.info.start_us - sent[first.number]) < 100_000
