"""`python -m bench.clip`: a long clip through the api, compared with reading the same objects from the store.

One client reads both alternately; the ratio is the median over the rounds. In between it reads the same
objects through a server that forwards them unchanged (`bench.passthrough`), the upper bound on this machine.
The last line of output is JSON.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import urllib3
from minio import Minio

from bench import report
from bench.site import Site, running
from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339
from districam_common.s3.blobs import create_client, create_connection_pool
from districam_devkit.servers import ports
from support.api_process import service_environment

ROUNDS = 5
_READ_BYTES = 256 << 10
_CAMERA = Camera(camera_id="cam-1", name="Ngã tư", url="rtsp://10.0.0.1/1")
_RSS_INTERVAL_S = 0.1
_START_S = 60.0
_NO_INDEX = "redis://127.0.0.1:1/0"


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds per GB, by process; `server`: the api, or the server in its place."""

    store: float
    server: float
    client: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over all the footage by one way."""

    mb_s: float
    cpu: Cpu


@dataclass(frozen=True, slots=True)
class Round:
    """One reading by each way."""

    raw: Reading
    passthrough: Reading
    clip: Reading
    first_byte_ms: float
    max_rss_mb: float


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the rounds; memory: the api's peak while sending minus that before the first clip."""

    clip_mb_s: float
    raw_mb_s: float
    ratio: float
    first_byte_ms: float
    rss_growth_mb: float
    passed_mb_s: float
    passed_ratio: float
    raw_cpu_s_gb: Cpu
    passed_cpu_s_gb: Cpu
    clip_cpu_s_gb: Cpu


def result(rounds: Sequence[Round], before_mb: float) -> Result:
    """Aggregates the rounds."""
    return Result(
        clip_mb_s=round(median(one.clip.mb_s for one in rounds), 1),
        raw_mb_s=round(median(one.raw.mb_s for one in rounds), 1),
        ratio=round(median(one.clip.mb_s / one.raw.mb_s for one in rounds), 3),
        first_byte_ms=round(median(one.first_byte_ms for one in rounds), 1),
        rss_growth_mb=round(max(one.max_rss_mb for one in rounds) - before_mb, 1),
        passed_mb_s=round(median(one.passthrough.mb_s for one in rounds), 1),
        passed_ratio=round(median(one.passthrough.mb_s / one.raw.mb_s for one in rounds), 3),
        raw_cpu_s_gb=_medians([one.raw.cpu for one in rounds]),
        passed_cpu_s_gb=_medians([one.passthrough.cpu for one in rounds]),
        clip_cpu_s_gb=_medians([one.clip.cpu for one in rounds]),
    )


def _medians(all_: Sequence[Cpu]) -> Cpu:
    return Cpu(
        *(round(median(column), 2) for column in zip(*((c.store, c.server, c.client) for c in all_), strict=True))
    )


class _Meter:
    """Measures time and CPU since its creation; `server` may be None."""

    def __init__(self, site: Site, server: int | None) -> None:
        self._pids = (site.store, server, os.getpid())
        self._began_s, self._before = time.perf_counter(), [_cpu_s(pid) for pid in self._pids]

    def read(self, size: int) -> Reading:
        """Returns the cost of reading `size` bytes."""
        length_s, gb = time.perf_counter() - self._began_s, size / 1e9
        used = [(_cpu_s(pid) - before) / gb for pid, before in zip(self._pids, self._before, strict=True)]
        return Reading(size / 1e6 / length_s, Cpu(*used))


