"""The benchmarks of index, rebuild and retention run with little data, and the results they compare are equal."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import index, rebuild, recorder, retention
from bench.archive import Archive, put_segments, running
from districam_common.runtime.clock import SystemClock

pytestmark = pytest.mark.timeout(120)
SMALL = {"codec": "h264", "width": 320, "height": 180, "fps": 10, "gop_s": 2, "bitrate": 150_000}


async def test_the_index_bench_reads_through_the_api_without_the_store(capsys: pytest.CaptureFixture[str]):
    figures = await index.main(None, 0, rounds=5, months=3, cameras=3)
    assert figures["segments"] == 3 * 24 * 360
    assert figures["s3_calls"] == 0
    assert 35 < figures["bytes_per_segment"] < 100
    assert all(figures[name]["p50"] > 0 for name in figures if name.endswith("_ms"))
    assert '"s3_calls": 0' in capsys.readouterr().out.splitlines()[-1]


async def test_a_rebuild_and_an_interrupted_rebuild_give_the_same_index(tmp_path: Path):
    async with stocked(tmp_path) as (archive, days):
        figures = await rebuild.bench_without_recording(archive, days)
    assert (figures["equal"], figures["resumed_equal"]) == (True, True)
    assert 0 < figures["days_noted"] < 20
    assert 0 < figures["objects_resumed"] < 400


async def test_cameras_recorded_during_the_bench_are_accounted_for(tmp_path: Path):
    async with stocked(tmp_path) as (archive, days):
        figures = await rebuild.bench_while_recording(archive, days, 2, SMALL)
    assert (figures["equal"], figures["resumed_equal"]) == (True, True)
    assert 0 < figures["objects_resumed"] < 400
    pictures, check = figures["pictures"], figures["check"]
    assert pictures["stored"] > 100
    assert (pictures["unaccounted"], pictures["duplicates"], pictures["stored_and_not_found"]) == (0, 0, 0)
    assert check["indexed"] == check["objects"] > 400


@asynccontextmanager
async def stocked(home: Path) -> AsyncGenerator[tuple[Archive, rebuild.ObjectsByDay]]:
    """Twenty cameras with twenty segments each."""
    end_us = SystemClock().now_us()
    async with running(home, 20, retention_days=400, object_lock=False) as archive:
        await put_segments(archive, 400, end_us)
        yield archive, rebuild.days_of(archive, 400, end_us)


async def test_retention_keeps_to_its_rate_limit():
    figures = await retention.main(None, 400, cameras=2, rate=100, baseline_s=3)
    assert figures["deleted_s"] <= 200
    assert (figures["expired_and_left"], figures["young_and_gone"]) == (0, 0)


async def test_a_recorder_holds_more_of_longer_segments():
    runs = (await recorder.main(None, 2, lengths_s=(4, 20)))["runs"]
    short, long = (run["open_mb_a_camera"] for run in runs)
    assert 0.2 < short < long < 7.5
