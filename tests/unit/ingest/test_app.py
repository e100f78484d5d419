"""The wiring of ingest, as far as it can be tested without servers."""

import asyncio
from contextlib import suppress

import pytest

from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import KafkaSettings
from districam_ingest import app
from districam_ingest.clocks.kernel_clock import KernelClock
from districam_ingest.settings import Settings


async def test_without_kafka_the_kernel_clock_is_exported_and_a_stop_is_obeyed(monkeypatch: pytest.MonkeyPatch):
    """Otherwise `districam_ingest_host_clock_synchronized` stays 0, and HostClockUnsynchronized fires if Kafka is down."""
    exported = asyncio.Event()

    def export(clock: KernelClock | None) -> None:
        exported.set()

    monkeypatch.setattr(app, "export_kernel_clock", export)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    runtime = Runtime("ingest")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(app.main(settings, runtime))
        with suppress(TimeoutError):
            await asyncio.wait_for(exported.wait(), 5)
        runtime.stopping.set()
    assert exported.is_set()
