"""The main job: four RTSP cameras, four services, real servers; two cameras misbehave. What a user sees at the end."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest

from districam_common import names, wire
from districam_common.events import DeadLetter
from districam_common.kafka.consumer import Reader
from districam_common.kafka.producer import Ack, Publisher
from districam_common.wire import Message
from districam_devkit.asking import Answered, Api, asking
from districam_devkit.counting import CameraRecord, Counts, count
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.report import Object, sent_by_camera, settled, shown, stored_objects, windows_of
from districam_devkit.pipeline import SETTLED_SOON, apply_cameras, prepare, services_running
from districam_devkit.servers import Servers, all_running
from districam_devkit.simcam import Footage, Generated, SimCamera, parse_fault, running
from districam_devkit.simcam.sendlog import Sent
from integration.conftest import beside, kafka_settings
from support import golden
from support.chromium import played_in_chromium
from support.outsider import Outsider

STEADY, DROPPED, SILENT, B_FRAMES = "steady", "dropped", "silent", "b-frames"
SILENCE_S, DROP_AT_S, SILENT_AT_S, SILENT_FOR_S, SHOW_S = 4, 14, 14, 9, 32
POISON_AT_S = 8
SETTINGS = {
    **SETTLED_SOON,
    "DISTRICAM_INGEST__LINGER_S": "0",
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
}
CAMERAS = [
    SimCamera(STEADY, Generated(width=640, height=360, seconds=4, bitrate=600_000)),
    SimCamera(DROPPED, Generated(codec="hevc", width=320, height=180, seconds=4, gop_s=1, bitrate=300_000)),
    SimCamera(SILENT, Generated(width=320, height=180, seconds=4, gop_s=1, bitrate=300_000)),
    SimCamera(B_FRAMES, Footage("bikes")),
]


def _spoilt(name: str, **fields: object) -> Message:
    good = golden.RECORDS[name]
    return replace(good, value=json.dumps(json.loads(good.value) | fields).encode())


def _without(name: str, header: str) -> Message:
    good = golden.RECORDS[name]
    return replace(good, headers=[(key, value) for key, value in good.headers if key != header])


POISON = {
    names.CAMERAS: (_spoilt("camera", segment_s=0), "Camera.segment_s: "),
    names.FRAGMENTS: (_without("fragment, first", "ce_epoch"), "header ce_epoch is missing"),
    names.KEYFRAMES: (_without("keyframe", "ce_seq"), "header ce_seq is missing"),
    names.SEGMENTS: (_spoilt("stored", end_us="noon"), "SegmentStored.end_us: "),
    names.STREAMS: (_spoilt("lost", at_us=-1), "Lost.at_us: "),
    names.RETENTION: (_spoilt("expired", to_us="noon"), "FootageExpired.to_us: "),
}
"""For each topic a record that its readers can never process, and what they say of it."""

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Story:
    """All that is known once the cameras and ingest have stopped; recorder, indexer and api still run."""

    servers: Servers
    api_url: str
    sent: dict[str, list[Sent]]
    objects: list[Object]
    states: dict[str, list[Answered]]
    counts: dict[str, Counts]
    windows: dict[str, tuple[int, int]]
    poisoned: dict[str, Ack]
    ingest_log: str

    def stored(self, camera_id: str) -> set[int]:
        return {p.number for o in self.objects if o.key.startswith(f"{camera_id}/") for p in o.pictures}

    def gaps(self, camera_id: str) -> list[tuple[str, float]]:
        return [
            (state.cause, (state.to_us - state.from_us) / 1e6)
            for state in self.states[camera_id]
            if state.state == "gap"
        ]


@asynccontextmanager
async def _told(home: Path) -> AsyncGenerator[Story]:
    log = home / "sent.log"
    faults = [
        parse_fault(f"drop:{DROPPED}@{DROP_AT_S}"),
        parse_fault(f"silence:{SILENT}@{SILENT_AT_S}+{SILENT_FOR_S}"),
    ]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(asking(pipeline.api_url))
        async with running(CAMERAS, log=log, faults=faults, cache=Path(".devkit/clips")) as simulation:
            records = [
                {
                    "camera_id": c.camera_id,
                    "name": c.camera_id,
                    "url": simulation.url(c.camera_id),
                    "segment_s": 4,
                }
                for c in CAMERAS
            ]
            await apply_cameras(home / "cameras.yaml", records, servers.environment())
            await asyncio.sleep(POISON_AT_S)
            poisoned = await _poison(servers)
            await asyncio.sleep(SHOW_S - POISON_AT_S)
        async with asyncio.timeout(20):
            while any((await pipeline["ingest"].metric("districam_ingest_connected")).values()):
                await asyncio.sleep(0.2)
        await pipeline["ingest"].child.stop()
        ending = await _ending(servers, api, pipeline.api_url, log)
        yield replace(ending, poisoned=poisoned, ingest_log=pipeline["ingest"].log_path.read_text())


async def _poison(servers: Servers) -> dict[str, Ack]:
    """Where each lies."""
    async with Publisher.open(kafka_settings(servers.kafka.bootstrap_servers), "tests") as publisher:
        return {topic: await publisher.publish(topic, message) for topic, (message, _) in POISON.items()}


async def _ending(servers: Servers, api: Api, api_url: str, log: Path) -> Story:
    sent = sent_by_camera(log)
    windows = windows_of(sent)
    states = await settled(api, windows)
    objects = await asyncio.to_thread(stored_objects, servers)
    counts = {
        camera_id: count(
            CameraRecord(
                sent=pictures,
                stored=[p for o in objects if o.key.startswith(f"{camera_id}/") for p in o.pictures],
                shown=await shown(api, camera_id, pictures[0].sent_us - 1_000_000, now_us()),
                states=states[camera_id],
            )
        )
        for camera_id, pictures in sent.items()
    }
    return Story(servers, api_url, sent, objects, states, counts, windows, {}, "")


@pytest.fixture(scope="module")
def story() -> Generator[Story]:
    with TemporaryDirectory(prefix="districam-") as home, beside(lambda: _told(Path(home))) as told:
        yield told


def test_every_picture_is_stored_or_in_a_gap_with_its_cause(story: Story) -> None:
    """And nothing is shown twice."""
    assert set(story.counts) == {STEADY, DROPPED, SILENT, B_FRAMES}
    for camera_id, counted in story.counts.items():
        assert counted.stored > 100, camera_id
        assert (counted.unaccounted, counted.duplicates) == (0, 0), f"{camera_id}: {counted}"


def test_undisturbed_cameras_have_no_gap(story: Story) -> None:
    for camera_id in (STEADY, B_FRAMES):
        assert story.gaps(camera_id) == []
        counted = story.counts[camera_id]
        assert counted.stored == counted.sent - counted.before_first_keyframe


def test_a_dropped_connection_is_a_short_gap(story: Story) -> None:
    """Reconnected within the first retry (0.5 s), the opening, and one GOP (1 s)."""
    gaps = story.gaps(DROPPED)  # none where the next keyframe came within half a second: too short to be one
    assert {cause for cause, _ in gaps} <= {"camera_unreachable"}
    assert sum(seconds for _, seconds in gaps) < 4
    epochs = {o.key.split(".")[2] for o in story.objects if o.key.startswith(f"{DROPPED}/")}
    assert len(epochs) == 2


def test_a_silent_camera_is_a_gap_as_long_as_its_silence(story: Story) -> None:
    gaps = story.gaps(SILENT)
    assert {cause for cause, _ in gaps} == {"source_silent"}, gaps
    assert SILENT_FOR_S - 1 <= sum(seconds for _, seconds in gaps) <= SILENT_FOR_S + 2 * SILENCE_S + 2


def _playlist(story: Story, camera_id: str) -> str:
    async def ask() -> str:
        async with asking(story.api_url) as api:
            from_us, to_us = story.windows[camera_id]
            return api.playlist_url(camera_id, from_us - 2_000_000, to_us + 2_000_000)

    return asyncio.run(ask())


@pytest.mark.parametrize("camera_id", [STEADY, B_FRAMES])
def test_ffmpeg_plays_a_playlist_in_silence(story: Story, camera_id: str) -> None:
    """As many pictures as are stored, no warning."""
    url = _playlist(story, camera_id)
    command_line = ["ffmpeg", "-nostdin", "-xerror", "-v", "warning", "-i", url, "-f", "null", "-"]
    played = subprocess.run(command_line, capture_output=True, timeout=60, check=False)
    assert (played.returncode, played.stderr.decode()) == (0, "")
    probe = [
        "ffprobe",
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
        url,
    ]
    counted = subprocess.run(probe, capture_output=True, timeout=60, check=True)
    assert int(counted.stdout.split()[0].strip(b",")) == len(story.stored(camera_id))


@pytest.mark.parametrize(("camera_id", "cut_off"), [(STEADY, 0), (B_FRAMES, 0), (DROPPED, 1)])
def test_pyav_plays_a_playlist(story: Story, camera_id: str, cut_off: int) -> None:
    """Over an epoch's end too. A connection cut in mid-picture leaves that picture incomplete: it does not decode."""
    with av.open(_playlist(story, camera_id), "r", timeout=(10, 10)) as container:
        decoded = sum(1 for _ in container.decode(video=0))
    assert len(story.stored(camera_id)) - cut_off <= decoded <= len(story.stored(camera_id))


