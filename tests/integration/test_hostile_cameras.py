"""Malicious cameras next to healthy ones in one ingest: healthy ones lose nothing, and the event loop is not blocked.

Ingest is a process of its own, compiled if PYTHONPATH says so (as in `make test`), and so are the healthy
cameras and the
attackers: each attack has a camera, which behaves normally until its turn.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Connected, Lost, Refused, Shed, StreamEvent
from districam_common.kafka.consumer import Record, TopicReader
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.pipeline import Service, apply_cameras, run_command, service_running
from districam_devkit.servers import kafka
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.simcam.attacks import MEDIA_ATTACKS, RESPONSE_ATTACKS
from districam_devkit.simcam.process import running_simulator
from districam_devkit.simcam.send_log import SentPicture, read_send_log
from integration.conftest import kafka_settings, running_in_thread

pytestmark = [pytest.mark.timeout(120), pytest.mark.hostile, pytest.mark.correctness]

HEALTHY = [f"healthy-{n}" for n in range(6)]
ATTACKS = ["late", *sorted(RESPONSE_ATTACKS), *(kind for kind in MEDIA_ATTACKS if kind != "late")]
ALONE_S, TURN_S, LATE_S, CALM_S = 8.0, 1.8, 14.0, 2.0
"""Time before the first attack; of each attack; of `late`, which needs a window of ten seconds; after the last one."""
FPS = 10
CLIP = {
    "codec": "h264",
    "width": 320,
    "height": 180,
    "fps": FPS,
    "seconds": 4,
    "gop_s": 1,
    "bitrate": 300_000,
    "label": "x",  # one clip for all, generated once
}
CACHE = Path(".devkit/clips").resolve()
SETTINGS = {
    "DISTRICAM_INGEST__RETRY_MOST_S": "0.5",
    "DISTRICAM_INGEST__LINGER_S": "0",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": "6",
    "DISTRICAM_KAFKA__HEARTBEAT_S": "0.5",
}
BEATING = Path(__file__).parents[1] / "support" / "beating"

CALLBACK_MOST_MS, STOP_MOST_S = 100, 15
LAG_FLOOR_MS = 10
"""Smaller lags are not ingest's: its timers count whole milliseconds, and a busy machine delays processes by milliseconds.
Streams are read every 250 to 400 ms.
"""
WINDOW_US = 1_000_000
EVENT_BYTES_MOST = 40_000
"""Per camera in these minutes: twelve epochs at once, some refusals, some notes."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Time of a sample, its lateness, and the loop's CPU time since the previous one; µs."""

    at_us: int
    late_us: int
    worked_us: int


@dataclass(frozen=True)
class Results:
    """Results; times of `beats` and of the attacks are monotonic."""

    sent: dict[str, list[SentPicture]]
    stored: dict[str, list[int]]
    events: dict[str, list[tuple[StreamEvent, int]]]
    beats: list[Beat]
    first_attack_us: int
    last_attack_us: int
    stop_s: float

    def events_of(self, camera_id: str) -> list[StreamEvent]:
        return [event for event, _ in self.events.get(camera_id, [])]

    def alone(self) -> list[Beat]:
        return [beat for beat in self.beats if beat.at_us < self.first_attack_us]

    def during_attacks(self) -> list[Beat]:
        return [beat for beat in self.beats if self.first_attack_us <= beat.at_us < self.last_attack_us]


def _spec(cameras: Sequence[str], faults: Sequence[str]) -> str:
    rows = [{"id": camera_id, "clip": CLIP} for camera_id in cameras]
    return json.dumps({"cameras": rows, "faults": faults})


def _faults() -> list[str]:
    """One after the other, except the first, which runs in parallel with the others."""
    out: list[str] = []
    for n, kind in enumerate(ATTACKS):
        length_s = LATE_S if kind == "late" else TURN_S
        out.append(f"{kind}:evil-{kind}@{ALONE_S + max(0, n - 1) * TURN_S:g}+{length_s:g}")
    return out


