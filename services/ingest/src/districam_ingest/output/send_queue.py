"""Queues fragments and events for Kafka: one sender per partition, with one record in flight until it is acknowledged.

A record is sent only after the previous one is acknowledged, so retries keep the order. The records of a camera
(`connected`, fragments, `shed`, `lost`) share one queue: they reach the log in the order in which they were put.
"""

import asyncio
from dataclasses import dataclass

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import STREAM_EVENTS, StreamEvent
from districam_common.contract.media import Fragment, Still
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, retry_dependency
from districam_ingest import metrics
from districam_ingest.clocks.host_clock import HostClock

log = structlog.get_logger()

STOPPING_RETRY_DELAY_S = 0.05
RECORD_OVERHEAD_BYTES = 1024
"""Estimated memory of a queued record besides its value: key, headers and objects."""


@dataclass(frozen=True, slots=True)
class _QueuedRecord:
    topic: str
    message: wire.Message

    @property
    def size_bytes(self) -> int:
        return len(self.message.value) + RECORD_OVERHEAD_BYTES


class SendQueue:
    """The queue in front of the producer. Callers bound it with `has_room`.

    Args:
        tasks: the group in which the senders run until they are cancelled.
        max_bytes: the budget of all cameras together.
        partitions: number of partitions of `fragments` and of `streams`.
    """

    def __init__(
        self,
        publisher: Publisher,
        runtime: Runtime,
        tasks: asyncio.TaskGroup,
        host_clock: HostClock,
        *,
        site: str,
        max_bytes: int,
        partitions: int,
    ) -> None:
        self._publisher, self._runtime, self._tasks = publisher, runtime, tasks
        self._site, self._max_bytes, self._partitions = site, max_bytes, partitions
        self._queues: dict[int, asyncio.Queue[_QueuedRecord]] = {}
        self.senders: list[asyncio.Task[None]] = []
        self._pending_count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._buffered_bytes = 0
        self._event_count = 0
        self._host_clock = host_clock

    def has_room(self, size_bytes: int) -> bool:
        return self._buffered_bytes + size_bytes <= self._max_bytes

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        """Adds bytes buffered elsewhere to the budget, or releases them if negative. Returns False if it is exceeded."""
        self._buffered_bytes += delta_bytes
        metrics.BUFFERED.set(self._buffered_bytes)
        return self._buffered_bytes <= self._max_bytes

    def put_fragment(self, fragment: Fragment) -> None:
        message = wire.fragment_message(fragment, site=self._site)
        self._put(fragment.info.camera_id, _QueuedRecord(names.FRAGMENTS, message))

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        """Queues an event after everything put before for this camera."""
        assert event.type in STREAM_EVENTS
        self._event_count += 1
        message = wire.event_message(event, self._event_count, site=self._site, service="ingest")
        self._put(camera_id, _QueuedRecord(names.STREAMS, message))

    def _put(self, camera_id: str, item: _QueuedRecord) -> None:
        partition = names.partition_of(camera_id, self._partitions)
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = asyncio.Queue()
            self.senders.append(self._tasks.create_task(self._run_sender(queue), name=f"sender {partition}"))
        queue.put_nowait(item)
        self._pending_count += 1
        self._idle.clear()
        self._buffered_bytes += item.size_bytes
        metrics.BUFFERED.set(self._buffered_bytes)

    async def _run_sender(self, queue: asyncio.Queue[_QueuedRecord]) -> None:
        while True:
            item = await queue.get()
            await self._send_until_acknowledged(item)
            self._pending_count -= 1
            if not self._pending_count:
                self._idle.set()
            self._buffered_bytes -= item.size_bytes
            metrics.BUFFERED.set(self._buffered_bytes)
            del item  # half a megabyte, which would be kept in memory until the next one arrives

    async def _send_until_acknowledged(self, item: _QueuedRecord) -> None:
        """Retries until the record is acknowledged or rejected, also during shutdown, which has its own deadline.

        For the host clock every ack counts from the first attempt: the broker may have appended the record during an
        earlier one, and measured from a later one that would wrongly prove this host's clock ahead.
        """
        sent_us = self._runtime.clock.monotonic_us()
        while True:
            try:
                await retry_dependency(lambda: self._send_once(item, sent_us), self._runtime, "kafka", cap_s=2.0)
            except Retriable:  # shutting down: retry until cancelled
                await asyncio.sleep(STOPPING_RETRY_DELAY_S)
            except Rejected as error:
                # Its seq is missing from the log, so the ledger reports pipeline_loss: a bug of ours must be visible.
                log.error("record rejected", topic=item.topic, key=item.message.key.decode(), why=str(error))
                return
            else:
                return

    async def _send_once(self, item: _QueuedRecord, sent_us: int) -> None:
        ack = await self._publisher.publish(item.topic, item.message)
        if ack.broker is not None:
            self._host_clock.feed_ack(ack.append_us, sent_us, self._runtime.clock.monotonic_us(), ack.broker)

    async def publish_still(self, still: Still) -> None:
        """Publishes without retry: the next still is due within seconds."""
        try:
            await self._publisher.publish(names.KEYFRAMES, wire.still_message(still, site=self._site))
        except (Retriable, Rejected) as error:
            metrics.STILLS_SKIPPED.inc()
            log.debug("still not published", camera_id=still.camera_id, why=str(error))

    async def wait_acknowledged(self) -> None:
        """Waits until every queued record is acknowledged or rejected."""
        await self._idle.wait()
