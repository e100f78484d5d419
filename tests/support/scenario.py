"""One run of the whole pipeline on real servers with the cameras that several test modules check, and its results.

| about second | what happens |
|---|---|
| 0 | the cameras with audio and those of `OUTLASTING` are connected; then all others | | 4 | the audio of
some is muted or delayed | | 11 | an unprocessable record is published on each topic, and one camera is
disabled | | 13 | the cameras with audio end; then faults start (`scenario_faults`) | | 34 | all others end
except those of `OUTLASTING`; ingest is stopped while these play |
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, StreamEvent
from districam_common.contract.media import Fragment, Still
from districam_common.contract.names import parse_segment_object_key
from districam_common.kafka.consumer import Record, TopicReader
from districam_common.kafka.producer import Ack, Publisher
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.accounting import CameraRecord, Counts, Interval, count
from districam_devkit.api_client import ApiClient, TimelineState, format_instant, open_api_client
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.demo.report import (
    StoredObject,
    fetch_playlist_numbers,
    list_stored_objects,
    read_sent_pictures,
    wait_until_settled,
)
from districam_devkit.pipeline import Pipeline, apply_cameras, prepare, services_running
from districam_devkit.servers import Servers, all_running
from districam_devkit.simcam import Fault, Microphone, SimCamera, Simulation, parse_fault, running
from districam_devkit.simcam.send_log import SentPicture
from support import poison_records, scenario_cameras, scenario_faults
from support.scenario_cameras import (
    AUDIO_CAMERAS,
    LONG_RUNNING_CAMERAS,
    STOPPED,
    STOPPED_B_FRAMES,
    UNREADABLE,
    VIDEO_CAMERAS,
)
from support.scenario_faults import SETTINGS

DROP_AT_S, END_S = 14, 34
MAX_SEND_DELAY_US = 200_000
"""How late the simulator may send a picture on a busy machine."""
COUNTED_CAMERA_IDS = [
    *(camera.camera_id for camera in scenario_faults.CAMERAS),
    *(scenario_cameras.STEADY, scenario_cameras.DROPPED, scenario_cameras.B_FRAMES),
    *(camera.camera_id for camera in LONG_RUNNING_CAMERAS),
]
"""Cameras whose pictures are all accounted for, from the send log to the api's answers."""
PLAYED_CAMERA_IDS = [scenario_cameras.STEADY, *scenario_cameras.PLAYED_AUDIO]
"""Cameras whose playlists a browser plays."""


