"""`python -m bench.ingest_scale`: marginal cost per camera at high camera counts. The last line is JSON.

Ingest with the native reader, 640x360 H.264 of 256 kbit/s over TCP, no stills, publishing to Kafka: 10, 100,
400 cameras. `marginal_ratio` is the CPU per camera from the 100th to the 400th over that from the 10th to the
100th.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
from pathlib import Path

from bench import kafka_log, machine, report
from bench.runs import MAX_LATE_MS, InvalidRunError, Plan, RunResult, print_progress, run_contender
from bench.sender import SMALL
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.servers import kafka as kafka_server

COUNTS = (10, 100, 400)


async def run_plans(plans: list[Plan], folder: Path) -> list[tuple[int, RunResult]]:
    """Runs each plan, all on one Kafka.

    Raises:
        InvalidRunError: a run is invalid.
    """
    out: list[tuple[int, RunResult]] = []
    async with kafka_server.running(folder / "kafka", log_dir=folder / "logs") as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        await kafka_log.prepare(broker.bootstrap_servers)
        for plan in plans:
            found = await run_contender("native", plan, kafka, folder)
            print_progress(f"{plan.cameras:4} cameras {found.per_camera} sender {found.sender_pct:.0f} %")
            out.append((plan.cameras, found))
    return out


def summary(found: list[tuple[int, RunResult]]) -> dict[str, object]:
    """Figures of the whole process, as it is its growth that is measured."""
    runs = [
        {"cameras": count, "cpu_pct": round(run.cpu_pct * count, 2), "pss_mb": round(run.pss_mb * count, 1)}
        for count, run in found
    ]
    slopes = [
        (more["cpu_pct"] - less["cpu_pct"]) / (more["cameras"] - less["cameras"])
        for less, more in itertools.pairwise(runs)
    ]
    ratio = round(slopes[-1] / slopes[0], 3) if len(slopes) > 1 and slopes[0] > 0 else None
    return {"runs": runs, "marginal_ratio": ratio}


def main() -> int:
    parser = argparse.ArgumentParser("bench.ingest_scale", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--warmup", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument(
        "--late-most", type=float, default=MAX_LATE_MS, help="limit in ms; a later packet invalidates the run"
    )
    parser.add_argument("--folder", type=Path, default=machine.ROOT / ".devkit" / "bench" / "ingest-scale")
    parser.add_argument("--results", type=Path, help="output folder")
    arguments = parser.parse_args()
    plans = [Plan(one, SMALL, arguments.warmup, arguments.seconds, arguments.late_most) for one in arguments.counts]
    shutil.rmtree(arguments.folder, ignore_errors=True)
    try:
        found = asyncio.run(run_plans(plans, arguments.folder))
    except InvalidRunError as error:
        print(json.dumps({"void": str(error)}))
        return 1
    finally:
        shutil.rmtree(arguments.folder / "kafka", ignore_errors=True)
    of = {"seconds": arguments.seconds, **machine.versions()}
    report.write_results(arguments.results, "ingest-scale", summary(found), of)
    return 0


if __name__ == "__main__":
    sys.exit(main())
