"""`python -m bench.clip`: a long clip through the api against the same objects straight from the store.

One client reads both, in turn; the ratio is the median of the turns'. The last line of output is JSON.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import urllib3
from minio import Minio

from bench import report
from bench.site import Site, running
from districam_common.blobs import client, connections
from districam_common.events import Camera
from districam_common.names import rfc3339

ROUNDS = 5
_READ_BYTES = 256 << 10
_CAMERA = Camera(camera_id="cam-1", name="Ngã tư", url="rtsp://10.0.0.1/1")
_RSS_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """One reading of each."""

    raw_mb_s: float
    clip_mb_s: float
    first_byte_ms: float
    rss_most_mb: float


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of the turns; memory: the most that the api took while it sent, over what it had before the first."""

    clip_mb_s: float
    raw_mb_s: float
    ratio: float
    first_byte_ms: float
    rss_growth_mb: float


def result(turns: Sequence[Turn], before_mb: float) -> Result:
    """What the turns say together."""
    return Result(
        clip_mb_s=round(median(one.clip_mb_s for one in turns), 1),
        raw_mb_s=round(median(one.raw_mb_s for one in turns), 1),
        ratio=round(median(one.clip_mb_s / one.raw_mb_s for one in turns), 3),
        first_byte_ms=round(median(one.first_byte_ms for one in turns), 1),
        rss_growth_mb=round(max(one.rss_most_mb for one in turns) - before_mb, 1),
    )


def _raw(site: Site, store: Minio) -> float:
    """Every object, one after another over one connection; MB/s."""
    size, began_s = 0, time.perf_counter()
    for key in site.keys:
        answer = store.get_object(site.s3.bucket, key)
        size += sum(map(len, answer.stream(_READ_BYTES)))
        answer.release_conn()
    return size / 1e6 / (time.perf_counter() - began_s)


def _clip(site: Site, pool: urllib3.PoolManager) -> tuple[float, float, float]:
    """MB/s, ms until the first byte, and the most memory that the api took, MB."""
    window = {"from": rfc3339(site.start_us), "to": rfc3339(site.end_us)}
    began_s = time.perf_counter()
    answer = pool.request(
        "GET", f"{site.api.url}/v1/cameras/{site.camera_id}/clip.mp4", fields=window, preload_content=False
    )
    assert answer.status == 200, answer.read()
    size, first_s, looked_s, rss_most = 0, 0.0, began_s, 0
    for piece in answer.stream(_READ_BYTES):
        now_s = time.perf_counter()
        first_s = first_s or now_s - began_s
        size += len(piece)
        if now_s - looked_s > _RSS_EVERY_S:
            looked_s, rss_most = now_s, max(rss_most, site.api.rss_bytes())
    answer.release_conn()
    assert size >= site.bytes, f"{size} of {site.bytes} bytes"
    rss_most = max(rss_most, site.api.rss_bytes())
    return size / 1e6 / (time.perf_counter() - began_s), first_s * 1e3, rss_most / 1e6


def measured(site: Site, rounds: int) -> Result:
    """Reads in turn, after one turn that does not count."""
    pool = connections(site.s3)
    store = client(site.s3, pool)
    before_mb = site.api.rss_bytes() / 1e6
    turns: list[Turn] = []
    for number in range(rounds + 1):
        turn = Turn(_raw(site, store), *_clip(site, pool))
        print(f"{turn.raw_mb_s:7.1f} MB/s from the store, {turn.clip_mb_s:7.1f} MB/s as a clip", flush=True)
        turns += [turn] if number else []
    pool.clear()
    return result(turns, before_mb)


async def main(minutes: int, rounds: int, results: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), [_CAMERA], minutes=minutes) as site:
            print(f"{site.bytes / 1e6:.0f} MB in {len(site.keys)} objects", flush=True)
            found = await asyncio.to_thread(measured, site, rounds)
    report.written(results, "clip", asdict(found), {"minutes": minutes, "mb": round(site.bytes / 1e6)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.clip", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="of footage")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--results", type=Path, help="a folder to write to")
    args = parser.parse_args()
    asyncio.run(main(args.minutes, args.rounds, args.results))
