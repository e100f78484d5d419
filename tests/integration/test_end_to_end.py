"""The whole pipeline: RTSP cameras, four services, real servers, as seen by a user, a player and a Kafka consumer."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter
from districam_common.kafka.consumer import Record, TopicReader
from districam_common.kafka.producer import Publisher
from integration.conftest import kafka_settings
from support import golden, poison_records
from support.contract_consumer import ContractConsumer
from support.scenario import Scenario
from support.scenario_cameras import B_FRAMES, DROPPED, STEADY

pytestmark = pytest.mark.timeout(300)

PICTURE_SIZES = {STEADY: (640, 360), DROPPED: (320, 180), B_FRAMES: (640, 272)}


def test_a_dropped_connection_is_a_short_gap(scenario: Scenario) -> None:
    """Reconnected after the first backoff (0.5 s), the opening, and one GOP (1 s)."""
    gaps = scenario.gaps(DROPPED)  # none if the next keyframe came within half a second, which is negligible
    assert {gap.cause for gap in gaps} <= {"camera_unreachable"}
    assert sum(gap.to_us - gap.from_us for gap in gaps) < 4_000_000
    assert len(scenario.stored_epochs(DROPPED)) == 2


@pytest.mark.parametrize("camera_id", [STEADY, B_FRAMES])
def test_ffmpeg_plays_a_playlist_without_warnings(scenario: Scenario, camera_id: str) -> None:
    """As many pictures as are stored, without warnings."""
    url = scenario.playlist_url(camera_id)
    command_line = ["ffmpeg", "-nostdin", "-xerror", "-v", "warning", "-progress", "pipe:1", "-i", url]
    as_they_are = ["-fps_mode", "passthrough", "-f", "null", "-"]  # otherwise ffmpeg enforces a constant frame rate
    played = subprocess.run([*command_line, *as_they_are], capture_output=True, timeout=60, check=False)
    assert (played.returncode, played.stderr.decode()) == (0, "")
    frames = [int(line[6:]) for line in played.stdout.splitlines() if line.startswith(b"frame=")]
    assert frames[-1] == len(scenario.stored_numbers(camera_id))


@pytest.mark.parametrize(("camera_id", "cut_off"), [(STEADY, 0), (B_FRAMES, 0), (DROPPED, 1)])
def test_pyav_plays_a_playlist(scenario: Scenario, camera_id: str, cut_off: int) -> None:
    """Also over an epoch's end. A picture that was cut off by a disconnect does not decode."""
    with av.open(scenario.playlist_url(camera_id), "r", timeout=(10, 10)) as container:
        decoded = sum(1 for _ in container.decode(video=0))
    assert len(scenario.stored_numbers(camera_id)) - cut_off <= decoded <= len(scenario.stored_numbers(camera_id))


def test_chromium_plays_a_playlist(scenario: Scenario, shown_by_chromium: dict[str, dict[str, Any]]) -> None:
    """In a plain <video>, to its end, with all pictures."""
    seen = shown_by_chromium[STEADY]
    assert seen["ended"], seen
    assert seen["width"] == 640
    stored = len(scenario.stored_numbers(STEADY))
    assert abs(seen["duration_s"] - stored / 25) < 0.2
    assert seen["frames"] >= stored * 0.9  # a browser may drop frames during fast playback


def _kcat(scenario: Scenario, record: Record, form: str) -> bytes:
    """The record as printed by kcat in this format."""
    assert shutil.which("kcat"), "kcat is missing: apt-get install kcat"
    place = ["-t", record.topic, "-p", str(record.partition), "-o", str(record.offset), "-c", "1"]
    broker = scenario.servers.kafka.bootstrap_servers
    command_line = ["kcat", "-b", broker, "-C", "-q", *place, "-f", form]
    return subprocess.run(command_line, capture_output=True, timeout=30, check=True).stdout


def test_kcat_shows_a_fragments_headers(scenario: Scenario) -> None:
    _, record = scenario.fragments[STEADY][0]
    headers = _kcat(scenario, record, "%h").decode()
    for expected in ("ce_specversion=1.0", "ce_type=districam.fragment.v1", "ce_seq=", "content-type=video/mp4"):
        assert expected in headers


