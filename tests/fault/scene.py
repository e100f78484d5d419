"""A running district on real servers, with a proxy or a clock for each part that faults affect."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from districam_devkit.api_client import ApiClient, open_api_client
from districam_devkit.pipeline import FAST_SETTLE_SETTINGS, Pipeline, apply_cameras, prepare, services_running
from districam_devkit.servers import Servers, ServerUnavailable, broker, kafka, seaweedfs, valkey
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.simcam.process import running_simulator
from fault import proxy
from fault.proxy import Proxy

CAMERAS = 8
FPS, GOP_S, SEGMENT_S = 10, 2, 4
CLIP = {"codec": "h264", "width": 320, "height": 180, "fps": FPS, "seconds": 20, "gop_s": GOP_S, "bitrate": 150_000}
BYTES_S = CAMERAS * 150_000 / 8
SETTINGS = {
    **FAST_SETTLE_SETTINGS,
    "DISTRICAM_INGEST__LINGER_S": "0",
    "DISTRICAM_INGEST__RETRY_MOST_S": "2",
    "DISTRICAM_S3__TIMEOUT_S": "5",
}
STEADY_S, RECOVERED_S = 60.0, 240.0
STEPPED = Path(__file__).with_name("stepped")


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies between components."""

    ingest_kafka: Proxy
    recorder_kafka: Proxy
    s3: Proxy
    redis: Proxy
    cameras: Proxy
    """In front of every other camera."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Files with clock offsets in seconds.

    Attributes:
        ingest: the wall clock of ingest's host; whole seconds.
        ingest_suspended: how far its monotonic clock is behind because the machine was suspended.
        broker: the third broker's clock, if there are three.
    """

    ingest: Path
    ingest_suspended: Path
    broker: Path


@dataclass(frozen=True, slots=True)
class Scene:
    """The running district."""

    servers: Servers
    pipeline: Pipeline
    api: ApiClient
    proxies: Proxies
    send_log: Path
    clocks: "Clocks"
    cameras: int

    async def recovered(self, since_us: int) -> float:
        """Returns after how many seconds a query finds stored footage of each camera after `since_us`.

        Raises:
            TimeoutError: a camera has none.
        """
        began_s = time.monotonic()
        async with asyncio.timeout(RECOVERED_S):
            while not await self._has_all(since_us):
                await asyncio.sleep(0.25)
        return time.monotonic() - began_s

    async def _has_all(self, since_us: int) -> bool:
        try:
            rows = await self.api.json("/v1/streams")
            found = [await self.api.segments(row["camera_id"], since_us, since_us + 10**12) for row in rows["streams"]]
        except httpx.HTTPError:
            return False
        return len(found) == self.cameras and all(any(one.end_us > since_us for one in each) for each in found)


