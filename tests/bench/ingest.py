"""`python -m bench.ingest`: cost per camera of ffmpeg and of ingest, compared. The last line is JSON.

1080p25 H.264 of 2 Mbit/s over TCP, each picture's packets sent one by one over half its interval. In each round, in
turn: a process of `ffmpeg -c copy -f segment` for each camera; ingest with the ffmpeg reader, with the native
reader, with the native reader and a still every 4 s, each publishing to Kafka; the native reader and
segmenter alone. Ingest runs
as in its image: in an environment with its own requirements, compiled (deploy/compile.py).

A run is invalid, and the exit code 1, if one packet in a hundred left over 100 ms late, or if Kafka does not
hold exactly the pictures that were sent to the native reader.
"""

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path
from statistics import median

from bench import kafka_log, machine, report
from bench.runs import MAX_LATE_MS, InvalidRunError, Plan, RunResult, print_progress, run_contender
from bench.sender import FULL, SMALL
from districam_common.runtime.settings import KafkaSettings
from districam_devkit.servers import kafka as kafka_server

NAMES = ("ffmpeg", "libav", "native", "native_stills", "read_cut")
AIOKAFKA = "native_aiokafka"
"""The native reader with aiokafka's own producer: baseline of `single_copy_producer` (docs/adr/0018). On request."""


async def rounds(plan: Plan, count: int, names: list[str], folder: Path) -> dict[str, list[RunResult]]:
    """Runs each contender `count` times, interleaved, so that other load on the machine affects all equally.

    Raises:
        InvalidRunError: a run is invalid.
    """
    out: dict[str, list[RunResult]] = {name: [] for name in names}
    async with kafka_server.running(folder / "kafka", log_dir=folder / "logs") as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        await kafka_log.prepare(broker.bootstrap_servers)
        for number in range(count):
            for name in names:
                found = await run_contender(name, plan, kafka, folder)
                out[name].append(found)
                print_progress(f"round {number + 1} {name:14} {found.per_camera} sender {found.sender_pct:.0f} %")
    return out


def summary(plan: Plan, found: dict[str, list[RunResult]]) -> dict[str, object]:
    """Medians over the rounds."""
    each = {name: _median(runs) for name, runs in found.items()}
    every = [run for runs in found.values() for run in runs]
    counted = [run for name in ("native", "native_stills", AIOKAFKA) for run in found.get(name, [])]
    out: dict[str, object] = {"cameras": plan.cameras, **each}
    if "ffmpeg" in each:
        cpu, pss = each["ffmpeg"]["cpu_pct"], each["ffmpeg"]["pss_mb"]
        if "native" in each:
            out["ratio_cpu"] = round(each["native"]["cpu_pct"] / cpu, 3)
            out["ratio_pss"] = round(each["native"]["pss_mb"] / pss, 3)
        if "read_cut" in each:
            out["ratio_read_cut"] = round(each["read_cut"]["cpu_pct"] / cpu, 3)
    return {
        **out,
        "mbit_s": every[0].mbit_s,
        "send_late_ms_p99": max(run.late_ms_p99 for run in every),
        "units_sent": sum(run.units_sent for run in counted),
        "units_in_kafka": sum(run.units_found or 0 for run in counted),
    }


def _median(runs: list[RunResult]) -> dict[str, float]:
    return {key: round(median(run.per_camera[key] for run in runs), 4) for key in ("cpu_pct", "pss_mb")}


def main() -> int:
    parser = argparse.ArgumentParser("bench.ingest", description=__doc__)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warmup", type=float, default=12, help="seconds; ffmpeg probes a stream for five")
    parser.add_argument("--seconds", type=float, default=20, help="seconds to measure")
    parser.add_argument("--only", nargs="+", choices=(*NAMES, AIOKAFKA), default=list(NAMES))
    parser.add_argument(
        "--smoke", action="store_true", help="only check that it runs: four small cameras, five seconds"
    )
    parser.add_argument(
        "--late-most", type=float, default=MAX_LATE_MS, help="limit in ms; a later packet invalidates the run"
    )
    parser.add_argument("--folder", type=Path, default=machine.ROOT / ".devkit" / "bench" / "ingest")
    parser.add_argument("--results", type=Path, help="output folder")
    arguments = parser.parse_args()
    plan = Plan(arguments.cameras, FULL, arguments.warmup, arguments.seconds, arguments.late_most)
    if arguments.smoke:
        plan = Plan(4, SMALL, 1, 5, arguments.late_most)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    try:
        found = asyncio.run(rounds(plan, arguments.rounds, arguments.only, arguments.folder))
    except InvalidRunError as error:
        print(json.dumps({"void": str(error)}))
        return 1
    finally:
        shutil.rmtree(arguments.folder / "kafka", ignore_errors=True)
    of = {"rounds": arguments.rounds, "seconds": plan.measured_s, **machine.versions()}
    report.write_results(arguments.results, "ingest", summary(plan, found), of)
    return 0


if __name__ == "__main__":
    sys.exit(main())
