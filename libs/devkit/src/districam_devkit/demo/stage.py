"""Runs the demo: servers, cameras, services; hurts one if asked; stops in the order that loses nothing; counts."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import httpx

from districam_devkit.asking import Api, asking
from districam_devkit.demo import cast, report
from districam_devkit.demo.latency import Sightings, now_us
from districam_devkit.demo.screen import Screen
from districam_devkit.pipeline import Pipeline, command, prepare, services_running
from districam_devkit.servers import BrokerWanted, Servers, ServerUnavailable, all_running
from districam_devkit.servers.ports import choose
from districam_devkit.servers.process import Child
from districam_devkit.simcam.process import simulating

Victim = Literal["recorder", "ingest", "indexer", "kafka"]

SETTINGS = {
    # Gaps are final when the report counts them; in a district these are 75 s and 60 s (docs/design/contract.md).
    "DISTRICAM_API__SETTLE_S": "5",
    "DISTRICAM_RECORDER__CONTACT_S": "3",
    "DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "1",
    "DISTRICAM_INGEST__LINGER_S": "0",  # there is no other replica to hand over to
}
FIRST_SEGMENT_S = 90.0
ENDED_S = 20.0
DEAD_S = 3.0
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the demo was asked for."""

    home: Path
    duration_s: float | None
    report: Path | None
    kill: Victim | None
    cameras: Path | None
    broker: BrokerWanted
    faults: tuple[str, ...] = ()
    """How simulated cameras fail: `districam_devkit.simcam.faults`."""


@dataclass(frozen=True, slots=True)
class Set:
    """All that runs."""

    servers: Servers
    pipeline: Pipeline
    cameras: Child | None
    api: Api
    send_log: Path
    began_us: int


async def run(wishes: Wishes, screen: Screen) -> dict[str, Any] | None:
    """The whole demo; the report if one was asked for.

    Raises:
        ServerUnavailable: something does not come up; the message says what to do.
        TimeoutError: it does not come to rest.
    """
    async with set_up(wishes, screen) as scene:
        sightings = Sightings(scene.api)
        began_us = now_us()
        with _asked_to_stop() as stopping:
            await _first_segment(scene, screen, stopping)
            _invite(scene, screen, wishes)
            await _show(scene, screen, wishes, stopping, sightings)
        if wishes.report is None:
            return None
        screen.step("counting pictures")
        seconds = (now_us() - began_us) / 1e6
        made = await report.make_report(
            report.Run(scene.servers, scene.api, scene.send_log, sightings.seen_us, seconds)
        )
        report.write(made, wishes.report)
        return made