def test_chromium_plays_a_playlist(story: Story) -> None:
    """In a bare <video>, to its end, all pictures."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: apt-get install chromium"
    seen = asyncio.run(played_in_chromium(browser, _playlist(story, STEADY)))
    assert seen["ended"], seen
    assert seen["width"] == 640
    stored = len(story.stored(STEADY))
    assert abs(seen["duration_s"] - stored / 25) < 0.2
    assert seen["frames"] >= stored * 0.9  # a browser may skip pictures while it plays fast


def _kcat(story: Story, topic: str, form: str) -> bytes:
    assert shutil.which("kcat"), "kcat is missing: apt-get install kcat"
    arguments = [
        "-b",
        story.servers.kafka.bootstrap_servers,
        "-t",
        topic,
        "-C",
        "-o",
        "beginning",
        "-c",
        "1",
        "-q",
    ]
    return subprocess.run(
        ["kcat", *arguments, "-f", form], capture_output=True, timeout=30, check=True
    ).stdout


def test_kcat_shows_a_fragments_headers(story: Story) -> None:
    headers = _kcat(story, "districam.fragments.v1", "%h").decode()
    for expected in (
        "ce_specversion=1.0",
        "ce_type=districam.fragment.v1",
        "ce_seq=",
        "content-type=video/mp4",
    ):
        assert expected in headers


def test_a_fragments_value_alone_opens_in_pyav(story: Story) -> None:
    value = _kcat(story, "districam.fragments.v1", "%s")
    with av.open(io.BytesIO(value), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_a_keyframes_value_is_a_jpeg(story: Story) -> None:
    value = _kcat(story, "districam.keyframes.v1", "%s")
    with av.open(io.BytesIO(value), "r", format="jpeg_pipe") as container:
        assert next(container.decode(video=0)).width == 640


async def test_a_consumer_written_from_the_document_alone_reads_every_topic(story: Story) -> None:
    """What this run wrote; and, so that each kind of record is read, those that no camera here gave rise to.

    It refuses exactly what the services refused, and finds that in their dead letters.
    """
    outsider = Outsider.of(Path(__file__).parents[2] / "docs" / "api" / "asyncapi.yaml")
    kafka = kafka_settings(story.servers.kafka.bootstrap_servers)
    async with Publisher.open(kafka, "tests") as publisher:
        for name in ("refused", "shed", "clock", "fell"):
            await publisher.publish(names.STREAMS, golden.RECORDS[name])
        await publisher.publish(names.RETENTION, golden.RECORDS["expired"])
    found = await outsider.read_topics(kafka.bootstrap_servers)
    by_kind = {
        kind: [one.value for one in found.good if one.message == kind]
        for kind in {one.message for one in found.good}
    }
    assert set(by_kind) == {kind for kinds in outsider.topics.values() for kind in kinds}
    assert set(by_kind["districam.fragment.v1"]) == {(640, 360), (320, 180), (640, 272)}
    assert {width for width, _ in by_kind["districam.keyframe.v1"]} <= {640, 320}
    assert {camera["camera_id"] for camera in by_kind["districam.camera.v1"]} == set(story.counts)
    assert {stored["key"] for stored in by_kind["districam.segment.stored.v1"]} == {
        o.key for o in story.objects
    }
    letters = by_kind["districam.deadletter.v1"]
    assert found.refused == {(letter["topic"], letter["partition"], letter["offset"]) for letter in letters}


async def test_poison_on_any_topic_is_told_with_its_origin_and_nothing_else_suffers(story: Story) -> None:
    """Each once, naming the header or field; that the rest flows on is what every other test here sees."""
    kafka = kafka_settings(story.servers.kafka.bootstrap_servers)
    async with Reader.open(kafka, [names.DEADLETTERS]) as reader:
        letters = [wire.parse(DeadLetter, record.value) for record in await reader.read_all()]
    assert len(letters) == len(POISON)
    for letter in letters:
        ack = story.poisoned[letter.topic]
        assert (letter.partition, letter.offset, letter.key) == (ack.partition, ack.offset, "gate-1")
        assert letter.service == ("recorder" if letter.topic == names.FRAGMENTS else "indexer")
        assert POISON[letter.topic][1] in letter.reason
    rejected = [line for line in story.ingest_log.splitlines() if "camera record rejected" in line]
    assert len(rejected) == 1, "ingest passes it over with a word"
    assert POISON[names.CAMERAS][1] in rejected[0]


def test_no_process_shows_a_secret(story: Story) -> None:
    """The store's secret key is in no command line."""
    secret = story.servers.s3.secret_key.encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret not in process.read_bytes(), process
        except OSError:
            continue  # it has ended meanwhile
    assert secret not in b" ".join(os.fsencode(argument) for argument in sys.argv)
