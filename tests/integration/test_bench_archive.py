"""The benchmarks of index, rebuild and retention, with little to do: they run, and what they compare is equal."""

import pytest

from bench import index, rebuild, retention

pytestmark = pytest.mark.timeout(120)


async def test_the_index_is_asked_through_the_api_and_the_store_is_not(capsys: pytest.CaptureFixture[str]):
    figures = await index.main(None, 0, rounds=5, months=3, cameras=3)
    assert figures["segments"] == 3 * 24 * 360
    assert figures["s3_calls"] == 0
    assert 35 < figures["bytes_per_segment"] < 100
    assert all(figures[name]["p50"] > 0 for name in figures if name.endswith("_ms"))
    assert '"s3_calls": 0' in capsys.readouterr().out.splitlines()[-1]


async def test_a_rebuild_and_one_that_was_killed_make_the_same_index():
    figures = await rebuild.main(None, 400, cameras=2)
    assert (figures["equal"], figures["resumed_equal"]) == (True, True)
    assert figures["resumed_objects"] <= 400


async def test_retention_keeps_to_its_rate():
    figures = await retention.main(None, 400, cameras=2, rate=100, quiet_s=3)
    assert figures["deleted_s"] <= 200
