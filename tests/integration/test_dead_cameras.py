"""Dead cameras do not delay healthy ones, however many there are."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from districam_common.contract.events import Camera, Connected, Refused, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.runtime.clock import SystemClock
from districam_devkit.simcam import Generated, SimCamera, Simulation, running
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.recording.camera_context import CameraContext
from districam_ingest.settings import IngestSettings
from support.camera_context import make_context
from support.fake_send_queue import FakeSendQueue

pytestmark = [pytest.mark.timeout(120), pytest.mark.correctness]

DEAD, HEALTHY = 300, ("cam-a", "cam-b", "cam-c")
SOONER = 5
"""Factor by which timeouts and backoffs are shortened: the share of time spent connecting stays the same."""
LATER_S = 2.0
SETTINGS = IngestSettings(open_s=10 / SOONER, retry_most_s=30 / SOONER)
SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.4, bitrate=150_000)


@dataclass
class EventRecorder(FakeSendQueue):
    """Events with the time of their publication."""

    connected: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    refused: set[str] = field(default_factory=set[str])

    def put_fragment(self, fragment: Fragment) -> None:
        """Discards the fragment."""

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        if isinstance(event, Refused):
            self.refused.add(camera_id)
        if isinstance(event, Connected):
            self.connected.setdefault(camera_id, []).append(time.monotonic())


@contextmanager
def silent() -> Generator[str]:
    """A camera that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as one:
        yield f"rtsp://127.0.0.1:{one.getsockname()[1]}/x"


@contextmanager
def absent() -> Generator[str]:
    """A camera without any response: the listener's backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as one:
        callers: list[socket.socket] = []
        try:
            while not callers or not _waits(callers[-1]):
                assert len(callers) < 10, "this system takes more than it was asked to"
                callers.append(socket.socket())
                callers[-1].settimeout(0.3)
                callers[-1].connect_ex(one.getsockname())
            yield f"rtsp://127.0.0.1:{one.getsockname()[1]}/x"
        finally:
            for caller in callers:
                caller.close()


def _waits(caller: socket.socket) -> bool:
    try:
        caller.getpeername()
    except OSError:
        return True
    return False


async def until(what: Callable[[], bool], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)


async def back_s(simulation: Simulation, recorded: EventRecorder) -> float:
    """Seconds until the slowest healthy camera is recorded again after all connections were dropped."""
    before = {name: len(recorded.connected[name]) for name in HEALTHY}
    for name in HEALTHY:
        assert simulation.drop(name)
    began = time.monotonic()
    await until(lambda: all(len(recorded.connected[name]) > before[name] for name in HEALTHY))
    return max(recorded.connected[name][-1] for name in HEALTHY) - began


@asynccontextmanager
async def living(cameras: dict[str, str], around: CameraContext) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        lives = [
            tasks.create_task(CameraWorker(Camera(camera_id=name, name="x", url=url), around).run())
            for name, url in cameras.items()
        ]
        yield
        for life in lives:
            life.cancel()


async def test_300_dead_cameras_do_not_delay_healthy_ones():
    """Half of them accept connections and send nothing, half do not respond at all."""
    clock, recorded = SystemClock(), EventRecorder()
    recorded.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    reader = NativeReader(clock, open_s=SETTINGS.open_s, read_s=SETTINGS.silence_s + 2)
    around = make_context(recorded, reader=reader, stills=recorded, clock=clock, settings=SETTINGS)
    soon = SETTINGS.model_copy(
        update={"retry_most_s": SETTINGS.retry_first_s}
    )  # each connection of theirs is a short one
    async with (
        running([SimCamera(name, SMALL) for name in HEALTHY]) as simulation,
        living({name: simulation.url(name) for name in HEALTHY}, replace(around, settings=soon)),
    ):
        await until(lambda: recorded.connected.keys() == set(HEALTHY))
        alone_s = await back_s(simulation, recorded)
        with silent() as one, absent() as other:
            dead = {f"dead-{n}": one if n % 2 else other for n in range(DEAD)}
            async with living(dead, around):
                await until(lambda: recorded.refused >= dead.keys())
                with_dead_s = [await back_s(simulation, recorded) for _ in range(3)]
    print(f"{alone_s:.2f} s alone, {max(with_dead_s):.2f} s at most with {DEAD} dead ones")
    assert max(with_dead_s) <= alone_s + LATER_S
