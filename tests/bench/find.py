"""`python -m bench.find`: the three requests of a user who looks for a moment, over 102 cameras. JSON last."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from zoneinfo import ZoneInfo

import httpx

from bench import report
from bench.site import S, Site, running
from districam_common.contract.events import Camera, Location
from districam_common.contract.names import utc

CAMERAS = 102
MINUTES = 60
ROUNDS = 200
CLIP_ROUNDS = 20
_ZONE = "Asia/Ho_Chi_Minh"
_PLACE = Location(latitude=11.7524, longitude=108.3702, place="Quốc lộ 20, Liên Nghĩa")
_SEARCH = "nga tu lien nghia"


def _cameras() -> list[Camera]:
    first = Camera(camera_id="cam-000", name="Ngã tư Liên Nghĩa", url="rtsp://10.0.0.1/1", location=_PLACE)
    others = [
        Camera(camera_id=f"cam-{n:03}", name=f"Đường số {n}", url=f"rtsp://10.0.0.{n}/1") for n in range(1, CAMERAS)
    ]
    return [first, *others]


def time_requests_ms(ask: Callable[[], object], rounds: int) -> list[float]:
    """Returns the milliseconds of each round."""
    out: list[float] = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        ask()
        out.append((time.perf_counter() - began_s) * 1e3)
    return out


def p95(times_ms: list[float]) -> float:
    return round(quantiles(times_ms, n=20)[-1], 1)


def run_queries(site: Site) -> dict[str, float]:
    """Search, timeline and the first bytes of a clip of that minute, in sequence."""
    with httpx.Client(base_url=site.api.url, timeout=30) as http:
        camera_id = _find_camera(http)
        at_us = site.start_us + (MINUTES // 2) * 60 * S
        local = {"tz": _ZONE, "from": _local(at_us), "to": _local(at_us + 60 * S)}
        path = f"/v1/cameras/{camera_id}"
        assert http.get(f"{path}/timeline", params=local).json()["recorded_s"] == 60
        search_ms = time_requests_ms(lambda: _find_camera(http), ROUNDS)
        timeline_ms = time_requests_ms(lambda: http.get(f"{path}/timeline", params=local).raise_for_status(), ROUNDS)
        first_ms = time_requests_ms(lambda: _first_byte(http, path, local), CLIP_ROUNDS)
        whole_ms = time_requests_ms(lambda: http.get(f"{path}/clip.mp4", params=local).raise_for_status(), CLIP_ROUNDS)
    return {
        "search_p95_ms": p95(search_ms),
        "timeline_p95_ms": p95(timeline_ms),
        "clip_first_byte_p95_ms": p95(first_ms),
        "clip_whole_p95_ms": p95(whole_ms),
        "search_median_ms": round(median(search_ms), 1),
        "timeline_median_ms": round(median(timeline_ms), 1),
        "clip_first_byte_median_ms": round(median(first_ms), 1),
        "clip_whole_median_ms": round(median(whole_ms), 1),
    }


def _find_camera(http: httpx.Client) -> str:
    (camera,) = http.get("/v1/cameras", params={"q": _SEARCH}).raise_for_status().json()["cameras"]
    return camera["camera_id"]


def _first_byte(http: httpx.Client, path: str, window: dict[str, str]) -> None:
    with http.stream("GET", f"{path}/clip.mp4", params=window) as answer:
        answer.raise_for_status()
        next(answer.iter_raw())


def _local(at_us: int) -> str:
    return utc(at_us).astimezone(ZoneInfo(_ZONE)).replace(tzinfo=None).isoformat()


async def main(results: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), _cameras(), minutes=MINUTES) as site:
            found = await asyncio.to_thread(run_queries, site)
    report.write_results(results, "find", found, {"cameras": CAMERAS, "clip_s": 60, "rounds": ROUNDS})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.find", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    asyncio.run(main(parser.parse_args().results))
