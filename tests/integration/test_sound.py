"""Sound beside the pictures: what lies in the log plays, in time, each unit once, and costs no picture anything."""

import asyncio
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from districam_common import mp4, names, wire
from districam_common.events import Camera, Profile
from districam_common.kafka.consumer import Reader
from districam_common.kafka.producer import Publisher
from districam_common.media import Fragment
from districam_common.settings import KafkaSettings
from districam_devkit.bitstream import running_numbers
from districam_devkit.pipeline import command, service_running
from districam_devkit.servers import Servers
from districam_devkit.servers.process import Child
from districam_devkit.simcam import (
    Generated,
    Hearing,
    Microphone,
    SimCamera,
    Simulation,
    read_send_log,
    running,
    tone,
)
from integration.conftest import kafka_settings
from support import heard
from support.chromium import played_in_chromium

pytestmark = [pytest.mark.timeout(150), pytest.mark.asyncio(loop_scope="module")]

SUFFIX = "sound"
NEVER_US = 1_400_000
"""A busy machine's share; who waits for sound that is late or missing waits longer."""
FPS = 25
SYNC_S, ARRIVAL_S = 0.05, 0.1
"""With sender reports; by arrivals alone it is as good as the machine is quick."""
SETTINGS = {
    "DISTRICAM_INGEST__LINGER_S": "1",
    "DISTRICAM_INGEST__G711_AS_AAC": "true",
    "DISTRICAM_LOG__FORMAT": "json",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
    "DISTRICAM_KAFKA__HEARTBEAT_S": "0.5",
}
NATIVE, FFMPEG, UNREPORTED, UDP = (f"{name}-{SUFFIX}" for name in ("native", "ffmpeg", "unreported", "udp"))
MUTED, LOSSY, LATE, TARDY = (f"{name}-{SUFFIX}" for name in ("muted", "lossy", "late", "tardy"))
REFUSED, DEAF, ULAW, ALAW = (f"{name}-{SUFFIX}" for name in ("refused", "deaf", "ulaw", "alaw"))
SMALL = Generated(width=320, height=180, seconds=4, gop_s=1, bitrate=300_000, label="x")
AAC = Hearing(tone=tone("aac"))
CAMERAS = [
    SimCamera(NATIVE, SMALL, hearing=replace(AAC, per_packet=2)),
    SimCamera(FFMPEG, SMALL, hearing=replace(AAC, per_packet=2)),
    SimCamera(UNREPORTED, SMALL, hearing=replace(AAC, has_reports=False)),
    SimCamera(UDP, SMALL, hearing=AAC),
    SimCamera(MUTED, SMALL, hearing=AAC),
    SimCamera(LOSSY, SMALL, hearing=AAC),
    SimCamera(LATE, SMALL, hearing=AAC),
    SimCamera(TARDY, SMALL, hearing=AAC),
    SimCamera(REFUSED, SMALL, hearing=AAC),
    SimCamera(DEAF, SMALL, hearing=AAC),
    SimCamera(ULAW, SMALL, hearing=Hearing(tone=tone("pcm_mulaw", 8000))),
    SimCamera(ALAW, SMALL, hearing=Hearing(tone=tone("pcm_alaw", 8000))),
]
READERS = {FFMPEG: "ffmpeg", ALAW: "ffmpeg"}
STEADY = (NATIVE, FFMPEG, UNREPORTED, UDP, LATE)
G711 = (ULAW, ALAW)
TROUBLED = (MUTED, LOSSY, TARDY)


@dataclass(frozen=True)
class Story:
    """What lies in the log: fragments and when they were appended; what profiles say of sound; what was sent."""

    fragments: dict[str, list[tuple[Fragment, int]]]
    profiles: dict[str, Profile]
    sent: dict[str, list[int]]

    def value(self, camera_id: str) -> bytes:
        """The camera's one epoch as one file."""
        found = [fragment for fragment, _ in self.fragments[camera_id]]
        assert len({fragment.info.epoch for fragment in found}) == 1
        assert [fragment.info.seq for fragment in found] == list(range(len(found)))
        assert len({fragment.init for fragment in found}) == 1
        return found[0].init + b"".join(fragment.media for fragment in found)


@asynccontextmanager
async def ingest(folder: Path, servers: Servers) -> AsyncGenerator[Child]:
    settings = {**servers.environment(), **SETTINGS}
    async with service_running("ingest", folder, settings, ready="readyz") as service:
        yield service.child


def records(simulation: Simulation) -> list[Camera]:
    return [
        Camera(
            camera_id=key,
            name=key,
            url=simulation.url(key),
            reader="ffmpeg" if READERS.get(key) else "auto",
            transport="udp" if key == UDP else "tcp",
            audio=key != DEAF,
            segment_s=4,
            updated_us=1,
        )
        for key in simulation.cameras
    ]


