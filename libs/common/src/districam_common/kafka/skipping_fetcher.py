"""aiokafka's fetcher, which reads answers batch by batch (`fetched`) and goes on behind what nobody can read.

Its own raises at a batch that cannot be read, and throws away what it had taken out for others; passes over an error
that it does not know, and asks the same again for ever; and takes an answer that is empty for the end of the log. A batch
that the leader of its partition cannot give whole is asked of the other replicas before it counts as unreadable.
"""
# aiokafka's fetcher is no public part of it (docs/adr/0018):
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka
from aiokafka.consumer.fetcher import Fetcher, FetchResult, OffsetResetStrategy
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from districam_common.kafka.record_batches import BatchReader, OffsetGap, ReadFailures, SingleGap
from districam_common.runtime.known_versions import require

require("aiokafka")

log = structlog.get_logger()

_MAX_EMPTY_RESPONSES = 3
"""So many empty answers in a row, although the log goes on, before a partition is asked for alone. Fewer prove nothing:
an answer has room for some partitions only."""
_MAX_ERROR_S = 30.0
"""A broker that fails in another way than by calling a batch corrupt may have a passing trouble of its own."""
_MAX_PROBES = 64
"""How many offsets are tried behind what cannot be read before others have their turn. The broker finds its way by an
index, with an entry for each 4 KiB of batches by default: few are needed."""
_OPTIONS = (
    *("fetch_min_bytes", "fetch_max_bytes", "fetch_max_wait_ms", "max_partition_fetch_bytes"),
    *("retry_backoff_ms", "auto_offset_reset", "isolation_level"),
)
"""Arguments of aiokafka's fetcher that a consumer keeps as private attributes of the same names. Left out are those that
`PatientFetcher` has no use for: deserializers, `check_crcs` and `client_rack`."""
_STALE_METADATA_ERRORS = (kafka.NotLeaderForPartitionError, kafka.UnknownTopicOrPartitionError)


