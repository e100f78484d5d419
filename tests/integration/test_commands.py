"""districam-topics, districam-bucket and districam-cameras: output, exit codes and results."""

import asyncio
import io
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from districam_common.admin import bucket, cameras, topics
from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.contract.wire import Message
from districam_common.kafka.connection import open_admin_client
from districam_common.kafka.consumer import TopicReader
from districam_common.kafka.producer import Publisher
from districam_common.kafka.topics import declared_topics, describe_topics
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings, TopicsSettings
from districam_devkit.servers import Servers
from districam_devkit.servers import kafka as kafka_server
from integration.conftest import kafka_settings, running_in_thread

pytestmark = pytest.mark.timeout(120)

Environment = dict[str, str]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Generator[KafkaSettings]:
    """A broker of this module's own, as the topics' names are fixed."""
    home = tmp_path_factory.mktemp("broker")
    with running_in_thread(lambda: kafka_server.running(home / "kafka", log_dir=home)) as running:
        yield kafka_settings(running.bootstrap_servers)


@pytest.fixture(scope="module")
def environment(broker: KafkaSettings, servers: Servers) -> Environment:
    return {
        **servers.environment(),
        "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "DISTRICAM_SITE": "district-1",
    }


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "topics": topics.main,
    "bucket": bucket.main,
    "cameras": cameras.main,
}