async def publish(kafka: KafkaSettings, cameras: list[Camera]) -> None:
    async with Publisher.open(kafka, "tests") as publisher:
        for camera in cameras:
            await publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))


async def suffer(simulation: Simulation) -> None:
    """Twelve seconds, with what befalls the sound of some."""
    await asyncio.sleep(4)
    hearing(simulation, MUTED).mute(5)
    hearing(simulation, TARDY).lag_s = 5
    await asyncio.sleep(9)


def hearing(simulation: Simulation, camera_id: str) -> Microphone:
    found = simulation.cameras[camera_id].microphone
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder, cache = tmp_path_factory.mktemp("sound"), tmp_path_factory.mktemp("clips")
    kafka = kafka_settings(servers.kafka.bootstrap_servers)
    await command("districam_common.commands.topics", "apply", environment=servers.environment())
    log = folder / "sent"
    async with running(CAMERAS, cache=cache, log=log) as simulation, ingest(folder, servers) as child:
        cameras = records(simulation)
        hearing(simulation, REFUSED).is_refused = True
        hearing(simulation, LOSSY).loss, hearing(simulation, LATE).lag_s = 0.2, 1.6
        await publish(kafka, cameras)
        await suffer(simulation)
        await child.stop()
        await publish(kafka, [replace(one, deleted=True, revision=2, updated_us=2) for one in cameras])
    out = Story({}, {}, {})
    for one in read_send_log(log):
        out.sent.setdefault(one.camera_id, []).append(one.number)
    async with Reader.open(kafka, [names.FRAGMENTS, names.STREAMS]) as reader:
        for record in await reader.read_all():
            if not (record.key or b"").endswith(f"-{SUFFIX}".encode()):
                continue
            if record.topic == names.FRAGMENTS:
                fragment = wire.fragment(record.key, record.headers, record.value)
                out.fragments.setdefault(fragment.info.camera_id, []).append((fragment, record.append_us))
            elif isinstance(event := wire.event(record.key, record.headers, record.value), Profile):
                out.profiles[event.camera_id] = event
    return out


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
async def test_an_epoch_has_two_tracks_and_says_both_codecs(story: Story, camera_id: str):
    for fragment, _ in story.fragments[camera_id]:
        assert fragment.info.codecs.endswith(",mp4a.40.2")
        assert fragment.info.codecs.startswith("avc1.")
        assert fragment.info.access_units == len(running_numbers(fragment.value))
    video, sound = mp4.tracks(story.fragments[camera_id][0][0].init)
    assert video.is_video
    assert not sound.is_video
    assert sound.timescale == (8000 if camera_id in G711 else 16000)


@pytest.mark.parametrize("camera_id", [REFUSED, DEAF])
async def test_without_sound_video_alone_is_stored(story: Story, camera_id: str):
    fragment, _ = story.fragments[camera_id][0]
    assert [track.is_video for track in mp4.tracks(fragment.init)] == [True]
    assert "," not in fragment.info.codecs
    assert len(running_numbers(story.value(camera_id))) > 200


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
async def test_the_soundtrack_has_no_hole_from_the_first_picture_to_the_last(story: Story, camera_id: str):
    """Players wait for sound, and the pictures with it."""
    value = story.value(camera_id)
    found = heard.units(value)
    unit_s = 0.128 if camera_id in G711 else 0.064
    track = mp4.video_track(mp4.init_of(value))
    pictures = mp4.samples(value, track)
    start_s, end_s = pictures[0].dts / 90_000, (pictures[-1].dts + pictures[-1].duration) / 90_000
    assert -0.001 < found[0].at_s - start_s < unit_s
    assert abs(end_s - found[-1].until_s) < unit_s
    assert all(abs(later.at_s - earlier.until_s) < 0.002 for earlier, later in pairwise(found))


@pytest.mark.parametrize("camera_id", STEADY)
async def test_each_unit_that_was_sent_is_stored_once_byte_for_byte(story: Story, camera_id: str):
    placed = heard.places(heard.units(story.value(camera_id)), AAC.tone)
    silent = [place is None for place in placed]
    assert not any(silent[4 : -30 if camera_id == LATE else -6])  # but before the first and behind the last
    real = [place for place in placed if place is not None]
    assert len(real) > 100
    assert all((later - earlier) % len(AAC.tone.units) == 1 for earlier, later in pairwise(real))


async def test_what_is_lost_or_not_there_is_silence_and_the_rest_is_stored_once(story: Story):
    for camera_id, least, most in ((MUTED, 60, 90), (LOSSY, 10, 80)):
        found = heard.units(story.value(camera_id))
        placed = heard.places(found, AAC.tone)
        assert least <= placed.count(None) <= most
        real = [(unit.at_s, place) for unit, place in zip(found, placed, strict=True) if place is not None]
        for (at_s, place), (later_s, later) in pairwise(real):
            steps = round((later_s - at_s) / 0.064)
            assert (later - place) % len(AAC.tone.units) == steps % len(AAC.tone.units)


