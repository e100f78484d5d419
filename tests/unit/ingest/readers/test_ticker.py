"""Ticks that are due at about the same time are one wake-up; none is early, none later than its slack."""

import asyncio

import pytest

from districam_common.runtime.clock import SystemClock
from districam_ingest.readers.ticker import Ticker

MS = 1_000
CLOCK = SystemClock()


async def woken_after(ticker: Ticker, due_ms: int, slack_ms: int) -> float:
    """How long it slept, in ms."""
    began_us = CLOCK.monotonic_us()
    await ticker.wait_until(began_us + due_ms * MS, slack_ms * MS)
    return (CLOCK.monotonic_us() - began_us) / MS


async def test_who_waits_alone_sleeps_until_its_slack_is_used_up():
    assert 29 < await woken_after(Ticker(CLOCK), 20, 10) < 500


async def test_what_falls_into_the_slack_of_another_wakes_up_with_it():
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


async def test_one_that_comes_later_and_is_due_sooner_is_not_kept_waiting():
    ticker = Ticker(CLOCK)
    async with asyncio.TaskGroup() as tasks:
        late = tasks.create_task(woken_after(ticker, 400, 100))
        await asyncio.sleep(0)
        soon = tasks.create_task(woken_after(ticker, 10, 10))
    assert soon.result() < 350
    assert late.result() >= 399


async def test_who_stops_waiting_keeps_nobody_from_waking_up():
    ticker = Ticker(CLOCK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await woken_after(ticker, 40, 10)
    assert await woken_after(ticker, 60, 10) >= 59


async def test_what_is_due_already_wakes_up_at_once():
    assert await woken_after(Ticker(CLOCK), -50, 10) < 100
