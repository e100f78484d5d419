"""Thirty cameras and replicas of ingest that join, leave, die, freeze and lose the broker, step by step."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from districam_devkit.accounting import CameraRecord, Counts, count
from districam_devkit.api_client import ApiClient, TimelineState, format_instant, open_api_client
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.demo.report import (
    StoredObject,
    fetch_playlist_numbers,
    list_stored_objects,
    read_sent_pictures,
    wait_until_settled,
)
from districam_devkit.pipeline import FAST_SETTLE_SETTINGS, Pipeline, Service, apply_cameras, prepare, services_running
from districam_devkit.servers import Servers, kafka, seaweedfs, valkey
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.servers.process import Child
from districam_devkit.simcam.process import running_simulator
from districam_devkit.simcam.send_log import SentPicture
from fault import proxy
from fault.proxy import Proxy

FPS, GOP_S, SEGMENT_S, LINGER_S, SESSION_S = 10, 1, 4, 7, 8
CLIP = {"codec": "h264", "width": 160, "height": 96, "fps": FPS, "seconds": 4, "gop_s": GOP_S, "bitrate": 60_000}
IDS = [f"cam-{number:02d}" for number in range(1, 31)]
SINGLE_CLIENT_IDS = IDS[::3]
"""Cameras that accept a single client."""
CHANGED_CAMERA_ID = IDS[1]
"""The camera whose record is changed."""
SETTINGS = {
    **FAST_SETTLE_SETTINGS,
    "DISTRICAM_INGEST__LINGER_S": str(LINGER_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": "2",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": str(SESSION_S),
}
FIRST, SECOND, THIRD, FOURTH = range(4)
STABLE_S, STABLE_TIMEOUT_S, POLL_S = 3.0, 60.0, 0.5
STEP_MARGIN_US = 2_000_000
"""A step ends this long before its quiet period does: pictures in flight then belong to the next step."""

Owners = Mapping[str, frozenset[int]]
"""Replicas that record a camera."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its time and the owners of each camera before and after."""

    from_us: int
    to_us: int
    before: Owners
    after: Owners

    @property
    def moved_camera_ids(self) -> list[str]:
        """Cameras that another replica records afterwards."""
        return [camera_id for camera_id in IDS if self.before[camera_id] != self.after[camera_id]]


@dataclass(frozen=True, slots=True)
class CameraResult:
    """Results of one camera; `clip` and `playlist` are the running numbers that they contain."""

    sent: list[SentPicture]
    objects: list[StoredObject]
    states: list[TimelineState]
    counts: Counts
    playlist: list[int]
    clip: list[int]

    def gaps(self, step: Step) -> list[TimelineState]:
        """Gaps that overlap the step."""
        return [
            state
            for state in self.states
            if state.state == "gap" and state.from_us < step.to_us and state.to_us > step.from_us
        ]

    def new_connections(self, step: Step) -> int:
        """Number of connections made during the step."""
        first_us: dict[int, int] = {}
        for one in self.sent:
            for connection in one.connections:
                first_us.setdefault(connection, one.sent_us)
        return sum(step.from_us <= at_us < step.to_us for at_us in first_us.values())


@dataclass(frozen=True, slots=True)
class ShardingResult:
    """The steps by name, and the cameras."""

    steps: Mapping[str, Step]
    cameras: Mapping[str, CameraResult]


@dataclass(slots=True)
class ShardingCluster:
    """The running system."""

    servers: Servers
    pipeline: Pipeline
    api: ApiClient
    kafka_proxy: Proxy
    """Between the fourth replica and Kafka."""
    proxied_bootstrap_servers: str
    records: Path
    urls: Mapping[str, str]
    freeze_s: float
    replicas: dict[int, Service] = field(default_factory=dict[int, Service])
    steps: dict[str, Step] = field(default_factory=dict[str, Step])

    async def publish_records(self, **changed: object) -> None:
        """Publishes the cameras' records; that of `CHANGED_CAMERA_ID` with the changed fields."""
        rows = [
            {"camera_id": camera_id, "name": camera_id, "url": url, "segment_s": SEGMENT_S}
            | {"single_client": camera_id in SINGLE_CLIENT_IDS}
            | (changed if camera_id == CHANGED_CAMERA_ID else {})
            for camera_id, url in self.urls.items()
        ]
        await apply_cameras(self.records, rows, self.servers.environment())

    async def owners(self) -> Owners:
        """Replicas that record each camera now; a replica that does not answer records none."""
        names = list(self.replicas)
        samples_by_replica = await asyncio.gather(
            *(self.replicas[name].metric("districam_ingest_connected") for name in names)
        )
        return {
            camera_id: frozenset(
                name
                for name, samples in zip(names, samples_by_replica, strict=True)
                if samples.get(f'{{camera="{camera_id}"}}') == 1
            )
            for camera_id in IDS
        }

    async def wait_until_stable(
        self, *, candidates: Sequence[int], all_of: Sequence[int] = (), ignored: Sequence[str] = ()
    ) -> Owners:
        """Waits until each camera has an owner of `candidates`, each of `all_of` owns one, unchanged for `STEADY_S`.

        Raises:
            TimeoutError: this is not reached.
        """
        since_s, last = time.monotonic(), await self.owners()
        async with asyncio.timeout(STABLE_TIMEOUT_S):
            while True:
                now = await self.owners()
                own = {camera_id: at & set(candidates) for camera_id, at in now.items() if camera_id not in ignored}
                is_one_each = all(len(at) == 1 for at in own.values())
                is_shared = all(any(replica in at for at in own.values()) for replica in all_of)
                if now != last or not (is_one_each and is_shared):
                    since_s, last = time.monotonic(), now
                elif time.monotonic() - since_s >= STABLE_S:
                    return now
                await asyncio.sleep(POLL_S)

    def record_step(self, name: str, from_us: int, before: Owners, after: Owners) -> Owners:
        self.steps[name] = Step(from_us, now_us() - STEP_MARGIN_US, before, after)
        return after


