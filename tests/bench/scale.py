"""`python -m bench.scale`: indexer and api over thirty days of 1,000 and of 10,000 cameras (or CAMERAS). JSON last.

The index is synthetic (`bench.thirty_days`): one segment per hour in place of 360, as if written by a version
that did not count segments. Kafka, SeaweedFS, Valkey, the services and the announcements are real: a segment
of each camera every ten seconds. The bucket has holds but no footage, so expired segments are dropped from
the index and not deleted.

Event loop lag is the CPU time of the loop's thread between two samples (`bench.loop_lag_probe`), an upper
bound of the longest callback.
"""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis

from bench import machine, report
from bench.archive import make_topics, print_progress, put
from bench.synthetic import send
from bench.thirty_days import EVENTS, HOUR_BYTES, Month, S, commands, record
from districam_common.contract import names, wire
from districam_common.contract.events import SegmentStored
from districam_common.contract.index_entry import IndexEntry
from districam_common.kafka.consumer import KafkaInspector
from districam_common.kafka.producer import Publisher
from districam_common.ledger.holds import Hold
from districam_common.runtime.settings import KafkaSettings, S3Settings
from districam_common.s3.hold_store import HoldStore
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_devkit.servers import kafka, ports, seaweedfs, valkey
from districam_devkit.servers.process import dies_with_parent
from support.api_process import service_environment

CAMERAS = (1000, 10_000)
DAYS = 30
HOLDS = 20
ROUNDS = 20
SECONDS = 120
DUE_CAMERAS = 200
"""Cameras that keep thirty days and have one hour more; the others keep one day longer."""
SEGMENT_S = 10
_LONGEST_S = 2400.0
_STOP_S = 30


@dataclass(frozen=True)
class Servers:
    """The servers and their addresses."""

    kafka: KafkaSettings
    s3: S3Settings
    redis_url: str
    redis: Redis
    redis_port: int
    home: Path

    def environment(self) -> dict[str, str]:
        return {
            **service_environment(self.s3, self.redis_url),
            "DISTRICAM_S3__TIMEOUT_S": "15",
            "DISTRICAM_REDIS__TIMEOUT_S": "15",
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
        }


@dataclass
class MeasuredService:
    """A process under `bench.loop_lag_probe`."""

    child: subprocess.Popen[bytes]
    lag_file: Path
    health_url: str
    url: str
    log: Path
    measured_since: float = field(default_factory=time.time)

    def max_lag_ms(self) -> int:
        """Longest blocking of its loop since it was ready, ms."""
        return max((line["cpu_ms"] for line in self._lines() if line["at"] >= self.measured_since), default=0)

    def count_over(self, ms: int) -> int:
        """How many times the loop was blocked longer than `ms`."""
        return sum(line["cpu_ms"] > ms for line in self._lines() if line["at"] >= self.measured_since)

    def max_lag_sample(self) -> Mapping[str, Any]:
        """The longest sample, with the loop's stack."""
        lines = [line for line in self._lines() if line["at"] >= self.measured_since]
        return max(lines, key=lambda line: line["cpu_ms"], default=dict[str, Any]())

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lag_file.read_text().splitlines()] if self.lag_file.exists() else []


@asynccontextmanager
async def servers(home: Path, month: Month) -> AsyncGenerator[Servers]:
    """Runs the servers with the cameras' records, the index and holds."""
    async with (
        kafka.running(home / "kafka", log_dir=home) as broker,
        seaweedfs.running(home / "s3", log_dir=home) as store,
        valkey.running(home / "redis", log_dir=home) as server,
        Redis.from_url(server.url, socket_timeout=600) as redis,
    ):
        s3 = S3Settings(
            endpoint=store.url, access_key=store.access_key, secret_key=SecretStr(store.secret_key), bucket="bench"
        )
        made = Servers(
            KafkaSettings(bootstrap_servers=broker.bootstrap_servers), s3, server.url, redis, server.port, home
        )
        await redis.config_set("appendonly", "no")
        await redis.config_set("save", "")
        began_s = time.monotonic()
        await asyncio.to_thread(send, server.port, commands(month))
        print_progress(f"index of {month.keys} keys made in {time.monotonic() - began_s:.0f} s")
        await make_topics(made.kafka)
        await _publish_initial_state(made, month)
        yield made