def run(environment: Environment, command: str, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Returns exit code, standard output and standard error; runs in a thread, since a command has its own loop."""
    out, error = io.StringIO(), io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(error),
        ThreadPoolExecutor(1) as thread,
    ):
        for name, value in {**environment, **more}.items():
            patch.setenv(name, value)
        code = thread.submit(COMMANDS[command], arguments).result(60)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    return code, out.getvalue(), error.getvalue()


# ---- topics


async def test_topics_are_created_as_declared_and_a_second_apply_changes_nothing(
    environment: Environment, broker: KafkaSettings
) -> None:
    code, out, _ = run(environment, "topics", "apply", "--wait", "10")
    assert code == 0
    assert len(out.splitlines()) == 8
    assert "create districam.fragments.v1: 60 partitions" in out
    assert run(environment, "topics", "apply") == (0, "nothing to do: 8 topics are as declared\n", "")
    code, out, _ = run(environment, "topics", "list")
    assert "districam.segments.v1: partitions=12 replicas=1" in out
    assert "message.timestamp.type=LogAppendTime" in out
    assert "  68719476736 bytes per partition hold 6 h at 25.5 Mbit/s: 6 cameras of 4 Mbit/s in the fullest" in out

    # other settings of an operator are kept when ours change
    async with open_admin_client(broker, "tests") as admin:
        values = {"retention.ms": "1000", "segment.ms": "86400000"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, names.KEYFRAMES, values)])
    await configured(broker, values)
    code, out, _ = run(environment, "topics", "apply")
    assert code == 0
    assert "alter districam.keyframes.v1: retention.ms 1000 -> 21600000" in out
    assert "districam.fragments.v1" not in out
    await configured(broker, {"retention.ms": "21600000", "segment.ms": "86400000"})
    assert run(environment, "topics", "apply")[1].startswith("nothing to do")


async def configured(broker: KafkaSettings, values: dict[str, str]) -> None:
    """Waits until the broker reports these settings of `keyframes`, which takes a moment."""
    wanted = [topic for topic in declared_topics(TopicsSettings()) if topic.name == names.KEYFRAMES]
    async with open_admin_client(broker, "tests") as admin, asyncio.timeout(10):
        while True:
            found = (await describe_topics(admin, wanted, 5))[names.KEYFRAMES].configs
            if values.items() <= found.items():
                return
            await asyncio.sleep(0.05)


def test_the_partitions_of_a_keyed_topic_are_not_changed(environment: Environment) -> None:
    run(environment, "topics", "apply")
    code, out, error = run(environment, "topics", "apply", DISTRICAM_TOPICS__PARTITIONS="120")
    assert code == 1
    assert "districam.fragments.v1: has 60 partitions, not 120" in error
    assert "migrate" in error
    assert "create" not in out


def test_the_program_returns_the_commands_exit_code(environment: Environment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "districam_common.admin.topics", "list"],
        env={**os.environ, **environment, "DISTRICAM_SITE": "No Site"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "DISTRICAM_SITE" in done.stderr


def test_invalid_settings_name_the_variable_and_the_closest_match(environment: Environment) -> None:
    code, _, error = run(environment, "topics", "apply", DISTRICAM_KAFKA__BOOTSTRAP_SERVER="x:1")
    assert code == 2
    assert (
        "DISTRICAM_KAFKA__BOOTSTRAP_SERVER: no such setting; did you mean DISTRICAM_KAFKA__BOOTSTRAP_SERVERS?" in error
    )


def test_an_unreachable_broker_is_reported(environment: Environment) -> None:
    code, _, error = run(environment, "topics", "apply", DISTRICAM_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert code == 1
    assert "127.0.0.1:1" in error


# ---- bucket


def test_the_bucket_is_created_and_marked_once_and_another_sites_is_rejected(environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    code, out, _ = run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name)
    assert code == 0
    assert "with object lock" in out
    assert "district-1's" in out
    again = run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name)
    assert again == (0, f"nothing to do: bucket {name} belongs to site district-1\n", "")
    code, _, error = run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name, DISTRICAM_SITE="district-2")
    assert code == 3
    assert "belongs to site 'district-1'" in error


def test_a_bucket_without_the_configured_object_lock_is_warned_about(environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name, DISTRICAM_S3__OBJECT_LOCK="false")
    code, _, error = run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name)
    assert code == 0
    assert "advisory" in error


DEMANDS = [
    "put and get", "put once (If-None-Match)", "metadata", "ranges", "listing: pages, order, versions", "delete",
    "checksum (SHA-256)", "versions", "delete markers", "legal hold", "retention (COMPLIANCE)", "no lifecycle rules",
]  # fmt: skip


@pytest.mark.correctness
def test_each_required_store_feature_is_checked_and_printed(environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    assert run(environment, "bucket", "check", DISTRICAM_S3__BUCKET=name)[0] == 1  # the bucket does not exist
    assert run(environment, "bucket", "apply", DISTRICAM_S3__BUCKET=name)[0] == 0
    code, out, error = run(environment, "bucket", "check", DISTRICAM_S3__BUCKET=name)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[: len(DEMANDS)] == [f"ok       {demand}" for demand in DEMANDS]
    (remains,) = lines[len(DEMANDS) :]
    assert remains.startswith("remains  _districam/probe/check-")
    other = run(environment, "bucket", "check", DISTRICAM_S3__BUCKET=name, DISTRICAM_SITE="district-2")
    assert other[:2] == (3, "")  # another site's bucket is not written to


@pytest.mark.correctness
def test_a_bucket_without_object_lock_is_reported_with_the_consequence(environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    plain = {"DISTRICAM_S3__BUCKET": name, "DISTRICAM_S3__OBJECT_LOCK": "false"}
    assert run(environment, "bucket", "apply", **plain)[0] == 0
    code, out, _ = run(environment, "bucket", "check", **plain)
    missing = [line for line in out.splitlines() if not line.startswith("ok ")]
    assert code == 0  # no missing feature is required
    assert [line.split("  ")[1].split(" (")[0] for line in missing] == [*DEMANDS[7:10], "retention"]
    assert all(line.startswith("missing  ") for line in missing)
    assert "holds are advisory" in missing[2]
    assert "remains" not in out


def test_rejected_keys_are_exit_code_3_and_show_no_secret(environment: Environment) -> None:
    code, _, error = run(environment, "bucket", "apply", DISTRICAM_S3__SECRET_KEY="wrong-and-secret")
    assert code == 3
    assert "wrong-and-secret" not in error


# ---- cameras

CAMERAS = """
cameras:
  - camera_id: cam-001
    name: Cổng chợ Bến Thành
    url: rtsp://10.0.0.11:554/Streaming/Channels/101
    credential: market
    location: {latitude: 10.7725, longitude: 106.698, place: Quận 1}
  - camera_id: cam-002
    name: Cầu Mống
    url: rtsp://10.0.0.12/live
    groups: [bridges]
"""


async def published(broker: KafkaSettings) -> list[Camera]:
    async with TopicReader.open(broker, [names.CAMERAS]) as reader:
        records = await reader.read_all()
    return [wire.decode_camera(record.key, record.headers, record.value) for record in records if record.headers]


async def test_cameras_are_applied_from_a_file_and_exported_again(
    environment: Environment, broker: KafkaSettings, tmp_path: Path
) -> None:
    run(environment, "topics", "apply")
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS)
    code, out, _ = run(environment, "cameras", "apply", "-f", str(file), "--dry-run")
    assert code == 0
    assert "add cam-001 (Cổng chợ Bến Thành), revision 1" in out
    assert await published(broker) == [], "a dry run publishes nothing"
    assert run(environment, "cameras", "apply", "-f", str(file))[0] == 0
    assert run(environment, "cameras", "apply", "-f", str(file))[1] == "nothing to do\n"

    file.write_text(CAMERAS.replace("name: Cầu Mống", "name: Cầu Mống (bắc)"))
    code, out, _ = run(environment, "cameras", "apply", "-f", str(file))
    assert out.splitlines() == [
        "change cam-002 (Cầu Mống (bắc)), revision 2",
        "    name: 'Cầu Mống' -> 'Cầu Mống (bắc)'",
    ]
    code, out, _ = run(environment, "cameras", "export")
    assert yaml.safe_load(out) == yaml.safe_load(file.read_text())
    assert [line.split("\t")[0] for line in run(environment, "cameras", "list")[1].splitlines()] == [
        "cam-001",
        "cam-002",
    ]

    assert run(environment, "cameras", "delete", "cam-001")[0] == 0
    assert run(environment, "cameras", "delete", "cam-001")[0] == 1
    assert "cam-001" not in run(environment, "cameras", "list")[1]
    file.write_text("cameras: []")
    assert "delete cam-002" in run(environment, "cameras", "apply", "-f", str(file), "--prune")[1]
    history = sorted(await published(broker), key=lambda camera: (camera.camera_id, camera.updated_us))
    assert [(c.camera_id, c.revision, c.deleted) for c in history] == [
        ("cam-001", 1, False),
        ("cam-001", 2, True),
        ("cam-002", 1, False),
        ("cam-002", 2, False),
        ("cam-002", 3, True),
    ]


async def test_an_invalid_camera_record_is_skipped_with_a_warning(
    environment: Environment, broker: KafkaSettings
) -> None:
    run(environment, "topics", "apply")
    async with Publisher.open(broker, "tests") as publisher:
        await publisher.publish(names.CAMERAS, Message(b"cam-009", b"{}", []))
    code, _, error = run(environment, "cameras", "list")
    assert code == 0
    assert "skipped districam.cameras.v1-" in error


def test_an_invalid_file_is_rejected_with_every_problem(environment: Environment, tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS.replace("rtsp://10.0.0.12/live", "rtsp://admin:s3cret@10.0.0.12/live"))
    code, out, error = run(environment, "cameras", "apply", "-f", str(file))
    assert code == 1
    assert out == ""
    assert "camera cam-002: url: contains a user or password" in error
    assert "s3cret" not in error
    assert run(environment, "cameras", "apply", "-f", str(tmp_path / "none.yaml"))[0] == 1


@pytest.mark.correctness
@pytest.mark.parametrize("off_s", [-300, -2, 2, 300])
async def test_a_wrong_clock_is_rejected_and_written_records_are_reported(
    environment: Environment, broker: KafkaSettings, tmp_path: Path, off_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(environment, "topics", "apply")
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS.replace("cam-0", f"off{off_s}-"))
    monkeypatch.setattr(cameras, "SystemClock", lambda: _Off(off_s))
    before = await published(broker)
    code, out, error = run(environment, "cameras", "apply", "-f", str(file))
    assert (code, out) == (1, "")
    assert f"{'behind' if off_s < 0 else 'ahead of'} the broker's" in error
    assert "timedatectl set-ntp true" in error
    new = [camera for camera in await published(broker) if camera not in before]
    assert [camera.camera_id for camera in new] == [f"off{off_s}-01"], "the second change is not written"
    assert f"in effect: add off{off_s}-01 (Cổng chợ Bến Thành), revision 1. Not written: 1 more." in error

    monkeypatch.undo()
    code, out, _ = run(environment, "cameras", "apply", "-f", str(file))
    assert (code, out) == (0, f"add off{off_s}-02 (Cầu Mống), revision 1\n"), "run again, it does the rest"


@pytest.mark.correctness
async def test_a_clock_behind_the_log_is_rejected_before_anything_is_written(
    environment: Environment, broker: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(environment, "topics", "apply")
    async with Publisher.open(broker, "tests") as publisher:
        await publisher.publish(names.STREAMS, Message(b"cam-009", b"{}", []))
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS.replace("cam-0", "late-"))
    monkeypatch.setattr(cameras, "SystemClock", lambda: _Off(-300))
    before = await published(broker)
    code, out, error = run(environment, "cameras", "apply", "-f", str(file))
    assert (code, out) == (1, "")
    assert "Nothing was written." in error
    assert await published(broker) == before
    assert run(environment, "cameras", "apply", "-f", str(file), "--dry-run")[0] == 0


class _Off(SystemClock):
    def __init__(self, by_s: int) -> None:
        self._by_us = by_s * 1_000_000

    def now_us(self) -> int:
        return super().now_us() + self._by_us
