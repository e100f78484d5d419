"""Records → the index: decoded, planned, written in one transaction. What can never be indexed goes to deadletters."""

from collections.abc import Iterable, Mapping, Sequence

import structlog

from districam_common.contract import names, wire
from districam_common.contract.events import DeadLetter, FootageExpired, SegmentStored
from districam_common.errors import Rejected
from districam_common.kafka.consumer import Record
from districam_common.kafka.marks import Mark
from districam_common.ledger.intervals import Interval, merge
from districam_indexer import metrics
from districam_indexer.core.belief import objection
from districam_indexer.core.decode import Value, decode, expired_in, may_be_expired, plan
from districam_indexer.core.operations import Operation, gathered
from districam_indexer.core.progress import Place
from districam_indexer.doors import Doors

log = structlog.get_logger()


class Applier:
    """Writes records; passes over replays of what has expired. For one loop."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._expired: dict[str, list[Interval]] = {}

    async def apply(
        self,
        records: Iterable[Record],
        *,
        build: str,
        moves: Mapping[Place, tuple[int, int]] | None = None,
        read: Mapping[Place, Sequence[Mark]] | None = None,
    ) -> None:
        """All of it, or nothing; see `IndexWriter.apply`. Records may come again.

        Raises:
            IndexChanged, Retriable: nothing was written (a dead letter may have been sent).
        """
        decoded, letters = self._decoded(records)
        await self._learn_expired([value for _, value in decoded])
        operations: list[Operation] = []
        for record, value in decoded:
            try:
                operations += plan(value, record.append_us, self._expired)
            except Rejected as error:
                letters.append(_letter(record, str(error)))
        for letter in letters:
            await self._bury(letter)
        await self._doors.writer.apply(gathered(operations), build=build, moves=moves, read=read)
        self._notice(value for _, value in decoded)

    def _decoded(self, records: Iterable[Record]) -> tuple[list[tuple[Record, Value]], list[DeadLetter]]:
        decoded: list[tuple[Record, Value]] = []
        letters: list[DeadLetter] = []
        for record in records:
            if record.problem:
                letters.append(_letter(record, record.problem))
                continue
            try:
                decoded.append((record, self._value(record)))
            except Rejected as error:
                letters.append(_letter(record, str(error)))
        return decoded, letters

    def _value(self, record: Record) -> Value:
        value = decode(record.topic, record.key, record.headers, record.value)
        if isinstance(value, FootageExpired):
            until_us = self._doors.streams_until_us
            if why := objection(value, record.topic, record.append_us, until_us):
                metrics.EXPIRED_REFUSED.inc()
                raise Rejected(why)
        return value

    async def _learn_expired(self, values: Sequence[Value]) -> None:
        """Looked up each time: retention may have let go of more a moment ago."""
        asked = sorted(may_be_expired(values, self._doors.runtime.clock.now_us()))
        self._expired = await self._doors.index.expired(asked) if asked else {}
        for camera_id, ranges in expired_in(values).items():
            self._expired[camera_id] = merge([*self._expired.get(camera_id, []), *ranges])

    async def _bury(self, letter: DeadLetter) -> None:
        now_us = self._doors.runtime.clock.now_us()
        message = wire.deadletter_message(letter, site=self._doors.settings.site, at_us=now_us)
        await self._doors.publisher.publish(names.DEADLETTERS, message)
        metrics.DEADLETTERS.inc()
        log.warning(
            "record rejected",
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            why=letter.reason,
        )

    def _notice(self, values: Iterable[Value]) -> None:
        now_us = self._doors.runtime.clock.now_us()
        for value in values:
            if isinstance(value, SegmentStored):
                metrics.CAPTURED_TO_INDEXED.observe(max(0, now_us - value.end_us) / 1e6)
                self._doors.arrivals.note(value)


def _letter(record: Record, reason: str) -> DeadLetter:
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key_text,
        reason=reason[:500],
        service="indexer",
    )