async def test_sound_that_comes_too_late_is_silence(story: Story):
    placed = heard.places(heard.units(story.value(TARDY)), AAC.tone)
    assert not any(place is None for place in placed[4:30])
    assert set(placed[-100:]) == {None}


@pytest.mark.parametrize("camera_id", [*STEADY, *G711])
async def test_beeps_are_heard_at_their_pictures(story: Story, camera_id: str):
    """A beep begins with each 25th picture of the camera's life."""
    value = story.value(camera_id)
    pictures = running_numbers(value)
    start_s = pictures[0].dts / 90_000
    shown_s = {one.number // FPS: one.dts / 90_000 - start_s for one in pictures if one.number % FPS == 0}
    found = [beep for beep in heard.beeps(value, start_s) if beep.at_s > 1]
    assert len(found) >= 8
    compared = 0
    for beep in found:
        second = min(shown_s, key=lambda n: abs(shown_s[n] - beep.at_s))
        if (
            abs(shown_s[second] - beep.at_s) < 0.5
        ):  # else its picture was never sent: the simulator stood still
            compared += 1
            assert second % 8 == beep.second
            assert abs(shown_s[second] - beep.at_s) < (ARRIVAL_S if camera_id == UNREPORTED else SYNC_S)
    assert compared >= 6


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED, REFUSED])
async def test_pictures_never_wait_for_sound(story: Story, camera_id: str):
    def latest_us(which: str) -> int:
        rows = story.fragments[which][2:-1]
        return max(append_us - fragment.info.end_us for fragment, append_us in rows)

    assert latest_us(camera_id) < max(latest_us(DEAF), 0) + NEVER_US
    stored = [one.number for one in running_numbers(story.value(camera_id))]
    sent = story.sent[camera_id]
    assert stored == sent[sent.index(stored[0]) :][: len(stored)]
    assert len(stored) > 200


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
async def test_ffmpeg_has_nothing_to_say(story: Story, camera_id: str, tmp_path: Path):
    value = story.value(camera_id)
    segment_starts = [n for n, (f, _) in enumerate(story.fragments[camera_id]) if f.info.starts_segment]
    middle = story.fragments[camera_id][segment_starts[1] : segment_starts[2]]
    segment = middle[0][0].init + b"".join(fragment.media for fragment, _ in middle)
    for content in (value, segment, middle[0][0].value):
        (tmp_path / "x.mp4").write_bytes(content)
        words = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(tmp_path / "x.mp4")]
        said = await asyncio.to_thread(
            subprocess.run, [*words, "-f", "null", "-"], capture_output=True, text=True, timeout=60
        )
        assert (said.returncode, said.stdout + said.stderr) == (0, "")


class _Files(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".m3u8": "application/vnd.apple.mpegurl", ".mp4": "video/mp4"}  # noqa: RUF012

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@contextmanager
def served(folder: Path) -> Generator[str]:
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("camera_id", [NATIVE, MUTED, TARDY, ULAW])
async def test_chromium_plays_every_picture(story: Story, camera_id: str, tmp_path: Path):
    browser = shutil.which("chromium")
    assert browser, "Chromium is not installed"
    rows = [fragment for fragment, _ in story.fragments[camera_id]]
    (tmp_path / "init.mp4").write_bytes(rows[0].init)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:5", "#EXT-X-PLAYLIST-TYPE:VOD"]
    lines.append('#EXT-X-MAP:URI="init.mp4"')
    starts = [n for n, row in enumerate(rows) if row.info.starts_segment]
    for first, last in pairwise([*starts, len(rows)]):
        segment = rows[first:last]
        (tmp_path / f"{first}.mp4").write_bytes(b"".join(row.media for row in segment))
        lines += [f"#EXTINF:{sum(row.info.duration_us for row in segment) / 1e6:.6f},", f"{first}.mp4"]
    (tmp_path / "x.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    with served(tmp_path) as url:
        shown = await played_in_chromium(browser, f"{url}/x.m3u8")
    assert "error" not in shown
    assert shown["ended"]
    assert abs(shown["frames"] - len(running_numbers(story.value(camera_id)))) <= 2


async def test_the_profile_names_the_sound(story: Story):
    said = {camera_id: profile.audio for camera_id, profile in story.profiles.items()}
    assert said[NATIVE] == said[FFMPEG] == said[REFUSED] == said[DEAF] == "aac"
    assert (said[ULAW], said[ALAW]) == ("pcm_mulaw", "pcm_alaw")
