"""Runs the demo: starts everything, kills one process if asked, stops the sources first to lose nothing, reports."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import httpx

from districam_devkit.api_client import ApiClient, open_api_client
from districam_devkit.demo import cameras, report
from districam_devkit.demo.latency import ListingTimes, now_us
from districam_devkit.demo.screen import Screen
from districam_devkit.pipeline import Pipeline, prepare, run_command, services_running
from districam_devkit.servers import BrokerOption, Servers, ServerUnavailable, all_running
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.servers.process import Child
from districam_devkit.simcam.process import running_simulator

KillTarget = Literal["recorder", "ingest", "indexer", "kafka"]

SETTINGS = {
    # Gaps must be final when the report counts them; the defaults are 75 s and 60 s (docs/design/contract.md).
    "DISTRICAM_API__SETTLE_S": "5",
    "DISTRICAM_RECORDER__CONTACT_S": "3",
    "DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "1",
    "DISTRICAM_INGEST__LINGER_S": "0",  # there is no other replica to hand over to
}
FIRST_SEGMENT_S = 90.0
DISCONNECT_TIMEOUT_S = 20.0
DEAD_S = 3.0
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Command line options of the demo."""

    home: Path
    duration_s: float | None
    report: Path | None
    kill: KillTarget | None
    cameras: Path | None
    broker: BrokerOption
    faults: tuple[str, ...] = ()
    """Faults of the simulated cameras, in the notation of `districam_devkit.simcam.faults`."""


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """The running servers, services and cameras."""

    servers: Servers
    pipeline: Pipeline
    cameras: Child | None
    api: ApiClient
    send_log: Path
    began_us: int


async def run(options: DemoOptions, screen: Screen) -> dict[str, Any] | None:
    """Runs the demo; returns the report if one was requested.

    Raises:
        ServerUnavailable: a process does not start; the message says what to do.
        TimeoutError: footage stays pending after the sources have stopped.
    """
    async with start_demo(options, screen) as scene:
        listing_times = ListingTimes(scene.api)
        began_us = now_us()
        with _stop_on_signal() as stopping:
            await _first_segment(scene, screen, stopping)
            _print_addresses(scene, screen, options)
            await _show(scene, screen, options, stopping, listing_times)
        if options.report is None:
            return None
        screen.step("counting pictures")
        seconds = (now_us() - began_us) / 1e6
        made = await report.make_report(
            report.Run(scene.servers, scene.api, scene.send_log, listing_times.listed_us, seconds)
        )
        report.write(made, options.report)
        return made


@contextmanager
def _stop_on_signal() -> Generator[asyncio.Event]:
    """Yields an event that the first SIGINT or SIGTERM sets; the second one interrupts."""
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
    demo: DemoEnvironment, screen: Screen, options: DemoOptions, stopping: asyncio.Event, listing_times: ListingTimes
) -> None:
    """Shows the table and polls the API until everything that was sent is indexed."""
    async with asyncio.TaskGroup() as tasks:
        background_tasks = [
            tasks.create_task(screen.watch(demo.api, demo.pipeline, demo.began_us)),
            *([tasks.create_task(listing_times.run(_camera_ids()))] if demo.cameras else []),
        ]
        try:
            await _wait(demo, screen, options, stopping)
            await _stop_sources(demo, screen)
            if demo.cameras is not None:
                screen.step("waiting until all is indexed")
                await report.wait_until_settled(
                    demo.api, report.recorded_windows(report.read_sent_pictures(demo.send_log))
                )
        finally:
            for task in background_tasks:
                task.cancel()


@asynccontextmanager
async def start_demo(options: DemoOptions, screen: Screen) -> AsyncGenerator[DemoEnvironment]:
    """Runs servers, cameras and services, and publishes the cameras."""
    home = options.home.absolute()
    for old in ("kafka", "s3", "redis", "logs"):
        rmtree(home / old, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    send_log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home, broker=options.broker, on_step=screen.server_step))
        await prepare(servers)
        screen.step("topics and bucket are created")
        cameras, file = await _start_cameras(stack, options, home, send_log, screen)
        environment = dict(SETTINGS)
        if options.cameras and (credentials := options.cameras.with_name("credentials.yaml")).exists():
            environment["DISTRICAM_INGEST__CREDENTIALS_FILE"] = str(credentials.absolute())
        pipeline = await stack.enter_async_context(
            services_running(home, servers, environment=environment, on_step=screen.server_step)
        )
        began_us = now_us()
        output = await run_command(
            "districam_common.admin.cameras", "apply", "-f", str(file), environment=servers.environment()
        )
        screen.step(f"cameras are published: {output.strip().splitlines()[-1]}")
        api = await stack.enter_async_context(open_api_client(pipeline.api_url))
        yield DemoEnvironment(servers, pipeline, cameras, api, send_log, began_us)