@contextmanager
def _asked_to_stop() -> Generator[asyncio.Event]:
    """Set by the first Ctrl-C; the second one interrupts."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        stopping.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    yield stopping
    for number in numbers:
        loop.remove_signal_handler(number)


async def _show(
    scene: Set, screen: Screen, wishes: Wishes, stopping: asyncio.Event, sightings: Sightings
) -> None:
    """The table and the polling, until all that was sent is indexed."""
    async with asyncio.TaskGroup() as tasks:
        watching = [
            tasks.create_task(screen.watch(scene.api, scene.pipeline, scene.began_us)),
            *([tasks.create_task(sightings.run(_cast_ids()))] if scene.cameras else []),
        ]
        try:
            await _wait(scene, screen, wishes, stopping)
            await _stop_sources(scene, screen)
            if scene.cameras is not None:
                screen.step("waiting until all is indexed")
                await report.settled(scene.api, report.windows_of(report.sent_by_camera(scene.send_log)))
        finally:
            for task in watching:
                task.cancel()


@asynccontextmanager
async def set_up(wishes: Wishes, screen: Screen) -> AsyncGenerator[Set]:
    """Servers, cameras and services for the length of a block; the cameras are published."""
    home = wishes.home.absolute()
    for old in ("kafka", "s3", "redis", "logs"):
        rmtree(home / old, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    send_log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(
            all_running(home, broker=wishes.broker, on_step=screen.server_step)
        )
        await prepare(servers)
        screen.step("topics and bucket are made")
        cameras, file = await _open_cameras(stack, wishes, home, send_log, screen)
        environment = dict(SETTINGS)
        if wishes.cameras and (credentials := wishes.cameras.with_name("credentials.yaml")).exists():
            environment["DISTRICAM_INGEST__CREDENTIALS_FILE"] = str(credentials.absolute())
        pipeline = await stack.enter_async_context(
            services_running(home, servers, environment=environment, on_step=screen.server_step)
        )
        began_us = now_us()
        said = await command(
            "districam_common.admin.cameras", "apply", "-f", str(file), environment=servers.environment()
        )
        screen.step(f"cameras are published: {said.strip().splitlines()[-1]}")
        api = await stack.enter_async_context(asking(pipeline.api_url))
        yield Set(servers, pipeline, cameras, api, send_log, began_us)


async def _open_cameras(
    stack: AsyncExitStack, wishes: Wishes, home: Path, send_log: Path, screen: Screen
) -> tuple[Child | None, Path]:
    """The simulated cameras, or none; and the cameras.yaml to publish."""
    if wishes.cameras is not None:
        return None, wishes.cameras
    [port] = choose(1)
    spec, file = home / "simcam.json", home / "cameras.yaml"
    cast.write_simulator(spec, wishes.faults)
    cast.write_cameras(file, port)
    screen.step("cameras: making their clips (the first time takes a while)")
    child = await stack.enter_async_context(
        simulating(spec, port, home=home, cache=home.parent / "clips", log=send_log)
    )
    screen.step(f"cameras: {len(cast.CAST)} at rtsp://127.0.0.1:{port}/")
    return child, file


async def _first_segment(scene: Set, screen: Screen, stopping: asyncio.Event) -> None:
    """Waits until a query finds footage.

    Raises:
        ServerUnavailable: none within 90 s.
    """
    screen.step("waiting for the first stored segment (10 s of footage, then a keyframe)")
    try:
        async with asyncio.timeout(FIRST_SEGMENT_S):
            while not stopping.is_set() and not await _has_footage(scene.api):  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.5)
    except TimeoutError:
        logs = scene.send_log.parent / "logs"
        raise ServerUnavailable(f"no segment within {FIRST_SEGMENT_S:g} s; see {logs}") from None
    screen.step("the first segment can be queried")


async def _has_footage(api: Api) -> bool:
    try:
        return any(row.get("last_segment_end") for row in await api.streams())
    except httpx.HTTPError:
        return False


def _invite(scene: Set, screen: Screen, wishes: Wishes) -> None:
    url, kafka = scene.pipeline.api_url, scene.servers.kafka
    camera = _cast_ids()[0] if wishes.cameras is None else "CAMERA"
    screen.console.print(
        f"\n  API           {url}/docs   {url}/v1/cameras   {url}/v1/streams"
        f"\n  a playlist    {scene.api.playlist_url(camera, scene.began_us, now_us() + HOUR_US)}"
        f"\n  Kafka         kcat -b {kafka.bootstrap_servers} -t districam.segments.v1 -C -o -5 -e"
        f"\n  logs          {scene.send_log.parent / 'logs'}"
        "\n  Ctrl-C stops  cameras, ingest, then the rest when all is stored\n",
        soft_wrap=True,
    )


def _cast_ids() -> list[str]:
    return [role.camera_id for role in cast.CAST]


async def _wait(scene: Set, screen: Screen, wishes: Wishes, stopping: asyncio.Event) -> None:
    """The show itself; in its middle the wanted process dies and comes back."""
    share = 2 if wishes.kill else 1
    if await _slept(stopping, None if wishes.duration_s is None else wishes.duration_s / share):
        return
    if wishes.kill is None:
        return
    child = scene.servers.kafka.child if wishes.kill == "kafka" else scene.pipeline[wishes.kill].child
    screen.step(f"[red]killing {wishes.kill} (SIGKILL)[/]")
    await child.kill()
    await asyncio.sleep(DEAD_S)
    await child.start_again()
    screen.step(f"{wishes.kill} runs again")
    await _slept(stopping, None if wishes.duration_s is None else wishes.duration_s / share)


async def _slept(stopping: asyncio.Event, seconds: float | None) -> bool:
    """True if it was cut short."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


async def _stop_sources(scene: Set, screen: Screen) -> None:
    """Cameras first, then ingest when it has read their last picture: so epochs end as they do in life."""
    screen.step("stopping the cameras")
    if scene.cameras is not None:
        await scene.cameras.stop()
        async with asyncio.timeout(ENDED_S):
            while any((await scene.pipeline["ingest"].metric("districam_ingest_connected")).values()):  # noqa: ASYNC110  # another process: nothing to await
                await asyncio.sleep(0.2)
    screen.step("stopping ingest")
    await scene.pipeline["ingest"].child.stop()
