"""One contender's run: start cameras, warm up, measure, stop, and compare the result with what was sent."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import contenders, kafka_log, machine
from bench.sender import Sender, SenderTotals, Video, running_sender
from districam_common.runtime.settings import KafkaSettings

MAX_LATE_MS = 100.0
ACK_WAIT_S = 3.0
"""From the cameras' end until the last acknowledgements; anything missing after it invalidates the run."""


class InvalidRunError(Exception):
    """The run is invalid: the sender was late, or pictures are missing."""


@dataclass(frozen=True)
class Plan:
    """Number of cameras and duration."""

    cameras: int
    video: Video
    warmup_s: float
    measured_s: float
    max_late_ms: float = MAX_LATE_MS


@dataclass(frozen=True)
class RunResult:
    """A run's figures; CPU in percent of one core and memory per camera."""

    cpu_pct: float
    pss_mb: float
    sender_pct: float
    mbit_s: float
    late_ms_p99: int
    units_sent: int
    units_found: int | None

    @property
    def per_camera(self) -> dict[str, float]:
        return {"cpu_pct": round(self.cpu_pct, 4), "pss_mb": round(self.pss_mb, 2)}


async def run_contender(name: str, plan: Plan, kafka: KafkaSettings, folder: Path) -> RunResult:
    """Runs one of `ffmpeg`, `libav`, `native`, `native_stills`, `native_aiokafka`, `read_cut`.

    Raises:
        InvalidRunError: the run is invalid.
    """
    ids = [f"bench-{name.replace('_', '-')}-{number:03d}" for number in range(plan.cameras)]
    is_ours = name not in {"ffmpeg", "read_cut"}
    since = await kafka_log.ends(kafka) if is_ours else {}
    async with running_sender(plan.video) as sender, _reading(name, sender, ids, kafka, folder / name) as pids:
        figures, sent = await _measure_usage(plan, sender, pids)
        await asyncio.sleep(ACK_WAIT_S if is_ours else 0)
    if sent.late_ms_p99 > plan.max_late_ms:
        raise InvalidRunError(f"{name}: the sender was {sent.late_ms_p99} ms late at p99")
    found = await kafka_log.read_since(kafka, since) if is_ours else None
    if found is not None:
        _compare(name, sent, found)
    seconds = sum(sent.units.values()) / 25
    return RunResult(
        cpu_pct=figures[0] / plan.cameras,
        pss_mb=figures[1] / plan.cameras,
        sender_pct=figures[2],
        mbit_s=round(sent.bytes * 8e-6 / seconds, 3),
        late_ms_p99=sent.late_ms_p99,
        units_sent=sum(sent.units.values()),
        units_found=None if found is None else sum(found.units.values()),
    )


async def _measure_usage(
    plan: Plan, sender: Sender, pids: Sequence[int]
) -> tuple[tuple[float, float, float], SenderTotals]:
    await sender.wait_for_clients(plan.cameras)
    await asyncio.sleep(plan.warmup_s)
    await sender.reset_lateness()
    before, sender_before = machine.cpu(pids), machine.cpu([sender.pid])
    await asyncio.sleep(plan.measured_s)
    after, sender_after = machine.cpu(pids), machine.cpu([sender.pid])
    elapsed_s = after.at_s - before.at_s
    cpu_pct = (after.cpu_s - before.cpu_s) / elapsed_s * 100
    sender_pct = (sender_after.cpu_s - sender_before.cpu_s) / elapsed_s * 100
    pss_mb = machine.pss_mb(pids)
    return (cpu_pct, pss_mb, sender_pct), await sender.stop()


def _compare(name: str, sent: SenderTotals, found: kafka_log.LogContents) -> None:
    """Checks that nothing is missing. Losses of the ffmpeg reader, a baseline, are only printed."""
    reader = "ffmpeg" if name == "libav" else "native"
    if found.readers != {reader}:
        raise InvalidRunError(f"{name}: read by {sorted(found.readers)}, not by {reader}")
    wrong = {
        one: (units, found.units.get(one, 0)) for one, units in sent.units.items() if units != found.units.get(one)
    }
    if not wrong:
        return
    message = f"{name}: {len(wrong)} cameras with other pictures in Kafka than sent (sent, found): {wrong}"
    if name != "libav":
        raise InvalidRunError(message)
    print_progress(message)


@asynccontextmanager
async def _reading(
    name: str, sender: Sender, ids: Sequence[str], kafka: KafkaSettings, folder: Path
) -> AsyncGenerator[list[int]]:
    if name == "ffmpeg":
        async with contenders.ffmpeg(sender, ids, folder) as pids:
            yield pids
    elif name == "read_cut":
        async with contenders.read_cut(sender, ids, folder) as pids:
            yield pids
    else:
        still_s = 4 if name == "native_stills" else kafka_log.NO_STILLS_INTERVAL_S
        reader, _, variant = name.partition("_")
        cameras = kafka_log.records(sender, ids, reader=reader, still_s=still_s)
        ingest = contenders.ingest(kafka.bootstrap_servers, folder, single_copy=variant != "aiokafka")
        async with kafka_log.published_cameras(kafka, cameras), ingest as pids:
            yield pids


def print_progress(line: str) -> None:
    """Prints progress to standard error; standard output ends with the figures."""
    print(line, file=sys.stderr, flush=True)