def _cpu_s(pid: int | None) -> float:
    """CPU time of all threads of the process (proc(5), `stat`)."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_from_store(site: Site, store: Minio) -> Reading:
    """Reads every object in turn over one connection."""
    size, meter = 0, _Meter(site, None)
    for key in site.keys:
        answer = store.get_object(site.s3.bucket, key)
        size += sum(map(len, answer.stream(_READ_BYTES)))
        answer.release_conn()
    return meter.read(size)


def _read_passthrough(site: Site, pool: urllib3.PoolManager, passing: "_Passthrough") -> Reading:
    """Reads the same objects through the passthrough server."""
    meter = _Meter(site, passing.pid)
    answer = pool.request("GET", passing.url, preload_content=False)
    size = sum(map(len, answer.stream(_READ_BYTES)))
    answer.release_conn()
    assert size >= site.bytes, f"{size} of {site.bytes} bytes"
    return meter.read(size)


def _clip(site: Site, pool: urllib3.PoolManager) -> tuple[Reading, float, float]:
    """Reads them as a clip; also returns ms until the first byte and the api's peak memory in MB."""
    window = {"from": format_rfc3339(site.start_us), "to": format_rfc3339(site.end_us)}
    meter, began_s = _Meter(site, site.api.process.pid), time.perf_counter()
    answer = pool.request(
        "GET", f"{site.api.url}/v1/cameras/{site.camera_id}/clip.mp4", fields=window, preload_content=False
    )
    assert answer.status == 200, answer.read()
    size, first_s, sampled_s, max_rss_bytes = 0, 0.0, began_s, 0
    for piece in answer.stream(_READ_BYTES):
        now_s = time.perf_counter()
        first_s = first_s or now_s - began_s
        size += len(piece)
        if now_s - sampled_s > _RSS_INTERVAL_S:
            sampled_s, max_rss_bytes = now_s, max(max_rss_bytes, site.api.rss_bytes())
    answer.release_conn()
    assert size >= site.bytes, f"{size} of {site.bytes} bytes"
    read = meter.read(size)
    return read, first_s * 1e3, max(max_rss_bytes, site.api.rss_bytes()) / 1e6


@dataclass(frozen=True, slots=True)
class _Passthrough:
    pid: int
    url: str


@asynccontextmanager
async def _running_passthrough(site: Site, home: Path) -> AsyncGenerator[_Passthrough]:
    (port,) = ports.pick_free_ports(1)
    keys = home / "keys"
    keys.write_text("\n".join(site.keys), encoding="utf-8")
    environment = {**os.environ, **service_environment(site.s3, _NO_INDEX)}
    process = subprocess.Popen([sys.executable, "-m", "bench.passthrough", str(port), str(keys)], env=environment)
    try:
        async with asyncio.timeout(_START_S):
            while not await _is_open(port):
                assert process.poll() is None, "bench.passthrough has ended"
                await asyncio.sleep(0.05)
        yield _Passthrough(process.pid, f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 15)


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def run_rounds(site: Site, passing: _Passthrough, rounds: int) -> Result:
    """Reads in rounds, after one warm-up round."""
    pool = create_connection_pool(site.s3)
    store = create_client(site.s3, pool)
    before_mb = site.api.rss_bytes() / 1e6
    turns: list[Round] = []
    for number in range(rounds + 1):
        turn = Round(_read_from_store(site, store), _read_passthrough(site, pool, passing), *_clip(site, pool))
        print(
            f"{turn.raw.mb_s:7.1f} MB/s from the store, {turn.passthrough.mb_s:7.1f} passed on unread, "
            f"{turn.clip.mb_s:7.1f} as a clip",
            flush=True,
        )
        turns += [turn] if number else []
    pool.clear()
    return result(turns, before_mb)


async def main(minutes: int, rounds: int, results: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), [_CAMERA], minutes=minutes) as site:
            print(f"{site.bytes / 1e6:.0f} MB in {len(site.keys)} objects", flush=True)
            async with _running_passthrough(site, Path(home)) as passing:
                found = await asyncio.to_thread(run_rounds, site, passing, rounds)
    report.write_results(results, "clip", asdict(found), {"minutes": minutes, "mb": round(site.bytes / 1e6)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.clip", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="minutes of footage")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, help="output folder")
    args = parser.parse_args()
    asyncio.run(main(args.minutes, args.rounds, args.results))
