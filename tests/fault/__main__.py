"""`python -m fault [part of a row's name …]`: injects faults into a running district and checks what each one costs.

Exit code 1 if a fault costs more than its row allows, 2 if no row matches. A run of all rows writes
docs/results/faults.{md,json}.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from districam_devkit.servers import ServerUnavailable
from fault.counted import cost
from fault.report import Outcome, evaluate, write
from fault.rows import ROWS, Row
from fault.scene import Scene, playing

ROOT = Path(__file__).parents[2]
BEFORE_S, AFTER_S = 3, 2


def main(arguments: Sequence[str]) -> int:
    rows = [row for row in ROWS if not arguments or any(text in row.name for text in arguments)]
    if not rows:
        print("no such fault; there are:", *(f"  {row.name}" for row in ROWS), sep="\n", file=sys.stderr)
        return 2
    try:
        with TemporaryDirectory(prefix="districam-fault-") as home:
            outcomes = asyncio.run(_all(rows, Path(home)))
    except ServerUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    if len(rows) == len(ROWS):
        write(outcomes, ROOT / "docs" / "results")
    broken = [outcome for outcome in outcomes if outcome.wrong]
    print(f"{len(outcomes) - len(broken)} of {len(rows)} faults cost no more than they may")
    return 1 if broken else 0


async def _all(rows: Sequence[Row], home: Path) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for brokers in sorted({row.brokers for row in rows}):
        folder = home / f"brokers-{brokers}"
        folder.mkdir()
        outcomes += await _district([row for row in rows if row.brokers == brokers], folder, brokers)
    return outcomes


async def _district(rows: Sequence[Row], home: Path, brokers: int) -> list[Outcome]:
    print("starting Kafka, the store, Redis, cameras and services", flush=True)
    outcomes: list[Outcome] = []
    async with playing(home, brokers=brokers) as scene:
        for number, row in enumerate(rows, 1):
            try:
                outcome = await _one(scene, row)
            except TimeoutError:
                _keep_logs(home)
                raise ServerUnavailable(f"{row.name}: no recovery in time; logs in .devkit/fault-logs") from None
            outcomes.append(outcome)
            print(f"[{number}/{len(rows)}] {_format_outcome(outcome)}", flush=True)
            if outcome.wrong:
                _keep_logs(home)
    return outcomes


async def _one(scene: Scene, row: Row) -> Outcome:
    from_us = _now_us()
    await scene.recovered(from_us)
    await asyncio.sleep(BEFORE_S)
    began_s = time.monotonic()
    await row.act(scene)
    fault_s, healed_us = time.monotonic() - began_s, _now_us()
    recovery_s = await scene.recovered(healed_us)
    await asyncio.sleep(AFTER_S)
    return evaluate(row, fault_s, recovery_s, await cost(scene, from_us, _now_us()))


def _format_outcome(outcome: Outcome) -> str:
    cost_ = outcome.cost
    verdict = "BROKEN" if outcome.wrong else "ok"
    return (
        f"{verdict:6} {outcome.row.name}: sent {cost_.sent}, stored {cost_.stored}, in gaps {cost_.in_gaps} "
        f"{cost_.gap_s or ''}, unaccounted {cost_.unaccounted}, duplicates {cost_.duplicates}, "
        f"recovery {outcome.recovery_s:.1f} s{''.join(f'{chr(10)}        {what}' for what in outcome.wrong)}"
    )


def _keep_logs(home: Path) -> None:
    """Copies the logs out of the run's temporary folder."""
    kept = ROOT / ".devkit" / "fault-logs"
    kept.mkdir(parents=True, exist_ok=True)
    for log in (home / "logs").glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes())


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
