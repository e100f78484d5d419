"""`python -m bench.district`: a whole district on this machine, all components included. The last line is JSON.

Cameras of 1080p25 H.264 with 2 Mbit/s and a GOP of 2 s over TCP, Kafka, the store, Redis and the four
services with default settings, a still every 4 s. Every sent picture is looked up in the stored and indexed
segments.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import kafka_log, machine
from bench.report import write_results
from bench.runs import MAX_LATE_MS, print_progress
from bench.sender import FULL, Sender, SenderTotals, running_sender
from districam_common.contract import names, wire
from districam_common.contract.events import SegmentStored
from districam_common.kafka.topic_reader import TopicReader
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.api_client import ApiClient, open_api_client
from districam_devkit.demo.latency import ListingTimes, now_us, percentile
from districam_devkit.demo.report import wait_until_settled
from districam_devkit.pipeline import Pipeline, prepare, services_running
from districam_devkit.servers import Servers, ServerUnavailable, all_running

TIMED_CAMERAS = 4
"""Number of cameras whose segments' latency is measured, by polling ten times a second."""
FPS = 25
WARMUP_S = 15.0
SETTINGS = {"DISTRICAM_API__SETTLE_S": "5", "DISTRICAM_RECORDER__CONTACT_S": "3"}
"""Makes gaps final sooner, so that the count need not wait for two minutes."""


@dataclass(frozen=True, slots=True)
class District:
    """The running district."""

    servers: Servers
    pipeline: Pipeline
    api: ApiClient
    sender: Sender
    camera_ids: list[str]

    def pids(self) -> dict[str, int]:
        children = {
            "kafka": self.servers.kafka.child,
            "s3": self.servers.s3.child,
            "redis": self.servers.redis.child,
            **{name: service.child for name, service in self.pipeline.services.items()},
        }
        found = {name: child.pid for name, child in children.items() if child.pid is not None}
        return {**found, "cameras": self.sender.pid}


@asynccontextmanager
async def running(home: Path, cameras: int) -> AsyncGenerator[District]:
    """Yields a district whose cameras are being recorded."""
    ids = [f"cam-{number:03d}" for number in range(1, cameras + 1)]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        sender = await stack.enter_async_context(running_sender(FULL))
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        kafka = KafkaSettings(bootstrap_servers=servers.kafka.bootstrap_servers)
        records = [replace(one, reader="auto") for one in kafka_log.records(sender, ids, reader="native", still_s=4)]
        await stack.enter_async_context(kafka_log.published_cameras(kafka, records))
        api = await stack.enter_async_context(open_api_client(pipeline.api_url, timeout_s=30))
        await sender.wait_for_clients(cameras)
        yield District(servers, pipeline, api, sender, ids)