async def _publish_initial_state(site: Servers, month: Month) -> None:
    """Writes the initial state of Kafka and the bucket: cameras' records, end offsets, holds."""
    every = max(1, month.cameras // DUE_CAMERAS)
    async with Publisher.open(site.kafka, "bench") as publisher:
        for some in _chunks(list(enumerate(month.camera_ids)), 500):
            async with asyncio.TaskGroup() as tasks:
                for n, camera_id in some:
                    one = record(camera_id, month, DAYS if n % every == 0 else DAYS + 1)
                    tasks.create_task(publisher.publish(names.CAMERAS, wire.camera_message(one, site="local")))
    async with KafkaInspector.open(site.kafka, client_id="bench") as groups:
        for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION):
            for place, end in (await groups.end_offsets(await groups.partitions(topic))).items():
                await site.redis.hset(names.APPLIED, f"{place.topic}:{place.number}", str(end))
    async with VersionedBucket.open(site.s3) as bucket:
        await bucket.create_bucket(object_lock=True)
        marker = json.dumps({"site": "local", "created": "", "schema": 1}).encode()
        await put(bucket, names.SITE_MARKER, marker)
        for camera_id in month.camera_ids[:HOLDS]:
            hold = Hold(
                id=secrets.token_hex(8), camera_id=camera_id, from_us=month.first_us, to_us=month.first_us + names.HOUR_US,
                reason="bench", placed_by="bench", placed_us=month.now_us,
            )  # fmt: skip
            await HoldStore(bucket).place(hold)


