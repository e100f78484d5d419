"""`python -m bench.recorder`: a recorder's memory per camera, with segments of 10 s and of 60 s. The last line is JSON.

Fragments of 2 s at 2 Mbit/s, published in time order at ten times the real rate; the cameras' segment
boundaries are spread evenly over a segment's length, as with real cameras.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from bench import machine, report
from bench.archive import Archive, print_progress, running
from districam_common.contract import names, wire
from districam_common.kafka.producer import Publisher
from districam_devkit.pipeline import Service, service_running
from support.api_process import service_environment
from support.fragments import epoch_id, fragment

FRAGMENT_S, BYTES_PER_S = 2, 250_000
SEGMENT_LENGTHS_S = (10, 60)
SEGMENTS = 3
SPEED_FACTOR = 10
SAMPLE_INTERVAL_S = 0.25


async def publish(publisher: Publisher, cameras: list[str], segment_s: int) -> None:
    """Publishes each camera's segments, with start times spread over one segment's length."""
    each = segment_s // FRAGMENT_S

    async def one(number: int, camera_id: str, step: int) -> None:
        place = (step + number * each // len(cameras)) % each
        ends = "segment" if place == each - 1 else None
        made = fragment(
            camera_id, epoch_id(segment_s), step, starts=place == 0, ends=ends, size=BYTES_PER_S * FRAGMENT_S
        )
        await publisher.publish(names.FRAGMENTS, wire.fragment_message(made, site="local"))

    began_s = time.monotonic()
    for step in range(SEGMENTS * each):
        async with asyncio.TaskGroup() as tasks:
            for number, camera_id in enumerate(cameras):
                tasks.create_task(one(number, camera_id, step))
        await asyncio.sleep(max(0.0, began_s + (step + 1) * FRAGMENT_S / SPEED_FACTOR - time.monotonic()))


async def sample_memory(service: Service, samples: list[tuple[float, float]]) -> None:
    """Appends memory (PSS) and the size of open segments, in MB, until cancelled."""
    assert service.child.pid is not None
    while True:
        held = await service.metric("districam_recorder_open_bytes")
        samples.append((machine.pss_mb([service.child.pid]), sum(held.values()) / 1e6))
        await asyncio.sleep(SAMPLE_INTERVAL_S)


async def measure_memory(archive: Archive, segment_s: int) -> dict[str, float]:
    """A new recorder's memory while it receives each camera's second and third segment."""
    environment = service_environment(archive.s3, archive.redis_url) | {
        "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": archive.kafka.bootstrap_servers,
        "DISTRICAM_RECORDER__IDLE_S": str(segment_s + 5),
    }
    home = archive.home / f"recorder-{segment_s}"
    cameras = [f"{one}-{segment_s}" for one in archive.camera_ids]
    seen: list[tuple[float, float]] = []
    async with (
        service_running("recorder", home, environment, ready="readyz") as service,
        Publisher.open(archive.kafka, "bench") as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        assert service.child.pid is not None
        base_mb = machine.pss_mb([service.child.pid])
        watching = tasks.create_task(sample_memory(service, seen))
        await publish(publisher, cameras, segment_s)
        watching.cancel()
    steady = seen[len(seen) // SEGMENTS :]
    count = len(cameras)
    return {
        "segment_s": segment_s,
        "base_mb": round(base_mb, 1),
        "pss_mb": round(max(pss for pss, _ in steady), 1),
        "pss_mb_a_camera": round((max(pss for pss, _ in steady) - base_mb) / count, 2),
        "open_mb_a_camera": round(mean(held for _, held in steady) / count, 2),
        "open_mb_a_camera_most": round(max(held for _, held in steady) / count, 2),
    }


async def main(results: Path | None, cameras: int, lengths_s: tuple[int, ...] = SEGMENT_LENGTHS_S) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="districam-bench-") as home:
        async with running(Path(home), cameras, retention_days=30, object_lock=False) as archive:
            runs: list[dict[str, float]] = []
            for segment_s in lengths_s:
                runs.append(await measure_memory(archive, segment_s))
                print_progress(f"{runs[-1]}")
    figures: dict[str, Any] = {"cameras": cameras, "mbit_s": BYTES_PER_S * 8 / 1e6, "runs": runs}
    report.write_results(results, "recorder", figures, {"segments": SEGMENTS, "faster": SPEED_FACTOR})
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.recorder", description=__doc__)
    parser.add_argument("--results", type=Path, help="output folder")
    asyncio.run(main(parser.parse_args().results, int(os.environ.get("CAMERAS", "20"))))
