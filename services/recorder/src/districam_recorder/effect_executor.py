"""Stores segments (PUT), then announces them on Kafka. Commits follow in rounds, once acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeVar

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, PartitionTruncated, SegmentStored
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, retry_dependency
from districam_common.s3.blobs import Blobs, LockRefused, ObjectExists
from districam_recorder import metrics
from districam_recorder.core.assembler import Segment
from districam_recorder.core.effects import Effect, Rejection, Truncation
from districam_recorder.core.objects import (
    CONTENT_TYPE,
    Conflict,
    SegmentObject,
    build_object,
    encode_metadata,
    resolve_existing,
)
from districam_recorder.lock_policy import LockPolicy

log = structlog.get_logger()
T = TypeVar("T")

SERVICE = "recorder"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketTarget:
    """The bucket that segments are stored in, and the site that they are announced under."""

    site: str
    bucket: str


class EffectExecutor:
    """Executes effects concurrently, at most `uploads` PUTs at a time; retries until success or cancellation."""

    def __init__(
        self,
        blobs: Blobs,
        publisher: Publisher,
        runtime: Runtime,
        target: BucketTarget,
        lock_policy: LockPolicy,
        *,
        uploads: int,
    ) -> None:
        self._blobs = blobs
        self._lock_policy = lock_policy
        self._publisher = publisher
        self._runtime = runtime
        self._target = target
        self._put_slots = asyncio.Semaphore(uploads)
        self._event_numbers = count(1)

    async def execute(self, effect: Effect, partition: int, previous_done: asyncio.Event) -> None:
        """Executes one effect of `partition`; publishes after `previous_done`, which keeps the order.

        Raises:
            Fatal: the store or the broker refuses our credentials.
        """
        match effect:
            case Segment():
                await self._store_segment(effect, partition, previous_done)
            case Rejection():
                await previous_done.wait()
                await self._reject(effect, partition)
            case Truncation():
                await previous_done.wait()
                await self._publish_truncation(effect, partition)

    async def _store_segment(self, segment: Segment, partition: int, previous_done: asyncio.Event) -> None:
        """PUT, then announce. Both are idempotent: object and announcement are functions of the segment."""
        started_us = self._runtime.clock.monotonic_us()
        async with self._put_slots:
            segment_object = await asyncio.to_thread(build_object, segment, self._target.bucket)
            stored = await self._retry("s3", lambda: self._put(segment_object, segment.first.append_us))
        await previous_done.wait()
        if isinstance(stored, Conflict):
            await self._publish_conflict(stored, segment, partition)
            return
        append_us = await self._publish_stored(stored)
        metrics.SEGMENTS.labels(segment.close_reason).inc()
        metrics.CAPTURED_TO_STORED_SECONDS.observe(max(0, append_us - stored.start_us) / 1e6)
        log.info(
            "segment stored",
            key=stored.key,
            bytes=stored.bytes,
            fragments=len(segment.fragments),
            ended_by=segment.close_reason,
            took_ms=(self._runtime.clock.monotonic_us() - started_us) // 1000,
        )

    async def _publish_stored(self, stored: SegmentStored) -> int:
        message = wire.stored_message(stored, site=self._target.site)
        return await self._publish(names.SEGMENTS, message)

    async def _publish_conflict(self, conflict: Conflict, segment: Segment, partition: int) -> None:
        """Announces the existing object (its writer may have died first), and sends the dead letter."""
        if conflict.stored is not None:
            await self._publish_stored(conflict.stored)
        key = segment.fragments[0].info.camera_id
        await self._publish_dead_letter(partition, segment.first.offset, key, conflict.reason)
        metrics.CONFLICTS.labels("object").inc()
        log.error("segment not stored: its key holds another object", partition=partition, why=conflict.reason)

    async def _put(self, segment_object: SegmentObject, append_us: int) -> SegmentStored | Conflict:
        """Writes the object with a lock; if the store refuses the lock, without: unlocked footage beats none."""
        decision = self._lock_policy.decide(append_us)
        try:
            stored = await self._put_once(segment_object, decision.retain_until_us)
        except LockRefused as error:
            stored = await self._put_once(segment_object, None)  # if this fails too, the lock was not the reason
            decision = self._lock_policy.report_refused(str(error))
        if not isinstance(stored, Conflict):
            self._lock_policy.report_stored(decision)
        return stored

    async def _put_once(self, segment_object: SegmentObject, locked_until_us: int | None) -> SegmentStored | Conflict:
        """One conditional PUT. Returns what to announce: the existing object if the key was taken.

        Raises:
            LockRefused: the store refuses the retention.
            Retriable: the object cannot be stored, or the existing one cannot be read.
        """
        started_us = self._runtime.clock.monotonic_us()
        try:
            await self._blobs.put(
                segment_object.stored.key,
                [segment_object.body],
                content_type=CONTENT_TYPE,
                metadata=encode_metadata(segment_object.stored),
                sha256=segment_object.stored.sha256,
                once=True,
                locked_until_us=locked_until_us,
            )
        except LockRefused:
            raise
        except ObjectExists:
            return await self._read_existing(segment_object.stored)
        except Retriable as error:
            metrics.PUT_ERRORS.labels(type(error.__cause__ or error).__name__).inc()
            # Without the key, so that health and log report one store failure, not one for each object
            raise Retriable(str(error).replace(segment_object.stored.key, "objects")) from error
        except Rejected as error:
            # Every segment is within S3's limits, so this is a proxy's body limit or a store in maintenance: retry
            metrics.PUT_ERRORS.labels(type(error).__name__).inc()
            raise Retriable(f"the store refuses the segment {segment_object.stored.key}: {error}") from error
        metrics.PUT_SECONDS.observe((self._runtime.clock.monotonic_us() - started_us) / 1e6)
        return segment_object.stored

    async def _read_existing(self, ours: SegmentStored) -> SegmentStored | Conflict:
        try:
            head = await self._blobs.head(ours.key)
        except Rejected as error:
            raise Retriable(str(error)) from error
        if head is None:
            raise Retriable(f"the object {ours.key} existed at the PUT and is gone at the HEAD")
        return resolve_existing(ours, head.size, head.metadata)

    async def _reject(self, rejection: Rejection, partition: int) -> None:
        offset = rejection.first.offset
        await self._publish_dead_letter(partition, offset, rejection.key, rejection.reason)
        if rejection.is_conflict:
            metrics.CONFLICTS.labels("fragment").inc()
        log.warning("record rejected", partition=partition, offset=offset, why=rejection.reason)

    async def _publish_dead_letter(self, partition: int, offset: int, key: str, reason: str) -> None:
        dead_letter = DeadLetter(
            topic=names.FRAGMENTS, partition=partition, offset=offset, key=key, reason=reason, service=SERVICE
        )
        message = wire.deadletter_message(dead_letter, site=self._target.site, at_us=self._runtime.clock.now_us())
        await self._publish(names.DEADLETTERS, message)
        metrics.DEADLETTERS.inc()

    async def _publish_truncation(self, truncation: Truncation, partition: int) -> None:
        """Publishes to the `streams` partition that this `fragments` partition's `log_us` waits for."""
        event = PartitionTruncated(
            partition=partition,
            at_us=self._runtime.clock.now_us(),
            instance=self._runtime.instance,
            from_us=truncation.from_us,
            to_us=truncation.to_us,
        )
        message = wire.event_message(event, next(self._event_numbers), site=self._target.site, service=SERVICE)
        streams = await self._retry("kafka", lambda: self._publisher.partitions(names.STREAMS))
        await self._publish(names.STREAMS, message, partition % streams)
        log.error(
            "records of a partition lost before they were stored",
            partition=partition,
            from_us=truncation.from_us,
            to_us=truncation.to_us,
        )

    async def _publish(self, topic: str, message: wire.Message, partition: int | None = None) -> int:
        """Publishes to `partition`, or to that of the message's key. Returns the append time (broker clock)."""
        publish = partial(self._publisher.publish, topic, message, partition=partition)
        return (await self._retry("kafka", publish)).append_us

    async def _retry(self, dependency: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retries until success, also while the service stops; only cancellation ends it."""
        return await retry_dependency(attempt, self._runtime, dependency, while_stopping=True)