def now_us() -> int:
    return time.time_ns() // 1000


async def run_scenario(home: Path, freeze_s: float) -> ShardingResult:
    """Runs all steps. The freeze lasts at least `freeze_s`, and until the steps during it are done."""
    log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers, kafka_proxy, proxied_bootstrap_servers = await _servers(stack, home)
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(open_api_client(pipeline.api_url, timeout_s=30))
        began_us = now_us()
        simulator, urls = await _simulator(stack, home, log)
        cluster = ShardingCluster(
            servers,
            pipeline,
            api,
            kafka_proxy,
            proxied_bootstrap_servers,
            home / "cameras.yaml",
            urls,
            freeze_s=freeze_s,
        )
        await _run_steps(cluster)
        await simulator.stop()
        await _end(cluster)
        sent = read_sent_pictures(log)
        states = await wait_until_settled(api, {name: (began_us, sent[name][-1].sent_us) for name in IDS})
        objects = await asyncio.to_thread(list_stored_objects, servers)
        results = {name: await _collect_result(pipeline, name, sent[name], states[name], objects) for name in IDS}
        return ShardingResult(cluster.steps, results)


async def _servers(stack: AsyncExitStack, home: Path) -> tuple[Servers, Proxy, str]:
    logs = home / "logs"
    inside, outside = pick_free_ports(2)
    broker = await stack.enter_async_context(
        kafka.running(home / "kafka", log_dir=logs, extra_listeners=(kafka.ExtraListener(inside, outside),))
    )
    s3 = await stack.enter_async_context(seaweedfs.running(home / "s3", log_dir=logs))
    redis = await stack.enter_async_context(valkey.running(home / "redis", log_dir=logs))
    way = await stack.enter_async_context(proxy.running(outside, inside))
    return Servers(broker, s3, redis), way, f"127.0.0.1:{outside}"


async def _simulator(stack: AsyncExitStack, home: Path, log: Path) -> tuple[Child, dict[str, str]]:
    """Runs the cameras in a process of their own, so that they keep time; returns their URLs."""
    [port] = pick_free_ports(1)
    spec = home / "simcam.json"
    cameras = [
        {
            "id": name,
            "clip": {**CLIP, "label": name},
            "manners": {"clients_most": 1 if name in SINGLE_CLIENT_IDS else None},
        }
        for name in IDS
    ]
    spec.write_text(json.dumps({"cameras": cameras, "faults": []}))
    child = await stack.enter_async_context(
        running_simulator(spec, port, home=home, cache=Path(".devkit/clips").absolute(), log=log)
    )
    return child, {name: f"rtsp://127.0.0.1:{port}/{name}" for name in IDS}


async def _run_steps(cluster: ShardingCluster) -> None:
    cluster.replicas[FIRST] = cluster.pipeline["ingest"]
    others = await asyncio.gather(*(cluster.pipeline.add_replica("ingest", {}) for _ in (SECOND, THIRD)))
    cluster.replicas |= {SECOND: others[0], THIRD: others[1]}
    await cluster.publish_records()
    owners = await cluster.wait_until_stable(candidates=(FIRST, SECOND, THIRD), all_of=(FIRST, SECOND, THIRD))
    owners = await _added(cluster, owners)
    frozen, frozen_s = cluster.replicas.pop(FIRST), time.monotonic()
    frozen.child.signal(signal.SIGSTOP)
    try:
        owners = await _frozen(cluster, owners)
        owners = await _stop_replica(cluster, owners)
        owners = await _renamed(cluster, owners)
        owners = await _change_record(cluster, owners)
        owners = await _killed(cluster, owners)
        await asyncio.sleep(cluster.freeze_s - (time.monotonic() - frozen_s))
        thawed_us = now_us()
    finally:
        frozen.child.signal(signal.SIGCONT)
    cluster.replicas[FIRST] = frozen
    both = (FIRST, FOURTH)
    owners = cluster.record_step(
        "thawed", thawed_us, owners, await cluster.wait_until_stable(candidates=both, all_of=both)
    )
    await _cut_off_replica(cluster, owners)


