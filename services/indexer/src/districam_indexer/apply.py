"""Decodes records, plans their operations, writes them in one transaction. Rejected ones become dead letters."""

from collections.abc import Iterable, Mapping, Sequence

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, FootageExpired, SegmentStored
from districam_common.errors import Rejected
from districam_common.kafka.consumer import Record
from districam_common.kafka.marks import Mark
from districam_common.ledger.intervals import Interval, merge
from districam_indexer import metrics
from districam_indexer.core.decode import IndexedValue, cameras_with_old_footage, decode, expired_by_camera, plan
from districam_indexer.core.expired_validation import rejection_reason
from districam_indexer.core.operations import Operation, to_batch
from districam_indexer.core.progress import TopicPartition
from districam_indexer.dependencies import Dependencies

log = structlog.get_logger()


class Applier:
    """Writes records to the index; ignores announcements of expired footage. Not for concurrent use."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._expired: dict[str, list[Interval]] = {}

    async def apply(
        self,
        records: Iterable[Record],
        *,
        build: str,
        offset_changes: Mapping[TopicPartition, tuple[int, int]] | None = None,
        read_marks: Mapping[TopicPartition, Sequence[Mark]] | None = None,
    ) -> None:
        """Writes all records or none; idempotent. See `IndexWriter.apply` for the arguments.

        Raises:
            IndexChanged, Retriable: nothing was written (dead letters may have been sent).
        """
        decoded, dead_letters = self._decode(records)
        await self._refresh_expired([value for _, value in decoded])
        operations: list[Operation] = []
        for record, value in decoded:
            try:
                operations += plan(value, record.append_us, self._expired)
            except Rejected as error:
                dead_letters.append(_dead_letter(record, str(error)))
        for letter in dead_letters:
            await self._publish_dead_letter(letter)
        await self._deps.writer.apply(
            to_batch(operations), build=build, offset_changes=offset_changes, read_marks=read_marks
        )
        self._report_indexed(value for _, value in decoded)

    def _decode(self, records: Iterable[Record]) -> tuple[list[tuple[Record, IndexedValue]], list[DeadLetter]]:
        decoded: list[tuple[Record, IndexedValue]] = []
        dead_letters: list[DeadLetter] = []
        for record in records:
            if record.problem:
                dead_letters.append(_dead_letter(record, record.problem))
                continue
            try:
                decoded.append((record, self._decode_value(record)))
            except Rejected as error:
                dead_letters.append(_dead_letter(record, str(error)))
        return decoded, dead_letters

    def _decode_value(self, record: Record) -> IndexedValue:
        value = decode(record.topic, record.key, record.headers, record.value)
        if isinstance(value, FootageExpired):
            until_us = self._deps.streams_until_us
            if reason := rejection_reason(value, record.topic, record.append_us, until_us):
                metrics.EXPIRED_REJECTED.inc()
                raise Rejected(reason)
        return value

    async def _refresh_expired(self, values: Sequence[IndexedValue]) -> None:
        """Reads the cameras' expired intervals, anew for each batch: retention may have added some."""
        camera_ids = sorted(cameras_with_old_footage(values, self._deps.runtime.clock.now_us()))
        self._expired = await self._deps.index.expired_intervals(camera_ids) if camera_ids else {}
        for camera_id, ranges in expired_by_camera(values).items():
            self._expired[camera_id] = merge([*self._expired.get(camera_id, []), *ranges])

    async def _publish_dead_letter(self, dead_letter: DeadLetter) -> None:
        now_us = self._deps.runtime.clock.now_us()
        message = wire.deadletter_message(dead_letter, site=self._deps.settings.site, at_us=now_us)
        await self._deps.publisher.publish(names.DEADLETTERS, message)
        metrics.DEADLETTERS.inc()
        log.warning(
            "record rejected",
            topic=dead_letter.topic,
            partition=dead_letter.partition,
            offset=dead_letter.offset,
            why=dead_letter.reason,
        )

    def _report_indexed(self, values: Iterable[IndexedValue]) -> None:
        now_us = self._deps.runtime.clock.now_us()
        for value in values:
            if isinstance(value, SegmentStored):
                metrics.CAPTURED_TO_INDEXED.observe(max(0, now_us - value.end_us) / 1e6)
                self._deps.announced_intervals.feed(value)


def _dead_letter(record: Record, reason: str) -> DeadLetter:
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key_text,
        reason=reason[:500],
        service="indexer",
    )