class SkippingFetcher(Fetcher):
    """Stands for aiokafka's `Fetcher`; it knows isolation level `read_uncommitted` alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._failures = ReadFailures()
        self._empty_responses: dict[TopicPartition, int] = {}
        self._repeated_errors: dict[TopicPartition, tuple[str, int, float]] = {}
        super().__init__(*args, **kwargs)

    def _select_read_replica(self, tp: TopicPartition) -> int | None:
        """The node to ask: the leader, or each replica in turn while it is not certain that a batch is unreadable."""
        leader: int | None = self._client.cluster.leader_for_partition(tp)
        failure = self._failures.by_partition.get(tp)
        if failure is None or failure.is_certain or leader in {None, -1}:
            return leader
        found = self._client.cluster._partitions.get(tp.topic, {}).get(tp.partition)
        replicas = [leader, *(node for node in (found.isr if found else ()) if node != leader)]
        return replicas[failure.attempts % len(replicas)]

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        """One request and what it brings. Gives whether there is anything to be had."""
        try:
            has_news, suspects = await self._fetch_once(assignment, node_id, request, is_alone=False)
            for key, position in suspects:
                found, _ = await self._fetch_once(
                    assignment, node_id, self._single_partition_request(key, position), is_alone=True
                )
                has_news |= found
            for key in self._partitions_to_skip(assignment, node_id):
                await self._probe_next_readable(assignment, node_id, key)
        except kafka.KafkaError as error:
            log.warning("fetch failed", node=node_id, why=f"{type(error).__name__}: {error}")
            self._record_replica_failure(node_id, request)
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False  # closed, or unassigned
        return has_news

    def _single_partition_request(self, key: TopicPartition, position: int) -> FetchRequest:
        """Of a request for one partition the broker gives a batch at least, however large it is (KIP-74)."""
        wanted = [(key.topic, [(key.partition, position, self._max_partition_fetch_bytes)])]
        return FetchRequest(0, 1, self._fetch_max_bytes, self._isolation_level, wanted)

    def _record_replica_failure(self, node_id: int, request: Any) -> None:
        """A replica that does not answer had its turn."""
        for key in _requested_offsets(request):
            failure = self._failures.by_partition.get(key)
            if failure is not None and node_id != self._client.cluster.leader_for_partition(key):
                failure.record_failure("")

    async def _fetch_once(
        self, assignment: Any, node_id: int, request: Any, *, is_alone: bool
    ) -> tuple[bool, list[tuple[TopicPartition, int]]]:
        """Whether anything came, and which partitions ought to have answered and did not, with their positions."""
        response = await self._client.send(node_id, request)
        if not assignment.active:
            return False, []
        asked, before = _requested_offsets(request), len(self._records)
        refused = False
        suspects: list[tuple[TopicPartition, int]] = []
        for topic, partitions in response.topics:
            for number, code, *answer in partitions:
                key = TopicPartition(topic, number)
                state = assignment.state_value(key)
                if not state.has_valid_position or state.position != asked[key] or key in self._records:
                    continue  # sought elsewhere meanwhile
                if code:
                    refused |= self._handle_error(assignment, key, kafka.for_code(code), node_id)
                elif self._handle_response(assignment, key, answer, is_alone=is_alone):
                    suspects.append((key, state.position))
        has_news = len(self._records) > before
        if refused and not has_news:
            await asyncio.sleep(self._retry_backoff)
        return has_news, suspects

    # ---- an answer

    def _handle_response(self, assignment: Any, key: TopicPartition, answer: Any, *, is_alone: bool) -> bool:
        """Takes an answer without an error. True: it is empty again although the log goes on."""
        state, (end, stable, *_, data) = assignment.state_value(key), answer
        state.highwater, state.lso = end, stable
        self._repeated_errors.pop(key, None)
        if data or state.position >= end:
            self._empty_responses.pop(key, None)
            self._accept_data(assignment, key, data, end)
            return False
        if not is_alone:
            self._empty_responses[key] = self._empty_responses.get(key, 0) + 1
            return self._empty_responses[key] >= _MAX_EMPTY_RESPONSES
        self._failures.record_failure(key, state.position, "the broker has a record here, and gives none")
        return False

    def _accept_data(self, assignment: Any, key: TopicPartition, data: bytes | None, end: int) -> None:
        position = assignment.state_value(key).position
        failure = self._failures.get(key, position)
        if data:
            self._store_result(assignment, key, BatchReader(key, data, position, end, self._failures))
        elif failure is not None:
            self._failures.clear(key)
            if failure.start < position:  # the last of the log
                gap = OffsetGap(*key, failure.start, position, failure.why)
                self._store_result(assignment, key, SingleGap(gap))

    def _store_result(self, assignment: Any, key: TopicPartition, records: BatchReader | SingleGap) -> None:
        self._records[key] = FetchResult(
            key, assignment=assignment, partition_records=records, backoff=self._prefetch_backoff
        )

    # ---- what the broker itself cannot read

    def _partitions_to_skip(self, assignment: Any, node_id: int) -> list[TopicPartition]:
        """Partitions of this leader whose trouble is certain, and that still stand there."""
        return [
            key
            for key, failure in self._failures.by_partition.items()
            if failure.is_certain
            and key not in self._records
            and self._client.cluster.leader_for_partition(key) == node_id
            and (state := assignment.state_value(key)) is not None
            and state.has_valid_position
            and state.position == failure.fetch_offset
        ]

    async def _probe_next_readable(self, assignment: Any, node_id: int, key: TopicPartition) -> None:
        """Tries one offset after another until the broker can read again, or the log ends; there the next fetch goes on."""
        state, failure = assignment.state_value(key), self._failures.by_partition[key]
        for _ in range(_MAX_PROBES):
            offset = max(failure.probed_to, failure.fetch_offset) + 1
            response = await self._client.send(node_id, self._single_partition_request(key, offset))
            if not assignment.active or self._failures.get(key, state.position) is not failure:
                return
            ((_, ((_, code, end, *answer),)),) = response.topics
            is_end = not code and offset >= end and not failure.may_recover
            if code and kafka.for_code(code) is kafka.OffsetOutOfRangeError:
                failure.probed_to = failure.fetch_offset  # from the start once more: the log may have grown
                return
            if (not code and answer[-1]) or is_end:
                failure.fetch_offset = offset
                state.consumed_to(offset)
                return
            failure.probed_to = offset

    # ---- an error

    def _handle_error(self, assignment: Any, key: TopicPartition, kind: type[kafka.KafkaError], node: int) -> bool:
        """Whether to wait before asking again."""
        state = assignment.state_value(key)
        if node != self._client.cluster.leader_for_partition(key):
            self._failures.record_failure(
                key, state.position, ""
            )  # a replica that is behind; the leader's answer counts
        elif kind is kafka.CorruptRecordException:
            self._failures.record_failure(key, state.position, "the broker cannot read the batch itself")
        elif kind is kafka.OffsetOutOfRangeError:
            self._handle_offset_out_of_range(state, key)
        elif kind is kafka.TopicAuthorizationFailedError:
            self._set_error(key, kind(key.topic))
        elif kind in _STALE_METADATA_ERRORS:
            self._client.force_metadata_update()
        else:
            self._handle_unknown_error(state, key, kind.__name__)
        return True

    def _handle_unknown_error(self, state: Any, key: TopicPartition, why: str) -> None:
        """An error that says nothing: told once, and looked behind if it lasts."""
        now_s = self._loop.time()
        what, position, since_s = self._repeated_errors.get(key, ("", -1, now_s))
        if (what, position) != (why, state.position):
            self._repeated_errors[key] = (why, state.position, now_s)
            log.warning("fetch refused", topic=key.topic, partition=key.partition, offset=state.position, why=why)
        elif now_s - since_s > _MAX_ERROR_S:
            failure = self._failures.record_failure(key, state.position, f"the broker answers {why}")
            if failure is not None:
                failure.may_recover = True

    def _handle_offset_out_of_range(self, state: Any, key: TopicPartition) -> None:
        failure = self._failures.get(key, state.position)
        if failure is not None:
            state.consumed_to(failure.start)
            self._failures.clear(key)
        if self._default_reset_strategy != OffsetResetStrategy.NONE:
            state.await_reset(self._default_reset_strategy)
        else:
            self._set_error(key, kafka.OffsetOutOfRangeError({key: state.position}))


def _requested_offsets(request: Any) -> dict[TopicPartition, int]:
    """The positions that a request asks for."""
    return {
        TopicPartition(topic, number): offset
        for topic, partitions in request.topics
        for number, offset, _ in partitions
    }


async def install(consumer: AIOKafkaConsumer) -> None:
    """Puts a `PatientFetcher` in the place of the fetcher of this consumer: started, and without partitions so far.

    aiokafka makes the fetcher in `start` and has no argument for its type. To replace it in one consumer leaves all others of the
    process as they are; to replace the name in aiokafka's module would not.
    """
    original: Any = consumer._fetcher
    await original.close()
    options = {name: getattr(consumer, f"_{name}") for name in _OPTIONS}
    consumer._fetcher = SkippingFetcher(consumer._client, consumer._subscription, **options)