async def _start_cameras(
    stack: AsyncExitStack, options: DemoOptions, home: Path, send_log: Path, screen: Screen
) -> tuple[Child | None, Path]:
    """Starts the simulated cameras unless real ones were given; returns the process and the cameras.yaml to publish."""
    if options.cameras is not None:
        return None, options.cameras
    [port] = pick_free_ports(1)
    spec, file = home / "simcam.json", home / "cameras.yaml"
    cameras.write_simulator(spec, options.faults)
    cameras.write_cameras(file, port)
    screen.step("cameras: making their clips (the first time takes a while)")
    child = await stack.enter_async_context(
        running_simulator(spec, port, home=home, cache=home.parent / "clips", log=send_log)
    )
    screen.step(f"cameras: {len(cameras.CAMERAS)} at rtsp://127.0.0.1:{port}/")
    return child, file


async def _first_segment(demo: DemoEnvironment, screen: Screen, stopping: asyncio.Event) -> None:
    """Waits until the API lists footage.

    Raises:
        ServerUnavailable: no footage within 90 s.
    """
    screen.step("waiting for the first stored segment (10 s of footage, then a keyframe)")
    try:
        async with asyncio.timeout(FIRST_SEGMENT_S):
            while not stopping.is_set() and not await _has_footage(demo.api):  # noqa: ASYNC110  # another process: it can only be polled
                await asyncio.sleep(0.5)
    except TimeoutError:
        logs = demo.send_log.parent / "logs"
        raise ServerUnavailable(f"no segment within {FIRST_SEGMENT_S:g} s; see {logs}") from None
    screen.step("the first segment can be queried")


async def _has_footage(api: ApiClient) -> bool:
    try:
        return any(row.get("last_segment_end") for row in await api.streams())
    except httpx.HTTPError:
        return False


def _print_addresses(demo: DemoEnvironment, screen: Screen, options: DemoOptions) -> None:
    url, kafka = demo.pipeline.api_url, demo.servers.kafka
    camera = _camera_ids()[0] if options.cameras is None else "CAMERA"
    screen.console.print(
        f"\n  API           {url}/docs   {url}/v1/cameras   {url}/v1/streams"
        f"\n  a playlist    {demo.api.playlist_url(camera, demo.began_us, now_us() + HOUR_US)}"
        f"\n  Kafka         kcat -b {kafka.bootstrap_servers} -t districam.segments.v1 -C -o -5 -e"
        f"\n  logs          {demo.send_log.parent / 'logs'}"
        "\n  Ctrl-C stops  cameras, ingest, then the rest when all is stored\n",
        soft_wrap=True,
    )


def _camera_ids() -> list[str]:
    return [role.camera_id for role in cameras.CAMERAS]


async def _wait(demo: DemoEnvironment, screen: Screen, options: DemoOptions, stopping: asyncio.Event) -> None:
    """Waits for the duration or Ctrl-C; in the middle, kills and restarts the process that was requested."""
    share = 2 if options.kill else 1
    if await _wait_for_stop(stopping, None if options.duration_s is None else options.duration_s / share):
        return
    if options.kill is None:
        return
    child = demo.servers.kafka.child if options.kill == "kafka" else demo.pipeline[options.kill].child
    screen.step(f"[red]killing {options.kill} (SIGKILL)[/]")
    await child.kill()
    await asyncio.sleep(DEAD_S)
    await child.start()
    screen.step(f"{options.kill} runs again")
    await _wait_for_stop(stopping, None if options.duration_s is None else options.duration_s / share)


async def _wait_for_stop(stopping: asyncio.Event, seconds: float | None) -> bool:
    """Waits; returns True if it was stopped before the time was over."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


async def _stop_sources(demo: DemoEnvironment, screen: Screen) -> None:
    """Stops the cameras, then ingest once it has read their last picture, so that epochs end normally."""
    screen.step("stopping the cameras")
    if demo.cameras is not None:
        await demo.cameras.stop()
        async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
            while any((await demo.pipeline["ingest"].metric("districam_ingest_connected")).values()):  # noqa: ASYNC110  # another process: it can only be polled
                await asyncio.sleep(0.2)
    screen.step("stopping ingest")
    await demo.pipeline["ingest"].child.stop()
