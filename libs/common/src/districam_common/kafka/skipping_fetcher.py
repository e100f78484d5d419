"""A subclass of aiokafka's fetcher that decodes batch by batch (`record_batches`) and skips unreadable batches.

aiokafka's own fetcher raises at an unreadable batch and discards records of other partitions; it ignores unknown error
codes and repeats the request forever; and it takes an empty response for the end of the log. Here, a batch that the
partition's leader cannot return is requested from the other replicas before it counts as unreadable.
"""
# aiokafka's fetcher is not public API (docs/adr/0018):
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
"""Empty responses in a row, although the log continues, before a partition is requested alone. Fewer prove nothing: a
response has space for some of the partitions only (`fetch_max_bytes`)."""
_MAX_ERROR_S = 30.0
"""How long a broker may return an error other than a corrupt batch before it counts as a failed read: it may be temporary."""
_MAX_PROBES = 64
"""Offsets probed after an unreadable one in one go, before other partitions continue. The broker looks offsets up in an
index with an entry per 4 KiB of batches by default, so few are needed."""
_OPTIONS = (
    *("fetch_min_bytes", "fetch_max_bytes", "fetch_max_wait_ms", "max_partition_fetch_bytes"),
    *("retry_backoff_ms", "auto_offset_reset", "isolation_level"),
)
"""Arguments of aiokafka's fetcher that its consumer keeps as private attributes of the same names. `SkippingFetcher` does
not use deserializers, `check_crcs` and `client_rack`."""
_STALE_METADATA_ERRORS = (kafka.NotLeaderForPartitionError, kafka.UnknownTopicOrPartitionError)


