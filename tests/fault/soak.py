"""`python -m fault.soak`: a district under random kills from a seeded schedule; counts pictures and measures memory.

For five minutes any process may be killed, twice as often. Then only servers are killed, so that each service's memory
can be followed in one process: from minute ten on, when outages have filled its buffers once. The last line
is JSON; exit code 1 if a picture is unaccounted for or shown twice, or a service grows.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from districam_devkit.servers import ServerUnavailable
from districam_devkit.servers.process import Child
from districam_devkit.services import SERVICES
from fault.counted import Cost, cost
from fault.scene import Scene, playing

SERVICES_TOO_S, WARM_S = 300, 600
SAMPLE_S = 5
COURSE_S = 300
MAX_GROWTH_PCT = 2.0
APART_S, DEAD_S = (15, 45), (0.5, 5)


@dataclass
class Run:
    """Samples of the run: (seconds since the start, MiB) of each service."""

    kills: int = 0
    weights: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in SERVICES})


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    try:
        with TemporaryDirectory(prefix="districam-soak-") as home:
            run, counted = asyncio.run(_soak(Path(home), asked.duration, asked.cameras, asked.seed))
    except ServerUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    slopes = _slopes(run) if asked.duration > WARM_S + 60 else None
    print(f"memory of each five minutes, MiB, least/median/most:\n{_course(run)}")
    print(f"gaps, s by cause: {counted.gap_s}")
    print(
        json.dumps(
            {
                "sent": counted.sent,
                "stored": counted.stored,
                "in_gaps": counted.in_gaps,
                "unaccounted": counted.unaccounted,
                "duplicates": counted.duplicates,
                "kills": run.kills,
                "rss_slope_pct": slopes,
            }
        )
    )
    grows = slopes is not None and any(slope > MAX_GROWTH_PCT for slope in slopes.values())
    return 1 if counted.unaccounted or counted.duplicates or grows else 0


async def _soak(home: Path, duration_s: float, cameras: int, seed: int) -> tuple[Run, Cost]:
    run = Run()
    print(f"starting {cameras} cameras, servers and services", flush=True)
    async with playing(home, cameras) as scene:
        from_us, began_s = _now_us(), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            weighing = tasks.create_task(_weigh(scene, run, began_s))
            await _kill_at_random(scene, run, Random(seed), began_s, duration_s)
            weighing.cancel()
        to_us = _now_us()
        await scene.recovered(to_us)
        print("counting pictures", flush=True)
        return run, await cost(scene, from_us, to_us)


async def _kill_at_random(scene: Scene, run: Run, dice: Random, began_s: float, duration_s: float) -> None:
    while True:
        services_too = time.monotonic() - began_s < SERVICES_TOO_S
        await asyncio.sleep(dice.uniform(*APART_S) / (2 if services_too else 1))
        passed_s = time.monotonic() - began_s
        if passed_s > duration_s:
            return
        victims = _victims(scene, services_too=services_too)
        name = dice.choice(sorted(victims))
        dead_s = dice.uniform(*DEAD_S)
        print(f"{passed_s:6.0f} s  {name} killed for {dead_s:.1f} s", flush=True)
        await victims[name].kill()
        await asyncio.sleep(dead_s)
        await victims[name].start()
        run.kills += 1


def _victims(scene: Scene, *, services_too: bool) -> Mapping[str, Child]:
    servers = {"kafka": scene.servers.kafka.child, "s3": scene.servers.s3.child, "redis": scene.servers.redis.child}
    services = {name: scene.pipeline[name].child for name in SERVICES}
    return {**servers, **services} if services_too else servers


async def _weigh(scene: Scene, run: Run, began_s: float) -> None:
    while True:
        await asyncio.sleep(SAMPLE_S)
        for name in SERVICES:
            pid = scene.pipeline[name].child.pid
            if pid is not None and (mib := _rss_mib(pid)) is not None:
                run.weights[name].append((time.monotonic() - began_s, mib))


def _rss_mib(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kib[0] / 1024 if kib else None


def _slopes(run: Run) -> dict[str, float]:
    """Growth of each service from minute ten to the end, in percent."""
    return {name: growth_pct([one for one in samples if one[0] >= WARM_S]) for name, samples in run.weights.items()}


def growth_pct(samples: Sequence[tuple[float, float]]) -> float:
    """Growth over (seconds, MiB) samples of one process: a line fitted to the minimum of each minute.

    The minimum, since ingest and the recorder buffer data while a server is down: what remains a minute later
    is kept. The line is the Theil-Sen estimator, the median of the slopes of all pairs, which is robust
    against peaks.
    """
    minutes: dict[int, float] = {}
    for at_s, mib in samples:
        minute = int(at_s // 60)
        minutes[minute] = min(mib, minutes.get(minute, mib))
    minute, minimum = np.array(sorted(minutes.items())).T
    a, b = np.triu_indices(len(minute), 1)
    slope = float(np.median((minimum[b] - minimum[a]) / (minute[b] - minute[a])))
    first_mib = float(np.median(minimum - slope * (minute - minute[0])))
    return round(slope * float(minute[-1] - minute[0]) / first_mib * 100, 2)


def _course(run: Run) -> str:
    """Each service's memory, MiB: minimum, median and maximum of every five minutes."""
    lines: list[str] = []
    for name, samples in run.weights.items():
        slots: dict[int, list[float]] = {}
        for at_s, mib in samples:
            slots.setdefault(int(at_s // COURSE_S), []).append(mib)
        lines.append(f"{name:9}" + " ".join(f"{min(m):.0f}/{median(m):.0f}/{max(m):.0f}" for m in slots.values()))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fault.soak", description=__doc__)
    parser.add_argument("--duration", type=float, default=1800, help="seconds (default 1800)")
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
