"""Ingest put together, as far as it goes without a server."""

import asyncio
from contextlib import suppress

import pytest

from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import KafkaSettings
from districam_ingest import app
from districam_ingest.clocks.kernel_clock import KernelClock
from districam_ingest.settings import Settings


async def test_without_kafka_the_kernel_clock_is_exported_and_a_stop_is_obeyed(
    monkeypatch: pytest.MonkeyPatch,
):
    """Else `districam_ingest_host_clock_synchronized` stays 0, and HostClockUnsynchronized fires for what is Kafka's trouble."""
    told = asyncio.Event()

    def tell(clock: KernelClock | None) -> None:
        told.set()

    monkeypatch.setattr(app, "export_kernel_clock", tell)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    runtime = Runtime("ingest")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(app.main(settings, runtime))
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), 5)
        runtime.stopping.set()
    assert told.is_set()