@dataclass(frozen=True, repr=False)  # otherwise pytest prints all of it for each failing test
class Scenario:
    """Results of the run. Ingest and the cameras have stopped; recorder, indexer and api are still running.

    Mappings are by camera; records from Kafka are in log order.

    Attributes:
        ended_us: when a camera began to end, µs UTC; for those of `OUTLASTING`, when ingest was stopped.
        sent: the simulator's send log.
        incomplete_numbers: running numbers of pictures with lost packets.
        timelines, counts: of `COUNTED_CAMERA_IDS`, from the start of the run until `ended_us`.
        poison_positions: position of the unprocessable record, by topic.
    """

    servers: Servers
    api_url: str
    began_us: int
    ended_us: Mapping[str, int]
    sent: Mapping[str, list[SentPicture]]
    incomplete_numbers: Mapping[str, frozenset[int]]
    objects: Mapping[str, list[StoredObject]]
    timelines: Mapping[str, list[TimelineState]]
    counts: Mapping[str, Counts]
    fragments: Mapping[str, list[tuple[Fragment, Record]]]
    events: Mapping[str, list[tuple[StreamEvent, Record]]]
    stills: Mapping[str, list[tuple[Still, Record]]]
    poison_positions: Mapping[str, Ack]
    ingest_log: str

    def playlist_url(self, camera_id: str) -> str:
        """Playlist of everything stored of the camera."""
        window = {"from": format_instant(self.began_us), "to": format_instant(self.ended_us[camera_id] + 2_000_000)}
        return f"{self.api_url}/v1/cameras/{camera_id}/playlist.m3u8?{urlencode(window)}"

    def gaps(self, camera_id: str) -> list[TimelineState]:
        """Gaps without the one at the camera's end, as the simulator may have sent the last picture late."""
        last_us = min(self.ended_us[camera_id], self.sent[camera_id][-1].sent_us)
        return [
            state
            for state in self.timelines[camera_id]
            if state.state == "gap" and state.from_us < last_us - MAX_SEND_DELAY_US
        ]

    def due_us(self, camera_id: str, fps: int) -> dict[int, int]:
        """When each picture was due, by running number: a busy simulator sends late, but never early."""
        sent = self.sent[camera_id]
        start_us = min(one.sent_us - one.number * 1_000_000 // fps for one in sent)
        return {one.number: start_us + one.number * 1_000_000 // fps for one in sent}

    def connection_numbers(self, camera_id: str) -> set[int]:
        """Numbers of the connections over which pictures were sent."""
        return {number for one in self.sent[camera_id] for number in one.connections}

    def stored_numbers(self, camera_id: str) -> set[int]:
        return {picture.number for one in self.objects[camera_id] for picture in one.pictures}

    def stored_epochs(self, camera_id: str) -> set[str]:
        return {one.key.split(".")[2] for one in self.objects[camera_id]}

    def fragments_by_epoch(self, camera_id: str) -> list[list[Fragment]]:
        out: dict[str, list[Fragment]] = {}
        for fragment, _ in self.fragments.get(camera_id, []):
            out.setdefault(fragment.info.epoch, []).append(fragment)
        return list(out.values())

    def fragment_numbers(self, camera_id: str) -> list[int]:
        """Running numbers of the pictures in the camera's fragments."""
        return [p.number for f, _ in self.fragments.get(camera_id, []) for p in parse_stored_pictures(f.value)]

    def events_before_end(self, camera_id: str) -> list[StreamEvent]:
        """Events before the camera began to end."""
        return [event for event, _ in self.events.get(camera_id, []) if event.at_us < self.ended_us[camera_id]]


@dataclass
class _Run:
    """The running system and what is noted during the run."""

    home: Path
    servers: Servers
    pipeline: Pipeline
    kafka: KafkaSettings
    records: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    began_us: int = 0
    ended_us: dict[str, int] = field(default_factory=dict[str, int])
    incomplete_numbers: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    poison_positions: dict[str, Ack] = field(default_factory=dict[str, Ack])

    @asynccontextmanager
    async def simulating(
        self, name: str, cameras: Sequence[SimCamera], faults: Sequence[Fault] = ()
    ) -> AsyncGenerator[Simulation]:
        """Runs cameras and adds their `records`."""
        log = self.home / f"{name}.sent"
        async with running(cameras, log=log, faults=faults, cache=Path(".devkit/clips")) as simulation:
            for camera_id, url in simulation.urls().items():
                self.records[camera_id] = _record(camera_id, url=url)
            yield simulation
            for camera_id, camera in simulation.cameras.items():
                self.ended_us.setdefault(camera_id, now_us())
                self.incomplete_numbers[camera_id] = frozenset(number for _, number in camera.impairment.lost_packets)

    async def publish_records(self, camera_ids: Iterable[str], revision: int, *, enabled: bool = True) -> None:
        """Publishes revisions of the cameras' records."""
        async with Publisher.open(self.kafka, "tests") as publisher:
            for camera_id in camera_ids:
                record = self.records[camera_id] | {"enabled": enabled, "revision": revision}
                camera = wire.decode_json(Camera, json.dumps(record | {"updated_us": now_us()}))
                await publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))


def _record(camera_id: str, **fields: object) -> dict[str, object]:
    """Fields of a record as in cameras.yaml."""
    usual = {"camera_id": camera_id, "name": camera_id, "segment_s": scenario_cameras.SEGMENT_S}
    return usual | fields | scenario_cameras.OPTIONS.get(camera_id, {})


def now_us() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def run_scenario(home: Path) -> AsyncGenerator[Scenario]:
    """Runs the scenario in the folder; yields its results while servers, recorder, indexer and api run on."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(open_api_client(pipeline.api_url, timeout_s=30))
        kafka = KafkaSettings(bootstrap_servers=servers.kafka.bootstrap_servers)
        run = _Run(home, servers, pipeline, kafka)
        await _run_cameras(run)
        yield await _collect(run, api)


async def _run_cameras(run: _Run) -> None:
    drop = parse_fault(f"drop:{scenario_cameras.DROPPED}@{DROP_AT_S}")
    cameras, faults = [*scenario_faults.CAMERAS, *VIDEO_CAMERAS], [*scenario_faults.FAULTS, drop]
    run.began_us = now_us()
    async with run.simulating("outlasting", LONG_RUNNING_CAMERAS):
        await _run_audio_cameras(run)
        async with run.simulating("plain", cameras, faults) as plain:
            plain_s = time.monotonic()
            for camera_id, fields in scenario_cameras.unreadable_records(plain).items():
                run.records[camera_id] = _record(camera_id, **fields)
            await run.publish_records([STOPPED, STOPPED_B_FRAMES], revision=1)
            await _apply(run, [*plain.cameras, *UNREADABLE])
            await _until(plain_s + 11)
            run.poison_positions = await poison_records.publish(run.kafka)
            await run.publish_records([scenario_cameras.DISABLED], 2, enabled=False)
            await _until(plain_s + END_S)
            run.ended_us |= dict.fromkeys(UNREADABLE, now_us())
        await _stop(run)


async def _apply(run: _Run, camera_ids: Iterable[str]) -> None:
    """Publishes the records with the operator's command."""
    records = [run.records[camera_id] for camera_id in camera_ids]
    await apply_cameras(run.home / "cameras.yaml", records, run.servers.environment())