class SkippingFetcher(Fetcher):
    """Replaces aiokafka's `Fetcher`; supports isolation level `read_uncommitted` only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._failures = ReadFailures()
        self._empty_responses: dict[TopicPartition, int] = {}
        self._repeated_errors: dict[TopicPartition, tuple[str, int, float]] = {}
        super().__init__(*args, **kwargs)

    def _select_read_replica(self, tp: TopicPartition) -> int | None:
        """The node to fetch from: the leader, or each in-sync replica in turn while a failure is not certain yet."""
        leader: int | None = self._client.cluster.leader_for_partition(tp)
        failure = self._failures.by_partition.get(tp)
        if failure is None or failure.is_certain or leader in {None, -1}:
            return leader
        found = self._client.cluster._partitions.get(tp.topic, {}).get(tp.partition)
        replicas = [leader, *(node for node in (found.isr if found else ()) if node != leader)]
        return replicas[failure.attempts % len(replicas)]

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        """Sends one fetch request and handles its response; returns whether there is new data."""
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
        """To a request for one partition the broker returns at least one batch, however large it is (KIP-74)."""
        wanted = [(key.topic, [(key.partition, position, self._max_partition_fetch_bytes)])]
        return FetchRequest(0, 1, self._fetch_max_bytes, self._isolation_level, wanted)

    def _record_replica_failure(self, node_id: int, request: Any) -> None:
        """Counts a replica that does not answer as a failed read, so that the next replica is tried."""
        for key in _requested_offsets(request):
            failure = self._failures.by_partition.get(key)
            if failure is not None and node_id != self._client.cluster.leader_for_partition(key):
                failure.record_failure("")

    async def _fetch_once(
        self, assignment: Any, node_id: int, request: Any, *, is_alone: bool
    ) -> tuple[bool, list[tuple[TopicPartition, int]]]:
        """Returns whether there is new data, and the partitions (with positions) with repeated empty responses."""
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
                    continue  # sought elsewhere since the request
                if code:
                    refused |= self._handle_error(assignment, key, kafka.for_code(code), node_id)
                elif self._handle_response(assignment, key, answer, is_alone=is_alone):
                    suspects.append((key, state.position))
        has_news = len(self._records) > before
        if refused and not has_news:
            await asyncio.sleep(self._retry_backoff)
        return has_news, suspects

    # ---- responses

    def _handle_response(self, assignment: Any, key: TopicPartition, answer: Any, *, is_alone: bool) -> bool:
        """Handles a response without an error code. Returns True if it is empty repeatedly although the log continues."""
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
        self._failures.record_failure(key, state.position, "the broker returns no record, although the log continues")
        return False

    def _accept_data(self, assignment: Any, key: TopicPartition, data: bytes | None, end: int) -> None:
        position = assignment.state_value(key).position
        failure = self._failures.get(key, position)
        if data:
            self._store_result(assignment, key, BatchReader(key, data, position, end, self._failures))
        elif failure is not None:
            self._failures.clear(key)
            if failure.start < position:  # the unreadable offsets are the last of the log
                gap = OffsetGap(*key, failure.start, position, failure.why)
                self._store_result(assignment, key, SingleGap(gap))

    def _store_result(self, assignment: Any, key: TopicPartition, records: BatchReader | SingleGap) -> None:
        self._records[key] = FetchResult(
            key, assignment=assignment, partition_records=records, backoff=self._prefetch_backoff
        )

    # ---- batches that the broker itself cannot read

    def _partitions_to_skip(self, assignment: Any, node_id: int) -> list[TopicPartition]:
        """Partitions led by this node whose read failure is certain and whose position has not moved."""
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
        """Probes successive offsets until the broker returns data or the log ends; the next fetch continues there."""
        state, failure = assignment.state_value(key), self._failures.by_partition[key]
        for _ in range(_MAX_PROBES):
            offset = max(failure.probed_to, failure.fetch_offset) + 1
            response = await self._client.send(node_id, self._single_partition_request(key, offset))
            if not assignment.active or self._failures.get(key, state.position) is not failure:
                return
            ((_, ((_, code, end, *answer),)),) = response.topics
            is_end = not code and offset >= end and not failure.may_recover
            if code and kafka.for_code(code) is kafka.OffsetOutOfRangeError:
                failure.probed_to = failure.fetch_offset  # restart the probes: the log may have grown
                return
            if (not code and answer[-1]) or is_end:
                failure.fetch_offset = offset
                state.consumed_to(offset)
                return
            failure.probed_to = offset

    # ---- error codes

    def _handle_error(self, assignment: Any, key: TopicPartition, kind: type[kafka.KafkaError], node: int) -> bool:
        """Handles an error code; returns whether to wait before the next request."""
        state = assignment.state_value(key)
        if node != self._client.cluster.leader_for_partition(key):
            self._failures.record_failure(
                key, state.position, ""
            )  # a follower may lag behind; only the leader's error counts
        elif kind is kafka.CorruptRecordException:
            self._failures.record_failure(key, state.position, "the broker reports a corrupt batch")
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
        """Logs any other error once; counts as a failed read if it lasts longer than `_MAX_ERROR_S`."""
        now_s = self._loop.time()
        what, position, since_s = self._repeated_errors.get(key, ("", -1, now_s))
        if (what, position) != (why, state.position):
            self._repeated_errors[key] = (why, state.position, now_s)
            log.warning("fetch refused", topic=key.topic, partition=key.partition, offset=state.position, why=why)
        elif now_s - since_s > _MAX_ERROR_S:
            failure = self._failures.record_failure(key, state.position, f"the broker returns {why}")
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
    """The requested offset of each partition."""
    return {
        TopicPartition(topic, number): offset
        for topic, partitions in request.topics
        for number, offset, _ in partitions
    }


async def install(consumer: AIOKafkaConsumer) -> None:
    """Replaces the fetcher of this consumer, which is started and has no partitions yet, by a `SkippingFetcher`.

    aiokafka creates the fetcher in `start` and has no argument for its class. Replacing the instance affects this
    consumer only; replacing the class in aiokafka's module would affect all consumers of the process.
    """
    original: Any = consumer._fetcher
    await original.close()
    options = {name: getattr(consumer, f"_{name}") for name in _OPTIONS}
    consumer._fetcher = SkippingFetcher(consumer._client, consumer._subscription, **options)
