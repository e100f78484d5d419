"""put → announce: a segment's way out of memory. The commit follows in rounds, once the announcement is acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeVar

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, PartitionFell, SegmentStored
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime, retrying
from districam_common.s3.blobs import Blobs, Exists, LockRefused
from districam_recorder import metrics
from districam_recorder.core.assembler import Segment
from districam_recorder.core.effects import Effect, Fall, Rejection
from districam_recorder.core.objects import CONTENT_TYPE, Conflict, Object, agreed, metadata_of, object_of
from districam_recorder.locking import Locking

log = structlog.get_logger()
T = TypeVar("T")

SERVICE = "recorder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where segments go and whose they are."""

    site: str
    bucket: str


class Store:
    """Carries out effects, any number at a time; of puts only so many. Repeats each step until it succeeds or is cancelled."""

    def __init__(
        self,
        blobs: Blobs,
        publisher: Publisher,
        runtime: Runtime,
        place: Place,
        locking: Locking,
        *,
        uploads: int,
    ) -> None:
        self._blobs = blobs
        self._locking = locking
        self._publisher = publisher
        self._runtime = runtime
        self._place = place
        self._slots = asyncio.Semaphore(uploads)
        self._events = count(1)

    async def carry_out(self, effect: Effect, partition: int, turn: asyncio.Event) -> None:
        """An effect of `partition`'s log, done for good when this returns; it is announced when it is its turn.

        Raises:
            Fatal: the store or the broker refuses our keys.
        """
        match effect:
            case Segment():
                await self._store(effect, partition, turn)
            case Rejection():
                await turn.wait()
                await self._reject(effect, partition)
            case Fall():
                await turn.wait()
                await self._tell_fall(effect, partition)

    async def _store(self, segment: Segment, partition: int, turn: asyncio.Event) -> None:
        """Put → announce, each safe to repeat: the object is a function of the segment, a repeated announcement of it too."""
        begun_us = self._runtime.clock.monotonic_us()
        async with self._slots:
            made = await asyncio.to_thread(object_of, segment, self._place.bucket)
            stored = await self._retrying("s3", lambda: self._put(made, segment.first.append_us))
        await turn.wait()
        if isinstance(stored, Conflict):
            await self._tell_conflict(stored, segment, partition)
            return
        append_us = await self._announce_stored(stored)
        metrics.SEGMENTS.labels(segment.ended_by).inc()
        metrics.CAPTURED_TO_STORED_SECONDS.observe(max(0, append_us - stored.start_us) / 1e6)
        log.info(
            "segment stored",
            key=stored.key,
            bytes=stored.bytes,
            fragments=len(segment.fragments),
            ended_by=segment.ended_by,
            took_ms=(self._runtime.clock.monotonic_us() - begun_us) // 1000,
        )

    async def _announce_stored(self, stored: SegmentStored) -> int:
        message = wire.stored_message(stored, site=self._place.site)
        return await self._announce(names.SEGMENTS, message)

    async def _tell_conflict(self, conflict: Conflict, segment: Segment, partition: int) -> None:
        """Whoever stored the other bytes may not have come to announce them: they are the truth of the key."""
        if conflict.stored is not None:
            await self._announce_stored(conflict.stored)
        key = segment.fragments[0].info.camera_id
        await self._bury(partition, segment.first.offset, key, conflict.reason)
        metrics.CONFLICTS.labels("object").inc()
        log.error("other bytes are stored under the segment's key", partition=partition, why=conflict.reason)

    async def _put(self, made: Object, append_us: int) -> SegmentStored | Conflict:
        """Writes the object once, locked if the store does that: footage without a lock is better than none."""
        lock = self._locking.of(append_us)
        try:
            stored = await self._write(made, lock.until_us)
        except LockRefused as error:
            stored = await self._write(made, None)  # what it refuses too was not refused for the lock
            lock = self._locking.refused(str(error))
        if not isinstance(stored, Conflict):
            self._locking.stored(lock)
        return stored

    async def _write(self, made: Object, locked_until_us: int | None) -> SegmentStored | Conflict:
        """Gives what to announce: what the object in the store says of itself."""
        begun_us = self._runtime.clock.monotonic_us()
        try:
            await self._blobs.put(
                made.stored.key,
                [made.body],
                content_type=CONTENT_TYPE,
                metadata=metadata_of(made.stored),
                sha256=made.stored.sha256,
                once=True,
                locked_until_us=locked_until_us,
            )
        except LockRefused:
            raise
        except Exists:
            return await self._written_before(made.stored)
        except Retriable as error:
            metrics.PUT_ERRORS.labels(type(error.__cause__ or error).__name__).inc()
            # Not by name: one line about the store, not one an object
            raise Retriable(str(error).replace(made.stored.key, "objects")) from error
        except (
            Rejected
        ) as error:  # a proxy's limit, or a store in maintenance: every segment is within the bounds of S3
            metrics.PUT_ERRORS.labels(type(error).__name__).inc()
            raise Retriable(f"the store refuses the segment {made.stored.key}: {error}") from error
        metrics.PUT_SECONDS.observe((self._runtime.clock.monotonic_us() - begun_us) / 1e6)
        return made.stored

    async def _written_before(self, ours: SegmentStored) -> SegmentStored | Conflict:
        try:
            head = await self._blobs.head(ours.key)
        except Rejected as error:
            raise Retriable(str(error)) from error
        if head is None:
            raise Retriable(f"the object {ours.key} was there and is gone")
        return agreed(ours, head.size, head.metadata)

    async def _reject(self, rejection: Rejection, partition: int) -> None:
        offset = rejection.first.offset
        await self._bury(partition, offset, rejection.key, rejection.reason)
        if rejection.is_conflict:
            metrics.CONFLICTS.labels("fragment").inc()
        log.warning("record rejected", partition=partition, offset=offset, why=rejection.reason)

    async def _bury(self, partition: int, offset: int, key: str, reason: str) -> None:
        letter = DeadLetter(
            topic=names.FRAGMENTS,
            partition=partition,
            offset=offset,
            key=key,
            reason=reason,
            service=SERVICE,
        )
        message = wire.deadletter_message(letter, site=self._place.site, at_us=self._runtime.clock.now_us())
        await self._announce(names.DEADLETTERS, message)
        metrics.DEADLETTERS.inc()

    async def _tell_fall(self, fall: Fall, partition: int) -> None:
        """Goes to the partition of `streams` that stands for this one of `fragments`, so that `log_us` comes after it."""
        event = PartitionFell(
            partition=partition,
            at_us=self._runtime.clock.now_us(),
            instance=self._runtime.instance,
            from_us=fall.from_us,
            to_us=fall.to_us,
        )
        message = wire.event_message(event, next(self._events), site=self._place.site, service=SERVICE)
        streams = await self._retrying("kafka", lambda: self._publisher.partitions(names.STREAMS))
        await self._announce(names.STREAMS, message, partition % streams)
        log.error("partition fell off the log", partition=partition, from_us=fall.from_us, to_us=fall.to_us)

    async def _announce(self, topic: str, message: wire.Message, partition: int | None = None) -> int:
        """Publishes to `partition`, or to that of the message's key; gives the broker's time of the append."""
        publish = partial(self._publisher.publish, topic, message, partition=partition)
        return (await self._retrying("kafka", publish)).append_us

    async def _retrying(self, dependency: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Also while the service is being stopped: cancelling ends it."""
        return await retrying(attempt, self._runtime, dependency, while_stopping=True)
