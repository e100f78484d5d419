"""The ingest benchmarks run on real servers and print all figures. The values are not checked."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUSY = ("--late-most", "10000")  # the machine may be busy
PROCESS = {"cpu_pct", "pss_mb"}

pytestmark = pytest.mark.timeout(240)


async def last_line(module: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(220):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    found = json.loads(output.decode().splitlines()[-1])
    assert process.returncode == 0, found
    return found


async def test_ingest(tmp_path: Path):
    found = await last_line("bench.ingest", "--smoke", *BUSY, "--folder", str(tmp_path / "bench"))
    assert found["cameras"] == 4
    for name in ("ffmpeg", "libav", "native", "native_stills", "read_cut"):
        figures: dict[str, float] = found[name]
        assert set(figures) == PROCESS
        assert all(value > 0 for value in figures.values()), name
    assert found["units_in_kafka"] == found["units_sent"]
    assert {"ratio_cpu", "ratio_pss", "ratio_read_cut", "mbit_s", "send_late_ms_p99"} <= set(found)


async def test_scale(tmp_path: Path):
    asked = ("--counts", "2", "4", "6", "--seconds", "3", "--warmup", "1", *BUSY)
    found = await last_line("bench.ingest_scale", *asked, "--folder", str(tmp_path / "bench"))
    runs: list[dict[str, float]] = found["runs"]
    assert [run["cameras"] for run in runs] == [2, 4, 6]
    assert all(run["cpu_pct"] > 0 and run["pss_mb"] > 0 for run in runs)
    assert "marginal_ratio" in found