@asynccontextmanager
async def playing(home: Path, cameras: int = CAMERAS, *, brokers: int = 1) -> AsyncGenerator[Scene]:
    """Runs the district. With one broker, proxies in front of it can be used; with three, the third one's clock.

    Raises:
        ServerUnavailable: a process does not start.
    """
    log, clocks = home / "sent.log", Clocks(home / "clock", home / "stood", home / "broker-clock")
    async with AsyncExitStack() as stack:
        servers, proxies = await _servers(stack, home, clocks, brokers)
        await prepare(servers)
        urls = await _cameras(stack, home, log, proxies.cameras, cameras)
        pipeline = await stack.enter_async_context(
            services_running(home, servers, environment=SETTINGS, overrides=_own(servers, proxies, clocks))
        )
        records = [{"camera_id": name, "name": name, "url": url, "segment_s": SEGMENT_S} for name, url in urls.items()]
        await apply_cameras(home / "cameras.yaml", records, servers.environment())
        api = await stack.enter_async_context(open_api_client(pipeline.api_url, timeout_s=20))
        scene = Scene(servers, pipeline, api, proxies, log, clocks, cameras)
        await scene.recovered(time.time_ns() // 1000)
        yield scene


async def _servers(stack: AsyncExitStack, home: Path, clocks: Clocks, brokers: int) -> tuple[Servers, Proxies]:
    logs = home / "logs"
    ingest_in, ingest_out, recorder_in, recorder_out, s3_out, redis_out, rtsp_out, rtsp = pick_free_ports(8)
    detours = (kafka.ExtraListener(ingest_in, ingest_out), kafka.ExtraListener(recorder_in, recorder_out))
    if brokers == 1:
        running = kafka.running(home / "kafka", log_dir=logs, extra_listeners=detours)
        log = await stack.enter_async_context(running)
    else:
        log = await _cluster(stack, home, clocks, brokers)
        ingest_in = recorder_in = 0  # unused: clients get the nodes' own addresses
    s3 = await stack.enter_async_context(seaweedfs.running(home / "s3", log_dir=logs))
    redis = await stack.enter_async_context(valkey.running(home / "redis", log_dir=logs))
    store_port = int(s3.endpoint.rpartition(":")[2])
    proxies = Proxies(
        *[
            await stack.enter_async_context(proxy.running(port, target))
            for port, target in (
                (ingest_out, ingest_in),
                (recorder_out, recorder_in),
                (s3_out, store_port),
                (redis_out, redis.port),
                (rtsp_out, rtsp),
            )
        ]
    )
    return Servers(log, s3, redis), proxies


async def _cluster(stack: AsyncExitStack, home: Path, clocks: Clocks, brokers: int) -> broker.Broker:
    """A cluster as one `Broker` with the addresses of all; the last node's clock can be set."""
    library = home / "realtime.so"
    compiling = await asyncio.create_subprocess_exec(
        *("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(STEPPED / "realtime.c"))
    )
    if await compiling.wait():
        raise ServerUnavailable("the C compiler cannot make a clock that is off")
    set_off(clocks, 0)
    stray = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(clocks.broker)}
    environments = [*[dict[str, str]()] * (brokers - 1), stray]
    started = await stack.enter_async_context(
        kafka.cluster(home / "kafka", log_dir=home / "logs", environments=environments)
    )
    return replace(started[0], bootstrap_servers=",".join(one.bootstrap_servers for one in started))


def set_off(clocks: Clocks, by_s: float) -> None:
    """Sets the third broker's clock offset. In place, since the broker has the file mapped."""
    with clocks.broker.open("r+b" if clocks.broker.exists() else "wb") as file:
        file.write(round(by_s * 1e6).to_bytes(8, "little", signed=True))


def _own(servers: Servers, proxies: Proxies, clocks: Clocks) -> Mapping[str, Mapping[str, str]]:
    store = {"DISTRICAM_S3__ENDPOINT": f"http://127.0.0.1:{proxies.s3.port}"}
    index = {"DISTRICAM_REDIS__URL": f"redis://127.0.0.1:{proxies.redis.port}/0"}
    return {
        "ingest": {
            **_kafka_through(proxies.ingest_kafka),
            "PYTHONPATH": str(STEPPED),
            "CLOCK_STEP_FILE": str(clocks.ingest),
            "CLOCK_STOOD_FILE": str(clocks.ingest_suspended),
        },
        "recorder": {**_kafka_through(proxies.recorder_kafka), **store},
        "indexer": {**store, **index},
        "api": {**store, **index},
    }


def _kafka_through(proxied: Proxy) -> dict[str, str]:
    """Kafka's address through the proxy, if there is one."""
    return {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{proxied.port}"} if proxied.target_port else {}


async def _cameras(stack: AsyncExitStack, home: Path, log: Path, proxied: Proxy, count: int) -> dict[str, str]:
    """Starts the cameras; returns their URLs, every other one through the proxy."""
    port, spec = proxied.target_port, home / "simcam.json"
    names = [f"cam-{number:03d}" for number in range(1, count + 1)]
    clips = [{**CLIP, "label": name} for name in names]
    cameras = [{"id": name, "clip": clip} for name, clip in zip(names, clips, strict=True)]
    spec.write_text(json.dumps({"cameras": cameras, "faults": []}))
    await stack.enter_async_context(
        running_simulator(spec, port, home=home, cache=Path(".devkit/clips").absolute(), log=log)
    )
    return {
        name: f"rtsp://127.0.0.1:{proxied.port if number % 2 else port}/{name}" for number, name in enumerate(names)
    }
