"""`python -m bench.catch_up`: time to catch up after two minutes without the store. The last line is JSON.

Then one camera's partition is replayed from its start, as after an operator's reset, and its effect on the
others measured.
"""

# aiokafka ships no types:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from bench import machine
from bench.district import District, running
from bench.report import write_results
from bench.runs import print_progress
from districam_common.contract import names
from districam_devkit.api_client import ApiClient
from districam_devkit.demo.latency import now_us, percentile
from districam_devkit.servers import ServerUnavailable

POLL_S = 0.25
MAX_STALENESS_S = 12.5
"""A camera is current if its newest footage is at most this old: a segment's 10 s and the time to store it."""
MAX_CATCH_UP_S = 600
OBSERVATION_S = 40.0
PARTITIONS, SEGMENT_S = 60, 10


@dataclass
class NewestFootage:
    """For each camera the end of its newest footage, and when a query first returned it. µs UTC."""

    ends_us: dict[str, int] = field(default_factory=dict[str, int])
    observations: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])

    async def watch(self, api: ApiClient) -> None:
        while True:
            with suppress(httpx.HTTPError):
                self._record(await api.streams())
            await asyncio.sleep(POLL_S)

    def _record(self, rows: list[dict[str, str]]) -> None:
        at_us = now_us()
        for row in rows:
            end = row.get("last_segment_end")
            end_us = round(datetime.fromisoformat(end).timestamp() * 1e6) if end else 0
            if end_us > self.ends_us.get(row["camera_id"], 0):
                self.ends_us[row["camera_id"]] = end_us
                self.observations.append((row["camera_id"], end_us, at_us))

    async def wait_until_current(self, cameras: int) -> None:
        """Waits until every camera is current."""
        async with asyncio.timeout(MAX_CATCH_UP_S):
            while not self._is_current(cameras):
                await asyncio.sleep(0.1)

    def _is_current(self, cameras: int) -> bool:
        at_us = now_us()
        return len(self.ends_us) == cameras and all(
            at_us - end_us < MAX_STALENESS_S * 1e6 for end_us in self.ends_us.values()
        )

    def late_ms(self, since_us: int, until_us: int, without: frozenset[str]) -> dict[str, float | None]:
        """Percentiles of the time from a segment's end until a query finds it."""
        ms = [
            (at_us - end_us) / 1000
            for camera_id, end_us, at_us in self.observations
            if since_us <= at_us < until_us and camera_id not in without
        ]
        return {name: percentile(ms, share) for name, share in (("p50", 0.5), ("p99", 0.99))}


async def bench(home: Path, cameras: int, away_s: float) -> dict[str, object]:
    """Runs both experiments on one district."""
    print_progress(f"starting {cameras} cameras, servers and services")
    async with running(home, cameras) as district, asyncio.TaskGroup() as tasks:
        newest = NewestFootage()
        watching = tasks.create_task(newest.watch(district.api))
        await newest.wait_until_current(cameras)
        print_progress(f"the store dies for {away_s:g} s")
        await district.servers.s3.kill()
        await asyncio.sleep(away_s)
        await district.servers.s3.restart()
        began_s = time.monotonic()
        await newest.wait_until_current(cameras)
        took_s = time.monotonic() - began_s
        print_progress(f"caught up in {took_s:.1f} s; replaying a partition")
        replay = await _replayed(district, newest)
        watching.cancel()
        sent = await district.sender.stop()
    return {
        "cameras": cameras,
        "away_s": away_s,
        "catch_up_s": round(took_s, 1),
        "times_real_time": round((away_s + took_s) / took_s, 1),
        **replay,
        "send_late_ms_p99": sent.late_ms_p99,
    }


async def _replayed(district: District, newest: NewestFootage) -> dict[str, object]:
    """Compares the other partitions' latency while one is replayed with that after a mere restart of the recorder."""
    ids, kafka = district.camera_ids, district.servers.kafka.bootstrap_servers
    partition = names.partition_of(ids[0], PARTITIONS)
    there = frozenset(one for one in ids if names.partition_of(one, PARTITIONS) == partition)
    steady = await _observe(newest, there)
    child = district.pipeline["recorder"].child
    await child.stop()
    await child.start()
    restarted = await _observe(newest, there)
    await child.stop()
    await _reset(kafka, partition)
    await child.start()
    replayed = await _observe(newest, there)
    stored = await district.pipeline["recorder"].metric("districam_recorder_segments_total")
    live = (len(ids) * OBSERVATION_S) / SEGMENT_S
    return {
        "replayed_segments": round(sum(stored.values()) - live),
        "others_end_to_queryable_ms": {"steady": steady, "restart": restarted, "restart_and_replay": replayed},
    }


async def _observe(newest: NewestFootage, ignored: frozenset[str]) -> dict[str, float | None]:
    since_us = now_us()
    await asyncio.sleep(OBSERVATION_S)
    return newest.late_ms(since_us, now_us(), ignored)


async def _reset(bootstrap_servers: str, partition: int) -> None:
    """Resets the recorder's committed offset of the partition to the start, without commit metadata."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=names.RECORDER_GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        whole = TopicPartition(names.FRAGMENTS, partition)
        consumer.assign([whole])
        await consumer.commit({whole: OffsetAndMetadata(0, "")})
    finally:
        await consumer.stop()


def main() -> int:
    parser = argparse.ArgumentParser("bench.catch_up", description=__doc__)
    parser.add_argument("--cameras", type=int, default=40)
    parser.add_argument("--away", type=float, default=120, help="seconds (default 120)")
    parser.add_argument("--results", type=Path, help="output folder")
    arguments = parser.parse_args()
    try:
        with TemporaryDirectory(prefix="districam-catch-up-") as home:
            figures = asyncio.run(bench(Path(home), arguments.cameras, arguments.away))
    except ServerUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    write_results(arguments.results, "catch-up", figures, machine.versions())
    return 0


if __name__ == "__main__":
    sys.exit(main())
