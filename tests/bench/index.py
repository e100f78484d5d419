"""`python -m bench.index`: queries over an index of 30 days of 102 cameras (or SEGMENTS), through the running api.

The last line is JSON. The store answers the api's read of the site marker, and counts all other requests.
"""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis

from bench import machine, report
from bench.synthetic import HOUR_SEGMENTS, IndexShape, S, commands, send
from districam_common.contract.names import DAY_US, HOUR_US, SITE_MARKER, format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import valkey
from support.api_process import ApiProcess, api_running

CAMERAS = 102
DAYS = 30
ROUNDS = 300
MONTH_ROUNDS = 40


@dataclass
class Store:
    """A bucket with nothing but its site marker."""

    url: str = ""
    requests: list[str] = field(default_factory=list[str])


@contextmanager
def store() -> Generator[Store]:
    """Yields a store that counts requests other than those for the marker."""
    seen = Store()
    body = json.dumps({"site": "local", "created": "2026-01-01T00:00:00Z", "schema": 1}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_marker = self.path.split("?")[0].endswith(SITE_MARKER)
            if not is_marker:
                seen.requests.append(self.path)
            self.send_response(200 if is_marker else 404)
            self.send_header("Content-Length", str(len(body) if is_marker else 0))
            self.end_headers()
            if is_marker:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # signature of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        seen.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join(10)


@asynccontextmanager
async def running_api(home: Path, shape: IndexShape) -> AsyncGenerator[tuple[ApiProcess, Store, float]]:
    """Runs the api over the synthetic index; also yields Valkey's memory per segment, overhead included."""
    with store() as s3:
        async with valkey.running(home, log_dir=home) as server, Redis.from_url(server.url) as redis:
            await redis.config_set("appendonly", "no")  # only memory is measured, so the disk is not needed
            empty = (await redis.info("memory"))["used_memory"]
            began_s = time.monotonic()
            await asyncio.to_thread(send, server.port, commands(shape))
            print_progress(f"index made in {time.monotonic() - began_s:.0f} s")
            count = shape.cameras * shape.hours * HOUR_SEGMENTS
            taken = ((await redis.info("memory"))["used_memory"] - empty) / count
            settings = S3Settings(endpoint=s3.url, access_key="x", secret_key=SecretStr("x"), bucket="bench")
            async with api_running(settings, server.url, home / "api.log") as api:
                yield api, s3, taken


def run_queries(api: ApiProcess, shape: IndexShape, rounds: int, months: int) -> dict[str, Any]:
    """One client that sends queries in sequence, with random cameras and times."""
    rng = random.Random(1)  # the same queries in each run
    days = shape.hours // 24 or 1

    def window(length_us: int, step_us: int, steps: int) -> dict[str, str]:
        from_us = shape.first_us + rng.randrange(steps) * step_us
        return {"from": format_rfc3339(from_us), "to": format_rfc3339(min(from_us + length_us, shape.end_us))}

    def camera() -> str:
        return f"/v1/cameras/{rng.choice(shape.camera_ids)}"

    with httpx.Client(base_url=api.url, timeout=60) as http:

        def ask(path: str, **params: str | int) -> httpx.Response:
            return http.get(path, params=params).raise_for_status()

        found = ask(f"{camera()}/timeline", **window(DAY_US, DAY_US, days)).json()
        assert {one["state"] for one in found["states"]} == {"recorded", "gap"}, found["states"][:3]
        month = {"from": format_rfc3339(shape.first_us), "to": format_rfc3339(shape.end_us), "limit": 1000}
        instant = lambda: format_rfc3339(shape.first_us + rng.randrange(shape.hours * 3600) * S)  # noqa: E731
        return {
            "day_timeline_ms": spread(api, lambda: ask(f"{camera()}/timeline", **window(DAY_US, DAY_US, days)), rounds),
            "hour_playlist_ms": spread(
                api, lambda: ask(f"{camera()}/playlist.m3u8", **window(HOUR_US, HOUR_US, shape.hours)), rounds
            ),
            "coverage_at_ms": spread(api, lambda: ask("/v1/coverage", at=instant(), limit=1000), rounds),
            "month_coverage_ms": spread(api, lambda: ask("/v1/coverage", **month), months),
        }


def spread(api: ApiProcess, request: Callable[[], object], rounds: int) -> dict[str, float]:
    """Percentiles of latency in ms; the api's CPU time per response, which other load does not affect.

    A few warm-up responses are discarded.
    """
    for _ in range(5):
        request()
    times: list[float] = []
    before = machine.cpu([api.process.pid])
    for _ in range(rounds):
        began_s = time.perf_counter()
        request()
        times.append((time.perf_counter() - began_s) * 1e3)
    cpu_s = machine.cpu([api.process.pid]).cpu_s - before.cpu_s
    cuts = quantiles(times, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "cpu": round(cpu_s / rounds * 1e3, 1)}


def shape_of(segments: int | None, cameras: int = CAMERAS) -> IndexShape:
    """The shape with this many cameras and as many whole hours as `segments` needs; at least a day."""
    hours = DAYS * 24 if segments is None else max(24, segments // (cameras * HOUR_SEGMENTS))
    now_us = time.time_ns() // 1000
    return IndexShape(cameras, (now_us // DAY_US - hours // 24 - 1) * DAY_US, hours)


def print_progress(line: str) -> None:
    """Prints progress to standard error."""
    print(line, file=sys.stderr, flush=True)


async def main(
    results: Path | None, segments: int | None, rounds: int = ROUNDS, months: int = MONTH_ROUNDS, cameras: int = CAMERAS
) -> dict[str, Any]:
    shape = shape_of(segments, cameras)
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running_api(Path(home), shape) as (api, s3, taken):
            times = await asyncio.to_thread(run_queries, api, shape, rounds, months)
            figures = {
                "segments": shape.cameras * shape.hours * HOUR_SEGMENTS,
                "bytes_per_segment": round(taken, 1),
                **times,
                "s3_calls": len(s3.requests),
            }
    report.write_results(results, "index", figures, {"cameras": shape.cameras, "hours": shape.hours, "rounds": rounds})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.index", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    wanted = os.environ.get("SEGMENTS")
    asyncio.run(main(parser.parse_args().results, int(wanted) if wanted else None))