@asynccontextmanager
async def _run_scenario(home: Path) -> AsyncGenerator[Results]:
    attackers = [f"evil-{kind}" for kind in ATTACKS]
    healthy_port, evil_port = pick_free_ports(2)
    (home / "healthy.json").write_text(_spec(HEALTHY, []))
    (home / "evil.json").write_text(_spec(attackers, _faults()))
    (home / "credentials.yaml").write_text("door: {username: u, password: p}")
    urls = {camera_id: f"rtsp://127.0.0.1:{healthy_port}/{camera_id}" for camera_id in HEALTHY}
    urls |= {camera_id: f"rtsp://127.0.0.1:{evil_port}/{camera_id}" for camera_id in attackers}
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(kafka.running(home / "kafka", log_dir=home / "logs"))
        environment = {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        await run_command("districam_common.admin.topics", "apply", environment=environment)
        records = [
            {"camera_id": name, "name": name, "url": url, "segment_s": 4}
            | ({"credential": "door"} if name == "evil-downgrade" else {})
            for name, url in urls.items()
        ]
        await apply_cameras(home / "cameras.yaml", records, environment)
        log = home / "sent.log"
        healthy = stack.enter_async_context(
            running_simulator(home / "healthy.json", healthy_port, home=home, cache=CACHE, log=log, name="healthy")
        )
        camera = await healthy
        ingest = await stack.enter_async_context(service_running("ingest", home, environment | SETTINGS | {
            "DISTRICAM_INGEST__CREDENTIALS_FILE": str(home / "credentials.yaml"),
            "PYTHONPATH": os.pathsep.join([str(BEATING), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "BEATS_FILE": str(home / "beats"),
        }, ready="readyz"))  # fmt: skip
        async with running_simulator(home / "evil.json", evil_port, home=home, cache=CACHE, name="evil"):
            began_us = time.monotonic_ns() // 1000
            turns_s = ALONE_S + (len(ATTACKS) - 1) * TURN_S
            await asyncio.sleep(turns_s + CALM_S)
            await camera.stop()
            await _at_rest(ingest)
        stopping_s = time.monotonic()
        await ingest.child.stop()
        stop_s = time.monotonic() - stopping_s
        yield await _collect(home, broker.bootstrap_servers, began_us, stop_s)


async def _at_rest(ingest: Service) -> None:
    """Waits until ingest has noticed that the healthy cameras ended."""
    async with asyncio.timeout(20):
        while any(
            value for label, value in (await ingest.metric("districam_ingest_connected")).items() if "healthy" in label
        ):
            await asyncio.sleep(0.2)


async def _collect(home: Path, bootstrap_servers: str, began_us: int, stop_s: float) -> Results:
    stored: dict[str, list[int]] = {}
    for record in await _read(bootstrap_servers, names.FRAGMENTS):
        fragment = wire.decode_fragment(record.key, record.headers, record.value)
        if fragment.info.camera_id in HEALTHY:
            stored.setdefault(fragment.info.camera_id, []).extend(
                picture.number for picture in parse_stored_pictures(fragment.value)
            )
    events: dict[str, list[tuple[StreamEvent, int]]] = {}
    for record in await _read(bootstrap_servers, names.STREAMS):
        event = wire.decode_event(record.key, record.headers, record.value)
        events.setdefault((record.key or b"").decode(), []).append((event, len(record.value or b"")))
    sent: dict[str, list[SentPicture]] = {}
    for one in read_send_log(home / "sent.log"):
        sent.setdefault(one.camera_id, []).append(one)
    beats = [Beat(*map(int, line.split())) for line in (home / "beats").read_text().splitlines()]
    first_us = began_us + round(ALONE_S * 1e6)
    last_us = first_us + round(len(ATTACKS[1:]) * TURN_S * 1e6)
    return Results(sent, stored, events, beats, first_us, last_us, stop_s)


async def _read(bootstrap_servers: str, topic: str) -> list[Record]:
    """Reads all records of the topic."""
    async with TopicReader.open(kafka_settings(bootstrap_servers), [topic]) as reader:
        return await reader.read_all()


@pytest.fixture(scope="module")
def results() -> Generator[Results]:
    with (
        TemporaryDirectory(prefix="districam-") as home,
        running_in_thread(lambda: _run_scenario(Path(home))) as finished,
    ):
        yield finished


def test_every_picture_of_healthy_cameras_is_in_the_log(results: Results):
    least = (ALONE_S + (len(ATTACKS) - 1) * TURN_S) * FPS * 0.8
    assert set(results.sent) == set(HEALTHY)
    for camera_id, sent in results.sent.items():
        wanted = [one.number for one in sent if not one.before_first_keyframe]
        assert len(wanted) > least, camera_id
        assert results.stored[camera_id] == wanted, camera_id


def test_no_stream_of_a_healthy_camera_ended_or_was_shed(results: Results):
    for camera_id in HEALTHY:
        events = results.events_of(camera_id)
        assert not [event for event in events if isinstance(event, Shed)], camera_id
        assert sum(isinstance(event, Connected) for event in events) == 1, camera_id
        assert [type(event) for event in events if isinstance(event, Lost | Refused)][:1] == [Lost], camera_id


@pytest.mark.parametrize("kind", ATTACKS)
def test_each_attack_happened_and_published_few_events(results: Results, kind: str):
    camera_id = f"evil-{kind}"
    events = results.events_of(camera_id)
    causes = {event.cause for event in events if isinstance(event, Lost | Refused)}
    assert sum(isinstance(event, Connected) for event in events) >= 1
    expected = {
        "headers": "stream_error",
        "endless": "stream_error",
        "length": "stream_error",
        "astray": "camera_unreachable",
        "downgrade": "auth_failed",
        "epochs": "stream_error",
        "late": "stream_error",
        "units": "stream_error",
        "confetti": "stream_error",
    }
    assert expected.get(kind, "camera_unreachable") in causes
    assert sum(size for _, size in results.events[camera_id]) < EVENT_BYTES_MOST
    if kind == "banner":
        servers = [event.server for event in events if isinstance(event, Connected) and event.server]
        assert max(map(len, servers)) == 200
    if kind == "vast":
        assert 8192 in {event.width for event in events if isinstance(event, Connected)}


def test_attackers_connections_do_not_delay_shutdown(results: Results):
    """Records queued for Kafka are sent before shutdown ends, which has 40 s."""
    print(f"ingest has stopped within {results.stop_s:.1f} s")
    assert results.stop_s <= STOP_MOST_S


def test_no_callback_blocks_the_loop_for_long(results: Results):
    """CPU time of the loop's thread, so that other processes do not count."""
    longest = max(results.during_attacks(), key=lambda beat: beat.worked_us)
    at_s = (longest.at_us - results.first_attack_us) / 1e6
    print(f"at work for {longest.worked_us / 1e3:.1f} ms at most, {at_s:.1f} s into the attacks")
    assert longest.worked_us / 1e3 <= CALLBACK_MOST_MS


def test_attacks_hardly_increase_loop_lag(results: Results):
    alone_ms, attacked_ms = _late_ms(results.alone()), _late_ms(results.during_attacks())
    print(f"p99 of the loop's lag: {alone_ms:.1f} ms alone, {attacked_ms:.1f} ms during attacks")
    assert attacked_ms <= 2 * max(alone_ms, LAG_FLOOR_MS)


def _late_ms(beats: Sequence[Beat]) -> float:
    """Median over the 99th percentiles of each second: a single delay by the machine does not count."""
    seconds: dict[int, list[int]] = {}
    for beat in beats:
        seconds.setdefault(beat.at_us // WINDOW_US, []).append(beat.late_us)
    assert len(seconds) >= 5
    return median(sorted(each)[len(each) * 99 // 100] for each in seconds.values()) / 1e3
