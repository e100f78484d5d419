"""Thirty cameras, and replicas of ingest that come, go, die, freeze and lose their broker; what is known of it in the end."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from districam_devkit.asking import Answered, Api, asking, instant
from districam_devkit.bitstream import running_numbers
from districam_devkit.counting import CameraRecord, Counts, count
from districam_devkit.demo.report import Object, sent_by_camera, settled, shown, stored_objects
from districam_devkit.pipeline import (
    SETTLED_SOON,
    Pipeline,
    Service,
    apply_cameras,
    prepare,
    services_running,
)
from districam_devkit.servers import Servers, kafka, seaweedfs, valkey
from districam_devkit.servers.ports import choose
from districam_devkit.servers.process import Child
from districam_devkit.simcam.process import simulating
from districam_devkit.simcam.sendlog import Sent
from fault import proxy
from fault.proxy import Proxy

FPS, GOP_S, SEGMENT_S, LINGER_S, SESSION_S = 10, 1, 4, 7, 8
CLIP = {
    "codec": "h264",
    "width": 160,
    "height": 96,
    "fps": FPS,
    "seconds": 4,
    "gop_s": GOP_S,
    "bitrate": 60_000,
}
IDS = [f"cam-{number:02d}" for number in range(1, 31)]
SINGLE = IDS[::3]
"""These serve a single client."""
CHANGED = IDS[1]
"""Its record is changed."""
SETTINGS = {
    **SETTLED_SOON,
    "DISTRICAM_INGEST__LINGER_S": str(LINGER_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": "2",
    "DISTRICAM_KAFKA__SESSION_TIMEOUT_S": str(SESSION_S),
}
FIRST, SECOND, THIRD, FOURTH = range(4)
STEADY_S, MOVED_S, POLL_S = 3.0, 60.0, 0.5
REST_US = 2_000_000
"""An act ends so long before its rest does: what the next one costs begins with pictures that were in hand."""

Owners = Mapping[str, frozenset[int]]
"""Which replicas record a camera."""


@dataclass(frozen=True, slots=True)
class Act:
    """What was done to a replica, from when to when, and who recorded which camera before and after."""

    from_us: int
    to_us: int
    before: Owners
    after: Owners

    @property
    def moved(self) -> list[str]:
        """Cameras that another replica records afterwards."""
        return [camera_id for camera_id in IDS if self.before[camera_id] != self.after[camera_id]]


@dataclass(frozen=True, slots=True)
class Filmed:
    """All that is known of one camera; `clip` and `playlist` are the running numbers that they hand out."""

    sent: list[Sent]
    objects: list[Object]
    states: list[Answered]
    counts: Counts
    playlist: list[int]
    clip: list[int]

    def gaps(self, act: Act) -> list[Answered]:
        """Those that touch the act."""
        return [
            state
            for state in self.states
            if state.state == "gap" and state.from_us < act.to_us and state.to_us > act.from_us
        ]

    def connections(self, act: Act) -> int:
        """How many new ones were made meanwhile."""
        first_us: dict[int, int] = {}
        for one in self.sent:
            for connection in one.connections:
                first_us.setdefault(connection, one.sent_us)
        return sum(act.from_us <= at_us < act.to_us for at_us in first_us.values())


@dataclass(frozen=True, slots=True)
class Story:
    """The acts by name, and the cameras."""

    acts: Mapping[str, Act]
    cameras: Mapping[str, Filmed]


@dataclass(slots=True)
class Stage:
    """All that runs."""

    servers: Servers
    pipeline: Pipeline
    api: Api
    way: Proxy
    """From the fourth replica to Kafka."""
    detour: str
    records: Path
    urls: Mapping[str, str]
    freeze_s: float
    replicas: dict[int, Service] = field(default_factory=dict[int, Service])
    acts: dict[str, Act] = field(default_factory=dict[str, Act])

    async def publish(self, **changed: object) -> None:
        """The cameras' records; those of `CHANGED` with other fields."""
        rows = [
            {"camera_id": camera_id, "name": camera_id, "url": url, "segment_s": SEGMENT_S}
            | {"single_client": camera_id in SINGLE}
            | (changed if camera_id == CHANGED else {})
            for camera_id, url in self.urls.items()
        ]
        await apply_cameras(self.records, rows, self.servers.environment())

    async def owners(self) -> Owners:
        """Who records which camera now; a replica that does not answer records none."""
        names = list(self.replicas)
        told = await asyncio.gather(
            *(self.replicas[name].metric("districam_ingest_connected") for name in names)
        )
        return {
            camera_id: frozenset(
                name
                for name, samples in zip(names, told, strict=True)
                if samples.get(f'{{camera="{camera_id}"}}') == 1
            )
            for camera_id in IDS
        }

    async def at_rest(
        self, *, by: Sequence[int], each: Sequence[int] = (), without: Sequence[str] = ()
    ) -> Owners:
        """Who records which camera once each has one of `by`, and `each` has one, and that stays so for `STEADY_S`.

        Raises:
            TimeoutError: it does not come to that.
        """
        since_s, last = time.monotonic(), await self.owners()
        async with asyncio.timeout(MOVED_S):
            while True:
                now = await self.owners()
                own = {camera_id: at & set(by) for camera_id, at in now.items() if camera_id not in without}
                is_one_each = all(len(at) == 1 for at in own.values())
                is_shared = all(any(replica in at for at in own.values()) for replica in each)
                if now != last or not (is_one_each and is_shared):
                    since_s, last = time.monotonic(), now
                elif time.monotonic() - since_s >= STEADY_S:
                    return now
                await asyncio.sleep(POLL_S)

    def note(self, name: str, from_us: int, before: Owners, after: Owners) -> Owners:
        self.acts[name] = Act(from_us, now_us() - REST_US, before, after)
        return after