async def _added(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us = now_us()
    overrides = {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": cluster.proxied_bootstrap_servers}
    cluster.replicas[FOURTH] = await cluster.pipeline.add_replica("ingest", overrides)
    after = await cluster.wait_until_stable(candidates=(FIRST, SECOND, THIRD, FOURTH), all_of=(FOURTH,))
    return cluster.record_step("added", from_us, before, after)


def single_client_ids_of_first(before: Owners) -> list[str]:
    """Cameras that accept a single client, which is the frozen replica."""
    return [name for name in SINGLE_CLIENT_IDS if FIRST in before[name]]


async def _frozen(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us = now_us()
    after = await cluster.wait_until_stable(
        candidates=(SECOND, THIRD, FOURTH), ignored=single_client_ids_of_first(before)
    )
    return cluster.record_step("frozen", from_us, before, after)


async def _stop_replica(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us, waiting = now_us(), single_client_ids_of_first(cluster.steps["frozen"].before)
    await cluster.replicas.pop(SECOND).child.stop()
    after = await cluster.wait_until_stable(candidates=(THIRD, FOURTH), ignored=waiting)
    return cluster.record_step("stopped", from_us, before, after)


async def _change_record(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us = now_us()
    await cluster.publish_records(segment_s=SEGMENT_S + 1)
    await asyncio.sleep(STABLE_S)
    after = await cluster.wait_until_stable(
        candidates=(THIRD, FOURTH), ignored=single_client_ids_of_first(cluster.steps["frozen"].before)
    )
    return cluster.record_step("changed", from_us, before, after)


async def _renamed(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us = now_us()
    await cluster.publish_records(name="another name", groups=["gates"])
    await asyncio.sleep(STABLE_S)
    after = await cluster.wait_until_stable(
        candidates=(THIRD, FOURTH), ignored=single_client_ids_of_first(cluster.steps["frozen"].before)
    )
    return cluster.record_step("renamed", from_us, before, after)


async def _killed(cluster: ShardingCluster, before: Owners) -> Owners:
    from_us, waiting = now_us(), single_client_ids_of_first(cluster.steps["frozen"].before)
    await cluster.replicas.pop(THIRD).child.kill()
    after = await cluster.wait_until_stable(candidates=(FOURTH,), ignored=waiting)
    return cluster.record_step("killed", from_us, before, after)


async def _cut_off_replica(cluster: ShardingCluster, before: Owners) -> None:
    """Cuts the fourth replica off from Kafka until the first has taken over everything; then reconnects it."""
    from_us = now_us()
    cluster.kafka_proxy.cut()
    try:
        alone = await cluster.wait_until_stable(candidates=(FIRST,), all_of=(FIRST,))
    finally:
        cluster.kafka_proxy.heal()
    cluster.record_step("cut", from_us, before, alone)
    from_us = now_us()
    both = (FIRST, FOURTH)
    cluster.record_step("healed", from_us, alone, await cluster.wait_until_stable(candidates=both, all_of=both))


async def _end(cluster: ShardingCluster) -> None:
    async with asyncio.timeout(30):
        while any((await cluster.owners()).values()):
            await asyncio.sleep(0.2)
    await asyncio.gather(*(replica.child.stop() for replica in cluster.replicas.values()))


async def _collect_result(
    pipeline: Pipeline, name: str, sent: list[SentPicture], states: list[TimelineState], objects: list[StoredObject]
) -> CameraResult:
    own = [one for one in objects if one.key.startswith(f"{name}/")]
    from_us, to_us = sent[0].sent_us - 2_000_000, now_us()
    async with open_api_client(pipeline.api_url, timeout_s=30) as api:
        playlist = await fetch_playlist_numbers(api, name, from_us, to_us)
    async with httpx.AsyncClient(base_url=pipeline.api_url, timeout=60) as client:
        window = {"from": format_instant(from_us), "to": format_instant(to_us)}
        answer = await client.get(f"/v1/cameras/{name}/clip.mp4", params=window)
    answer.raise_for_status()
    clip = [picture.number for picture in parse_stored_pictures(answer.content)]
    stored = [picture for one in own for picture in one.pictures]
    counts = count(CameraRecord(sent=sent, stored=stored, played_numbers=clip, timeline=states))
    return CameraResult(sent, own, states, counts, playlist, clip)