async def _run_audio_cameras(run: _Run) -> None:
    """Cameras with audio run before all others: while sixty cameras connect, they would send late.

    Their audio then could not be compared with their pictures' times.
    """
    async with run.simulating("sound", AUDIO_CAMERAS) as simulation:
        _microphone(simulation, scenario_cameras.REFUSED).is_setup_refused = True
        _microphone(simulation, scenario_cameras.AUDIO_LOSSY).loss_rate = 0.2
        _microphone(simulation, scenario_cameras.LATE).delay_s = 1.6
        await run.publish_records(simulation.cameras, revision=1)
        began_s = time.monotonic()
        await _until(began_s + 4)
        _microphone(simulation, scenario_cameras.MUTED).mute(5)
        _microphone(simulation, scenario_cameras.TOO_LATE).delay_s = 5
        await _until(began_s + 13)
    await run.publish_records(simulation.cameras, 2, enabled=False)  # otherwise ingest keeps trying to reconnect


async def _until(at_s: float) -> None:
    await asyncio.sleep(at_s - time.monotonic())


def _microphone(simulation: Simulation, camera_id: str) -> Microphone:
    found = simulation.cameras[camera_id].microphone
    assert found is not None
    return found


async def _stop(run: _Run) -> None:
    """Stops ingest once all cameras except those of `OUTLASTING` are disconnected."""
    ingest, left = run.pipeline["ingest"], {camera.camera_id for camera in LONG_RUNNING_CAMERAS}
    async with asyncio.timeout(20):
        while sum((await ingest.metric("districam_ingest_connected")).values()) > len(left):
            await asyncio.sleep(0.2)
    run.ended_us |= dict.fromkeys(left, now_us())
    await ingest.child.stop()


async def _collect(run: _Run, api: ApiClient) -> Scenario:
    logs = [read_sent_pictures(run.home / f"{name}.sent") for name in ("sound", "plain", "outlasting")]
    sent = {camera_id: pictures for log in logs for camera_id, pictures in log.items()}
    assert sent.keys() >= set(COUNTED_CAMERA_IDS), set(COUNTED_CAMERA_IDS) - sent.keys()
    windows = {
        camera_id: (run.began_us, min(run.ended_us[camera_id], sent[camera_id][-1].sent_us))
        for camera_id in COUNTED_CAMERA_IDS
    }
    states = await wait_until_settled(api, windows)
    objects: dict[str, list[StoredObject]] = {camera_id: [] for camera_id in sent}
    async with asyncio.TaskGroup() as tasks:
        listing = tasks.create_task(asyncio.to_thread(list_stored_objects, run.servers))
        playing = {
            camera_id: tasks.create_task(fetch_playlist_numbers(api, camera_id, run.began_us, now_us()))
            for camera_id in windows
        }
    for one in listing.result():
        objects.setdefault(one.key.split("/")[0], []).append(one)
    counts = {
        camera_id: count(
            CameraRecord(
                sent=[one for one in sent[camera_id] if one.sent_us <= to_us],
                stored=[p for o in objects[camera_id] for p in o.pictures if p.sent_us <= to_us],
                played_numbers=playing[camera_id].result(),
                timeline=states[camera_id],
                lossy_intervals=[lost for one in objects[camera_id] if (lost := lossy_interval(one)) is not None],
            )
        )
        for camera_id, (_, to_us) in windows.items()
    }
    log = await _read_log(run.kafka)
    ingest_log = await asyncio.to_thread(run.pipeline["ingest"].log_path.read_text)
    return Scenario(
        servers=run.servers, api_url=run.pipeline.api_url, began_us=run.began_us, ended_us=run.ended_us,
        sent=sent, incomplete_numbers=run.incomplete_numbers, objects=objects, timelines=states, counts=counts,
        fragments=log.fragments, events=log.events, stills=log.stills,
        poison_positions=run.poison_positions, ingest_log=ingest_log,
    )  # fmt: skip


def lossy_interval(one: StoredObject) -> Interval | None:
    """The interval of a segment that is flagged as lossy."""
    entry = parse_segment_object_key(one.key, 0).entry
    return Interval(entry.start_us, entry.end_us) if entry.is_lossy else None


@dataclass
class _Log:
    """Kafka's contents without the unprocessable records, by camera."""

    fragments: dict[str, list[tuple[Fragment, Record]]]
    events: dict[str, list[tuple[StreamEvent, Record]]]
    stills: dict[str, list[tuple[Still, Record]]]


async def _read_log(kafka: KafkaSettings) -> _Log:
    log = _Log({}, {}, {})
    async with TopicReader.open(kafka, [names.FRAGMENTS, names.STREAMS, names.KEYFRAMES]) as reader:
        records = await reader.read_all()
    for record in records:
        camera_id, parts = (record.key or b"").decode(), (record.key, record.headers, record.value)
        if camera_id == poison_records.KEY:
            continue
        if record.topic == names.FRAGMENTS:
            log.fragments.setdefault(camera_id, []).append((wire.decode_fragment(*parts), record))
        elif record.topic == names.STREAMS:
            log.events.setdefault(camera_id, []).append((wire.decode_event(*parts), record))
        else:
            log.stills.setdefault(camera_id, []).append((wire.decode_still(*parts), record))
    return log
