"""Real servers for the whole run: Kafka, S3, Valkey on loopback, with new names for each test."""

import asyncio
import queue
import shutil
import threading
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from aiokafka.admin import NewTopic
from pydantic import SecretStr

from districam_common.kafka.connection import open_admin_client
from districam_common.runtime.settings import KafkaSettings, RedisSettings, S3Settings
from districam_common.s3.blobs import Blobs
from districam_devkit.servers import Servers, all_running
from support.chromium import play_in_chromium
from support.scenario import PLAYED_CAMERA_IDS, Scenario, run_scenario

T = TypeVar("T")
MakeTopic = Callable[..., Awaitable[str]]


ALONE = frozenset(
    {
        "test_bench_archive",
        "test_bench_ingest",
        "test_camera_faults",
        "test_end_to_end",
        "test_hostile_cameras",
        "test_ingest",
        "test_many_readers",
        "test_page",
        "test_sharding",
        "test_sound",
    }
)
"""Tests with tens of cameras or a browser, whose timing is sensitive: `make test` runs them separately."""


SLOW = frozenset(
    {
        "test_api_clip_long",
        "test_bench_archive",
        "test_bench_ingest",
        "test_many_readers",
        "test_retention_killed",
        "test_sharding",
    }
)
"""The slowest tests and scaled-down benchmarks: `make test-slow` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sets marks; tests that use the shared scenario run last, since its servers run until the last of them."""
    items.sort(key=lambda item: "scenario" in getattr(item, "fixturenames", ()))
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if item.path.stem in ALONE:
                item.add_marker(pytest.mark.alone)
            if item.path.stem in SLOW:
                item.add_marker(pytest.mark.slow)


@contextmanager
def running_in_thread(context: Callable[[], AbstractAsyncContextManager[T]], within_s: float = 180) -> Generator[T]:
    """Keeps an asynchronous context open in a thread with its own loop, across the tests' loops."""
    outcome: queue.Queue[T | Exception] = queue.Queue()
    loops: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def hold() -> None:
        done = asyncio.Event()
        loops.put((asyncio.get_running_loop(), done))
        try:
            async with context() as value:
                outcome.put(value)
                await done.wait()
        except Exception as error:  # noqa: BLE001  # raised again in the caller
            outcome.put(error)

    thread = threading.Thread(target=lambda: asyncio.run(hold()), name="servers")
    thread.start()
    loop, done = loops.get(timeout=10)
    value = outcome.get(timeout=within_s)
    if isinstance(value, Exception):
        thread.join(60)
        raise value
    try:
        yield value
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(60)
    if not outcome.empty():
        raise AssertionError("a server did not stop as it ought to") from _error(outcome.get())


def _error(value: object) -> Exception | None:
    return value if isinstance(value, Exception) else None


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Servers]:
    """Apache Kafka, SeaweedFS and Valkey; raises with the reason if one is not available."""
    home = tmp_path_factory.mktemp("servers")
    with running_in_thread(lambda: all_running(home)) as running:
        yield running


@pytest.fixture(scope="session")
def scenario() -> Generator[Scenario]:
    """Results of the shared scenario (`support.scenario`)."""
    with (
        TemporaryDirectory(prefix="districam-") as home,
        running_in_thread(lambda: run_scenario(Path(home)), within_s=280) as record,
    ):
        yield record


@pytest.fixture(scope="session")
def shown_by_chromium(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """The properties of a <video> that played the playlists of some cameras (`play_in_chromium`), by camera."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: apt-get install chromium"
    shown = asyncio.run(play_in_chromium(browser, [scenario.playlist_url(one) for one in PLAYED_CAMERA_IDS]))
    return dict(zip(PLAYED_CAMERA_IDS, shown, strict=True))


def kafka_settings(bootstrap_servers: str) -> KafkaSettings:
    """Short session timeouts, so that tests need not wait long for a takeover."""
    return KafkaSettings(
        bootstrap_servers=bootstrap_servers, session_timeout_s=6.0, heartbeat_s=0.5, request_timeout_s=5.0
    )


@pytest.fixture
def kafka(servers: Servers) -> KafkaSettings:
    return kafka_settings(servers.kafka.bootstrap_servers)


@pytest.fixture
def s3(servers: Servers) -> S3Settings:
    """Settings with an unused bucket name; the bucket is not created."""
    return S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        timeout_s=5.0,
    )


@pytest.fixture
def redis(servers: Servers) -> RedisSettings:
    return RedisSettings(url=servers.redis.url)


async def make_topic(settings: KafkaSettings, partitions: int = 1, **config: str) -> str:
    """Creates a topic with an unused name; `config` with underscores for dots. Returns its name."""
    name = f"test.{uuid.uuid4().hex[:12]}"
    configs = {"message.timestamp.type": "LogAppendTime"}
    configs |= {key.replace("_", "."): value for key, value in config.items()}
    async with open_admin_client(settings, "tests") as admin:
        answer: Any = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    assert [error for _, error, *_ in answer.topic_errors] == [0], answer
    return name


@pytest.fixture
def topic(kafka: KafkaSettings) -> MakeTopic:
    """Returns a function that creates a topic: `await topic(partitions=3, retention_ms="1000")`."""  # noqa: D402

    async def make(partitions: int = 1, **config: str) -> str:
        return await make_topic(kafka, partitions, **config)

    return make


@asynccontextmanager
async def a_bucket(settings: S3Settings) -> AsyncGenerator[Blobs]:
    """A new, open bucket without object lock."""
    async with Blobs.open(settings) as blobs:
        await blobs.create_bucket(object_lock=False)
        yield blobs