async def bench(home: Path, cameras: int, duration_s: float) -> dict[str, object]:
    """Runs the district; returns the figures."""
    print_progress(f"starting {cameras} cameras, servers and services")
    async with running(home, cameras) as district:
        await asyncio.sleep(WARMUP_S)
        began_us, pids = now_us(), district.pids()
        await district.sender.reset_lateness()
        before = {name: machine.cpu([pid]) for name, pid in pids.items()}
        listing_times = ListingTimes(district.api)
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(listing_times.run(district.camera_ids[:: max(1, cameras // TIMED_CAMERAS)]))
            await asyncio.sleep(duration_s)
            after = {name: machine.cpu([pid]) for name, pid in pids.items()}
            weights = {name: round(machine.pss_mb([pid]), 1) for name, pid in pids.items()}
            ended_us = now_us()
            print_progress("stopping the cameras")
            sent = await district.sender.stop()
            await asyncio.sleep(15)
            polling.cancel()
        used = {name: round(after[name].cpu_s - before[name].cpu_s, 1) for name in pids}
        counted = await _count_pictures(district, began_us, sent)
        return {
            "cameras": cameras,
            "seconds": round((ended_us - began_us) / 1e6, 1),
            "mbit_s": round(sent.bytes * 8e-6 / (sum(sent.units.values()) / FPS) * cameras, 1),
            "send_late_ms_p99": sent.late_ms_p99,
            **counted,
            **_latencies(listing_times.listed_us, began_us),
            "processes": {name: {"cpu_s": used[name], "rss_mb": weights[name]} for name in pids},
        }


async def _count_pictures(district: District, began_us: int, sent: SenderTotals) -> dict[str, object]:
    """Compares the sent pictures with those the index finds, once nothing is pending."""
    day_us = 86_400_000_000
    windows = {one: (began_us, now_us() - 1_000_000) for one in district.camera_ids}
    states = await wait_until_settled(district.api, windows)
    announced = await _announced(district)
    stored = 0
    for camera_id in district.camera_ids:
        listed = await district.api.segments(camera_id, began_us - day_us, began_us + day_us)
        stored += sum(announced[one.key].access_units for one in listed)
    gap_s: dict[str, float] = {}
    for answer in states.values():
        last_us = max((state.to_us for state in answer if state.state == "recorded"), default=0)
        for state in answer:
            if state.state == "gap" and state.to_us <= last_us:  # a gap after the last picture is the cameras' end
                gap_s[state.cause] = gap_s.get(state.cause, 0.0) + (state.to_us - state.from_us) / 1e6
    units = sum(sent.units.values())
    shed = await district.pipeline["ingest"].metric("districam_ingest_shed_access_units_total")
    return {
        "units_sent": units,
        "units_stored": stored,
        "shed": round(sum(shed.values())),
        "gap_s": {cause: round(seconds, 2) for cause, seconds in gap_s.items()},
        "unaccounted": max(0, units - stored - round(sum(gap_s.values()) * FPS)),
    }


async def _announced(district: District) -> Mapping[str, SegmentStored]:
    kafka = KafkaSettings(bootstrap_servers=district.servers.kafka.bootstrap_servers)
    out: dict[str, SegmentStored] = {}
    async with TopicReader.open(kafka, [names.SEGMENTS]) as reader:
        for record in await reader.read_all():
            stored = wire.decode_stored(record.key, record.headers, record.value)
            out[stored.key] = stored
    return out


def _latencies(listed_us: Mapping[str, int], since_us: int) -> dict[str, object]:
    """Percentiles from a segment's first picture, and from its end, until a query lists it."""
    capture: list[float] = []
    end: list[float] = []
    for key, at_us in listed_us.items():
        entry = names.parse_segment_object_key(key, 1).entry
        if entry.start_us >= since_us:
            capture.append((at_us - entry.start_us) / 1000)
            end.append((at_us - entry.end_us) / 1000)
    shares = (("p50", 0.5), ("p99", 0.99))
    return {
        "segments_timed": len(capture),
        "capture_to_queryable_ms": {name: percentile(capture, share) for name, share in shares},
        "end_to_queryable_ms": {name: percentile(end, share) for name, share in shares},
    }


def main() -> int:
    parser = argparse.ArgumentParser("bench.district", description=__doc__)
    parser.add_argument("--duration", type=float, default=300, help="seconds (default 300)")
    parser.add_argument("--cameras", type=int, default=102)
    parser.add_argument("--results", type=Path, help="output folder")
    arguments = parser.parse_args()
    try:
        with TemporaryDirectory(prefix="districam-district-") as home:
            figures = asyncio.run(bench(Path(home), arguments.cameras, arguments.duration))
    except ServerUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    write_results(arguments.results, "district", figures, {"asked_s": arguments.duration, **machine.versions()})
    late = int(str(figures["send_late_ms_p99"]))
    if late > MAX_LATE_MS:
        print_progress(f"void: the cameras were {late} ms late at p99; this machine cannot carry so many")
    return 1 if late > MAX_LATE_MS or figures["shed"] or figures["unaccounted"] else 0


if __name__ == "__main__":
    sys.exit(main())