@contextmanager
def service(site: Servers, name: str, **settings: str) -> Generator[MeasuredService]:
    """Runs a service; stops it at the end of the block, and kills it if it does not stop in time."""
    port, health_port = ports.pick_free_ports(2)
    beats, log = site.home / f"{name}.beats", site.home / f"{name}.log"
    environment = {
        **os.environ, **site.environment(), **settings, "BEATS": str(beats), "DISTRICAM_HEALTH__PORT": str(health_port),
        **({"DISTRICAM_API__PORT": str(port)} if name == "api" else {}),
    }  # fmt: skip
    with log.open("wb") as out:
        child = subprocess.Popen(
            dies_with_parent(sys.executable, "-m", "bench.loop_lag_probe", f"districam_{name}", "run"),
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield MeasuredService(child, beats, f"http://127.0.0.1:{health_port}", f"http://127.0.0.1:{port}", log)
    finally:
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(_STOP_S)


async def ready(one: MeasuredService) -> None:
    """Waits until it is ready; only what follows is measured."""
    async with asyncio.timeout(120), httpx.AsyncClient() as http:
        while True:
            assert one.child.poll() is None, one.log.read_text()[-3000:]
            try:
                if (await http.get(f"{one.health_url}/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
    one.measured_since = time.time()


async def metrics(one: MeasuredService) -> dict[str, float]:
    async with httpx.AsyncClient(timeout=60) as http:
        lines = (await http.get(f"{one.health_url}/metrics")).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def measure_route(api: MeasuredService, path: str, rounds: int, **params: str | int) -> dict[str, float]:
    """Milliseconds of the first response, median and slowest of the others; the api's CPU time per response."""
    times: list[float] = []
    before = machine.cpu([api.child.pid])
    async with httpx.AsyncClient(base_url=api.url, timeout=120) as http:
        for _ in range(rounds + 1):
            began_s = time.perf_counter()
            (await http.get(path, params=params)).raise_for_status()
            times.append((time.perf_counter() - began_s) * 1e3)
            if len(times) == 1:
                before = machine.cpu([api.child.pid])
    cpu_ms = (machine.cpu([api.child.pid]).cpu_s - before.cpu_s) / rounds * 1e3
    return {
        "cpu": round(cpu_ms),
        "first": round(times[0]),
        "median": round(median(times[1:])),
        "most": round(max(times[1:])),
    }


async def announce(made: Servers, month: Month, until: asyncio.Event) -> None:
    """Announces a segment of each camera every ten seconds, covering the previous ten seconds."""
    number = 0
    async with Publisher.open(made.kafka, "bench") as publisher:
        while not until.is_set():
            began_s, now_us = time.monotonic(), time.time_ns() // 1000
            for some in _chunks(month.camera_ids, 200):
                async with asyncio.TaskGroup() as tasks:
                    for camera_id in some:
                        message = wire.stored_message(_stored(camera_id, number, now_us), site="local")
                        tasks.create_task(publisher.publish(names.SEGMENTS, message))
            for partition in range(60):
                await made.redis.hset(names.WATERMARKS, str(partition), str(now_us))
            number += 1
            await asyncio.sleep(max(0.0, SEGMENT_S - (time.monotonic() - began_s)))


def _stored(camera_id: str, number: int, now_us: int) -> SegmentStored:
    start_us = now_us - SEGMENT_S * S
    entry = IndexEntry(
        epoch="01900000-0000-7000-8000-0000000000cc", first_seq=5 * number, last_seq=5 * number + 4, start_us=start_us,
        end_us=now_us, bytes=5_000_000, init_bytes=900, flags=1,
    )  # fmt: skip
    return SegmentStored(
        camera_id=camera_id, epoch=entry.epoch, first_seq=entry.first_seq, last_seq=entry.last_seq, start_us=start_us,
        end_us=now_us, bytes=entry.bytes, init_bytes=900, access_units=250, lost_packets=0, damaged=0, codecs="avc1.640028",
        width=1920, height=1080, starts_with_keyframe=True, bucket="bench", key=names.segment_object_key(camera_id, entry),
        sha256="0" * 64, camera_start_us=None,
    )  # fmt: skip


async def measure_all_late(api: MeasuredService, month: Month) -> dict[str, Any]:
    """No segment was announced for most of an hour: the last segment's duration has to be looked up for each camera."""
    return {
        "streams_all_late_ms": await measure_route(api, "/v1/streams", ROUNDS),
        "search_ms": await measure_route(api, "/v1/cameras", ROUNDS, q="nga tu 00042"),
        "coverage_at_ms": await measure_route(
            api, "/v1/coverage", ROUNDS, at=names.format_rfc3339(month.first_us), limit=1000
        ),
    }


async def measure_rounds(indexer: MeasuredService, api: MeasuredService, seconds: float) -> dict[str, Any]:
    """Waits `seconds`, and until each loop has completed a round without new work."""
    before = machine.cpu([indexer.child.pid])
    rounds: dict[str, list[float]] = {"gauges": [], "retention": [], "holds": []}
    began_s = time.monotonic()
    streams: list[float] = []
    # A new connection for each request: the api closes idle ones.
    async with httpx.AsyncClient(base_url=api.url, timeout=120, headers={"Connection": "close"}) as http:
        while time.monotonic() - began_s < seconds or not all(len(one) > 2 for one in rounds.values()):
            assert time.monotonic() - began_s < _LONGEST_S, (rounds, indexer.log.read_text()[-3000:])
            assert indexer.child.poll() is None, indexer.log.read_text()[-3000:]
            found = await metrics(indexer)
            for name, seen in rounds.items():
                took_s = found.get(f'districam_indexer_round_seconds{{loop="{name}"}}')
                if took_s is not None and took_s not in seen:
                    seen.append(took_s)
            request_started_s = time.perf_counter()
            (await http.get("/v1/streams")).raise_for_status()
            streams.append((time.perf_counter() - request_started_s) * 1e3)
            await asyncio.sleep(1.0)
    cpu_s = machine.cpu([indexer.child.pid]).cpu_s - before.cpu_s
    print_progress(f"rounds, seconds: {rounds}")
    return {
        "indexer_cores": round(cpu_s / (time.monotonic() - began_s), 2),
        "streams_while_recording_ms": {"median": round(median(streams)), "most": round(max(streams))},
        **{
            f"{name}_round_s": {"first": round(s[0], 1), "median": round(median(s[1:]), 2)}
            for name, s in rounds.items()
        },
    }


def _chunks(items: list[Any], size: int) -> Generator[list[Any]]:
    return (items[n : n + size] for n in range(0, len(items), size))


async def measure_services(site: Servers, month: Month, seconds: float) -> dict[str, Any]:
    budget = str((month.hours * month.cameras - DUE_CAMERAS) * HOUR_BYTES)
    done = asyncio.Event()
    with service(site, "api") as api:
        await ready(api)
        figures = await measure_all_late(api, month)
        print_progress(f"all late: {figures}")
        with service(
            site, "indexer", DISTRICAM_STORAGE__MAX_BYTES=budget, DISTRICAM_INDEXER__RETENTION_S="10"
        ) as indexer:
            await ready(indexer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(announce(site, month, done))
                try:
                    figures |= await measure_rounds(indexer, api, seconds)
                finally:
                    done.set()
            totals = await site.redis.hgetall(names.USAGE)
            figures |= {
                "kept_ms": {"indexer": indexer.max_lag_ms(), "api": api.max_lag_ms()},
                "kept_over_250_ms": {"indexer": indexer.count_over(250), "api": api.count_over(250)},
                "counted_s": _logged_seconds(indexer, "hours counted"),
                "over_budget_gb": round((sum(map(int, totals.values())) - int(budget)) / 1e9),
            }
            print_progress(f"indexer: {indexer.max_lag_sample()}\napi: {api.max_lag_sample()}")
    return figures


def _logged_seconds(one: MeasuredService, event: str) -> float:
    lines = [json.loads(line) for line in one.log.read_text().splitlines() if line.startswith("{")]
    return next(line["seconds"] for line in lines if line.get("event") == event)


async def main(results: Path | None, sizes: Sequence[int], seconds: float = SECONDS) -> dict[str, Any]:
    """Runs each size separately."""
    figures: dict[str, Any] = {}
    for cameras in sizes:
        month = Month(cameras, DAYS * 24 + 1, time.time_ns() // 1000)
        with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
            async with servers(Path(home), month) as made:
                taken = (await made.redis.info("memory"))["used_memory"]
                found = {"keys": month.keys, "valkey_gb": round(taken / 1e9, 1)}
                figures[f"{cameras} cameras"] = found | await measure_services(made, month, seconds)
    of = {"days": DAYS, "segments_an_hour": 1, "events_a_camera": EVENTS, "holds": HOLDS, "due_hours": DUE_CAMERAS}
    report.write_results(results, "scale", figures, of)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    parser.add_argument("--cameras", type=int, nargs="+", default=CAMERAS, help="one run for each number")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="minimum duration of the measurement")
    args = parser.parse_args()
    asyncio.run(main(args.results, args.cameras, args.seconds))