def now_us() -> int:
    return time.time_ns() // 1000


async def play(home: Path, freeze_s: float) -> Story:
    """The whole story. The freeze lasts at least so long, and as long as what happens meanwhile takes."""
    log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers, way, detour = await _servers(stack, home)
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(asking(pipeline.api_url, timeout_s=30))
        began_us = now_us()
        simulator, urls = await _simulator(stack, home, log)
        stage = Stage(servers, pipeline, api, way, detour, home / "cameras.yaml", urls, freeze_s=freeze_s)
        await _act(stage)
        await simulator.stop()
        await _end(stage)
        sent = sent_by_camera(log)
        states = await settled(api, {name: (began_us, sent[name][-1].sent_us) for name in IDS})
        objects = await asyncio.to_thread(stored_objects, servers)
        filmed = {name: await _filmed(pipeline, name, sent[name], states[name], objects) for name in IDS}
        return Story(stage.acts, filmed)


async def _servers(stack: AsyncExitStack, home: Path) -> tuple[Servers, Proxy, str]:
    logs = home / "logs"
    inside, outside = choose(2)
    broker = await stack.enter_async_context(
        kafka.running(home / "kafka", log_dir=logs, detours=(kafka.Detour(inside, outside),))
    )
    s3 = await stack.enter_async_context(seaweedfs.running(home / "s3", log_dir=logs))
    redis = await stack.enter_async_context(valkey.running(home / "redis", log_dir=logs))
    way = await stack.enter_async_context(proxy.running(outside, inside))
    return Servers(broker, s3, redis), way, f"127.0.0.1:{outside}"


async def _simulator(stack: AsyncExitStack, home: Path, log: Path) -> tuple[Child, dict[str, str]]:
    """The cameras, in a process of their own so that they keep time; and their URLs."""
    [port] = choose(1)
    spec = home / "simcam.json"
    cameras = [
        {
            "id": name,
            "clip": {**CLIP, "label": name},
            "manners": {"clients_most": 1 if name in SINGLE else None},
        }
        for name in IDS
    ]
    spec.write_text(json.dumps({"cameras": cameras, "faults": []}))
    child = await stack.enter_async_context(
        simulating(spec, port, home=home, cache=Path(".devkit/clips").absolute(), log=log)
    )
    return child, {name: f"rtsp://127.0.0.1:{port}/{name}" for name in IDS}


async def _act(stage: Stage) -> None:
    stage.replicas[FIRST] = stage.pipeline["ingest"]
    others = await asyncio.gather(*(stage.pipeline.another("ingest", {}) for _ in (SECOND, THIRD)))
    stage.replicas |= {SECOND: others[0], THIRD: others[1]}
    await stage.publish()
    owners = await stage.at_rest(by=(FIRST, SECOND, THIRD), each=(FIRST, SECOND, THIRD))
    owners = await _added(stage, owners)
    frozen, frozen_s = stage.replicas.pop(FIRST), time.monotonic()
    frozen.child.signal(signal.SIGSTOP)
    try:
        owners = await _frozen(stage, owners)
        owners = await _stopped(stage, owners)
        owners = await _renamed(stage, owners)
        owners = await _changed(stage, owners)
        owners = await _killed(stage, owners)
        await asyncio.sleep(stage.freeze_s - (time.monotonic() - frozen_s))
        thawed_us = now_us()
    finally:
        frozen.child.signal(signal.SIGCONT)
    stage.replicas[FIRST] = frozen
    both = (FIRST, FOURTH)
    owners = stage.note("thawed", thawed_us, owners, await stage.at_rest(by=both, each=both))
    await _cut(stage, owners)


