"""The lag of a blocked event loop is measured."""

import asyncio
import time

from prometheus_client import REGISTRY

from districam_common.runtime import loop_lag


def _above_s(bound: str) -> float:
    total = REGISTRY.get_sample_value("districam_loop_lag_seconds_count") or 0
    return total - (REGISTRY.get_sample_value("districam_loop_lag_seconds_bucket", {"le": bound}) or 0)


async def test_a_blocked_loop_has_lag() -> None:
    before = _above_s("0.25")
    async with asyncio.timeout(10), loop_lag.measure_loop_lag():
        await asyncio.sleep(loop_lag.SAMPLE_S / 2)
        time.sleep(loop_lag.SAMPLE_S + 0.3)  # that is the point
        await asyncio.sleep(0.1)
    assert _above_s("0.25") == before + 1
