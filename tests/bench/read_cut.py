"""`python -m bench.read_cut URL…`: ingest with its native reader, but fragments and stills are discarded.

Prints the number of access units in the fragments when standard input ends.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field

import uvloop

from districam_common.contract.events import Camera, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.mp4 import boxes as mp4
from districam_common.runtime import logs
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import LogSettings
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.fleet.camera_worker import CameraWorker
from districam_ingest.output.stills import StillRequest
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.settings import IngestSettings
from support.camera_context import make_context


@dataclass
class DiscardingSink:
    """Counts and discards fragments, events and stills."""

    access_units: int = 0
    host_clock: HostClock = field(default_factory=HostClock)

    def has_room(self, size_bytes: int) -> bool:
        return size_bytes > 0

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        return delta_bytes < 1 << 30

    def put_fragment(self, fragment: Fragment) -> None:
        self.access_units += fragment.info.access_units
        if fragment.info.seq == 0:
            mp4.init_of(fragment.value)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        """Discards the event."""

    def submit(self, request: StillRequest) -> None:
        """Discards the request."""


async def read_and_cut(urls: list[str]) -> int:
    """Runs until standard input ends."""
    clock, sink, settings = SystemClock(), DiscardingSink(), IngestSettings()
    sink.host_clock.feed_host_time(clock.now_us(), clock.monotonic_us())
    reader = NativeReader(clock, open_s=settings.open_s, read_s=settings.silence_s + 2)
    context = make_context(sink, reader=reader, stills=sink, clock=clock, settings=settings, instance="bench")
    cameras = [Camera(camera_id=url.rpartition("/")[2], name="x", url=url) for url in urls]
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(context.stall_detector.run())]
        running += [tasks.create_task(CameraWorker(camera, context).run()) for camera in cameras]
        await loop.run_in_executor(None, sys.stdin.read)
        for task in running:
            task.cancel()
    return sink.access_units


if __name__ == "__main__":
    logs.configure(LogSettings(level="warning"), service="bench", instance="bench")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps({"units": runner.run(read_and_cut(sys.argv[1:]))}), flush=True)
