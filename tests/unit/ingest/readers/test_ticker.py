"""Ticks that are due at about the same time share a wake-up; none is early, or later than its slack."""

import asyncio

import pytest

from districam_common.runtime.clock import SystemClock
from districam_ingest.readers.ticker import Ticker

MS = 1_000
CLOCK = SystemClock()


async def woken_after(ticker: Ticker, due_ms: int, slack_ms: int) -> float:
    """Sleeping time in ms."""
    began_us = CLOCK.monotonic_us()
    await ticker.wait_until(began_us + due_ms * MS, slack_ms * MS)
    return (CLOCK.monotonic_us() - began_us) / MS


async def test_a_single_waiter_sleeps_until_its_slack_is_used_up():
    assert 29 < await woken_after(Ticker(CLOCK), 20, 10) < 500


async def test_ticks_within_each_others_slack_share_a_wake_up():
    ticker, woken = Ticker(CLOCK), list[int]()

    async def wait(due_ms: int, slack_ms: int) -> None:
        await woken_after(ticker, due_ms, slack_ms)
        woken.append(CLOCK.monotonic_us())

    async with asyncio.TaskGroup() as tasks:
        for due_ms in (10, 100, 190):
            tasks.create_task(wait(due_ms, 250 - due_ms))
        tasks.create_task(wait(500, 10))
    assert woken[2] - woken[0] < 60 * MS
    assert woken[3] - woken[2] > 100 * MS


async def test_an_earlier_tick_that_is_added_later_is_on_time():
    ticker = Ticker(CLOCK)
    async with asyncio.TaskGroup() as tasks:
        late = tasks.create_task(woken_after(ticker, 400, 100))
        await asyncio.sleep(0)
        soon = tasks.create_task(woken_after(ticker, 10, 10))
    assert soon.result() < 350
    assert late.result() >= 399


async def test_a_cancelled_waiter_does_not_stop_the_others():
    ticker = Ticker(CLOCK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await woken_after(ticker, 40, 10)
    assert await woken_after(ticker, 60, 10) >= 59


async def test_a_tick_that_is_already_due_wakes_up_at_once():
    assert await woken_after(Ticker(CLOCK), -50, 10) < 100