async def _added(stage: Stage, before: Owners) -> Owners:
    from_us = now_us()
    told = {"DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": stage.detour}
    stage.replicas[FOURTH] = await stage.pipeline.another("ingest", told)
    after = await stage.at_rest(by=(FIRST, SECOND, THIRD, FOURTH), each=(FOURTH,))
    return stage.note("added", from_us, before, after)


def held(before: Owners) -> list[str]:
    """Cameras that serve one client, which is the frozen replica."""
    return [name for name in SINGLE if FIRST in before[name]]


async def _frozen(stage: Stage, before: Owners) -> Owners:
    from_us = now_us()
    after = await stage.at_rest(by=(SECOND, THIRD, FOURTH), without=held(before))
    return stage.note("frozen", from_us, before, after)


async def _stopped(stage: Stage, before: Owners) -> Owners:
    from_us, waiting = now_us(), held(stage.acts["frozen"].before)
    await stage.replicas.pop(SECOND).child.stop()
    after = await stage.at_rest(by=(THIRD, FOURTH), without=waiting)
    return stage.note("stopped", from_us, before, after)


async def _changed(stage: Stage, before: Owners) -> Owners:
    from_us = now_us()
    await stage.publish(segment_s=SEGMENT_S + 1)
    await asyncio.sleep(STEADY_S)
    after = await stage.at_rest(by=(THIRD, FOURTH), without=held(stage.acts["frozen"].before))
    return stage.note("changed", from_us, before, after)


async def _renamed(stage: Stage, before: Owners) -> Owners:
    from_us = now_us()
    await stage.publish(name="another name", groups=["gates"])
    await asyncio.sleep(STEADY_S)
    after = await stage.at_rest(by=(THIRD, FOURTH), without=held(stage.acts["frozen"].before))
    return stage.note("renamed", from_us, before, after)


async def _killed(stage: Stage, before: Owners) -> Owners:
    from_us, waiting = now_us(), held(stage.acts["frozen"].before)
    await stage.replicas.pop(THIRD).child.kill()
    after = await stage.at_rest(by=(FOURTH,), without=waiting)
    return stage.note("killed", from_us, before, after)


async def _cut(stage: Stage, before: Owners) -> None:
    """The way of the fourth to Kafka, until the first has taken over all; then it comes back."""
    from_us = now_us()
    stage.way.cut()
    try:
        alone = await stage.at_rest(by=(FIRST,), each=(FIRST,))
    finally:
        stage.way.heal()
    stage.note("cut", from_us, before, alone)
    from_us = now_us()
    both = (FIRST, FOURTH)
    stage.note("healed", from_us, alone, await stage.at_rest(by=both, each=both))


async def _end(stage: Stage) -> None:
    async with asyncio.timeout(30):
        while any((await stage.owners()).values()):
            await asyncio.sleep(0.2)
    await asyncio.gather(*(replica.child.stop() for replica in stage.replicas.values()))


async def _filmed(
    pipeline: Pipeline, name: str, sent: list[Sent], states: list[Answered], objects: list[Object]
) -> Filmed:
    own = [one for one in objects if one.key.startswith(f"{name}/")]
    from_us, to_us = sent[0].sent_us - 2_000_000, now_us()
    async with asking(pipeline.api_url, timeout_s=30) as api:
        playlist = await shown(api, name, from_us, to_us)
    async with httpx.AsyncClient(base_url=pipeline.api_url, timeout=60) as client:
        window = {"from": instant(from_us), "to": instant(to_us)}
        answer = await client.get(f"/v1/cameras/{name}/clip.mp4", params=window)
    answer.raise_for_status()
    clip = [picture.number for picture in running_numbers(answer.content)]
    stored = [picture for one in own for picture in one.pictures]
    counts = count(CameraRecord(sent=sent, stored=stored, shown=clip, states=states))
    return Filmed(sent, own, states, counts, playlist, clip)