def test_a_fragments_value_alone_opens_in_pyav(scenario: Scenario) -> None:
    _, record = scenario.fragments[STEADY][0]
    with av.open(io.BytesIO(_kcat(scenario, record, "%s")), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_a_keyframes_value_is_a_jpeg(scenario: Scenario) -> None:
    _, record = scenario.stills[STEADY][0]
    value = _kcat(scenario, record, "%s")
    with av.open(io.BytesIO(value), "r", format="jpeg_pipe") as container:
        assert next(container.decode(video=0)).width == 640


async def test_a_consumer_written_from_the_document_alone_reads_every_topic(scenario: Scenario) -> None:
    """Reads this run's records, and invented ones of the types that this run did not produce.

    It rejects exactly the records that the services rejected, and finds them in the dead letters.
    """
    outsider = ContractConsumer.from_file(Path(__file__).parents[2] / "docs" / "api" / "asyncapi.yaml")
    kafka = kafka_settings(scenario.servers.kafka.bootstrap_servers)
    async with Publisher.open(kafka, "tests") as publisher:
        for name in ("shed", "fell"):
            await publisher.publish(names.STREAMS, golden.RECORDS[name])
        await publisher.publish(names.RETENTION, golden.RECORDS["expired"])
    plays = {camera_id.encode() for camera_id in PICTURE_SIZES}
    found = await outsider.read_topics(kafka.bootstrap_servers, decode_media_keys=plays)
    by_kind = {
        kind: [one.value for one in found.valid if one.message == kind] for kind in {one.message for one in found.valid}
    }
    assert set(by_kind) == {kind for kinds in outsider.topics.values() for kind in kinds}
    assert set(by_kind["districam.fragment.v1"]) == {None, *PICTURE_SIZES.values()}
    assert {size and size[0] for size in by_kind["districam.keyframe.v1"]} <= {None, 640, 320}
    assert {camera["camera_id"] for camera in by_kind["districam.camera.v1"]} == set(scenario.ended_us)
    assert {stored["key"] for stored in by_kind["districam.segment.stored.v1"]} == {
        one.key for objects in scenario.objects.values() for one in objects
    }
    dead_letters = by_kind["districam.deadletter.v1"]
    assert found.invalid_positions == {
        (dead_letter["topic"], dead_letter["partition"], dead_letter["offset"]) for dead_letter in dead_letters
    }


async def test_poison_on_any_topic_is_reported_with_its_origin_and_affects_nothing_else(scenario: Scenario) -> None:
    """One dead letter per record, naming the header or field. Other tests show that nothing else is affected."""
    kafka = kafka_settings(scenario.servers.kafka.bootstrap_servers)
    async with TopicReader.open(kafka, [names.DEADLETTERS]) as reader:
        dead_letters = [wire.decode_json(DeadLetter, record.value) for record in await reader.read_all()]
    assert len(dead_letters) == len(poison_records.POISON_BY_TOPIC)
    for dead_letter in dead_letters:
        ack = scenario.poison_positions[dead_letter.topic]
        assert (dead_letter.partition, dead_letter.offset, dead_letter.key) == (
            ack.partition,
            ack.offset,
            poison_records.KEY,
        )
        assert dead_letter.service == ("recorder" if dead_letter.topic == names.FRAGMENTS else "indexer")
        assert poison_records.POISON_BY_TOPIC[dead_letter.topic][1] in dead_letter.reason
    rejected = [line for line in scenario.ingest_log.splitlines() if "camera record rejected" in line]
    assert len(rejected) == 1, "ingest passes it over with a word"
    assert poison_records.POISON_BY_TOPIC[names.CAMERAS][1] in rejected[0]


def test_no_process_shows_a_secret(scenario: Scenario) -> None:
    """The store's secret key is in no command line."""
    secret = scenario.servers.s3.secret_key.encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret not in process.read_bytes(), process
        except OSError:
            continue  # it has ended
    assert secret not in b" ".join(os.fsencode(argument) for argument in sys.argv)
