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

from districam_common.kafka.fetched import Batches, Missing, Told, Troubles
from districam_common.runtime.known_versions import require

require("aiokafka")

log = structlog.get_logger()

_EMPTY_ANSWERS = 3
"""So many empty answers in a row, although the log goes on, before a partition is asked for alone. Fewer prove nothing:
an answer has room for some partitions only."""
_PATIENCE_S = 30.0
"""A broker that fails in another way than by calling a batch corrupt may have a passing trouble of its own."""
_LOOKS = 64
"""How many offsets are tried behind what cannot be read before others have their turn. The broker finds its way by an
index, with an entry for each 4 KiB of batches by default: few are needed."""
_OPTIONS = (
    *("fetch_min_bytes", "fetch_max_bytes", "fetch_max_wait_ms", "max_partition_fetch_bytes"),
    *("retry_backoff_ms", "auto_offset_reset", "isolation_level"),
)
"""Arguments of aiokafka's fetcher that a consumer keeps as private attributes of the same names. Left out are those that
`PatientFetcher` has no use for: deserializers, `check_crcs` and `client_rack`."""
_MOVED = (kafka.NotLeaderForPartitionError, kafka.UnknownTopicOrPartitionError)


class PatientFetcher(Fetcher):
    """Stands for aiokafka's `Fetcher`; it knows isolation level `read_uncommitted` alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._troubles = Troubles()
        self._empty: dict[TopicPartition, int] = {}
        self._failing: dict[TopicPartition, tuple[str, int, float]] = {}
        super().__init__(*args, **kwargs)

    def _select_read_replica(self, tp: TopicPartition) -> int | None:
        """The node to ask: the leader, or each replica in turn while it is not certain that a batch is unreadable."""
        leader: int | None = self._client.cluster.leader_for_partition(tp)
        trouble = self._troubles.by_partition.get(tp)
        if trouble is None or trouble.is_certain or leader in {None, -1}:
            return leader
        found = self._client.cluster._partitions.get(tp.topic, {}).get(tp.partition)
        replicas = [leader, *(node for node in (found.isr if found else ()) if node != leader)]
        return replicas[trouble.tries % len(replicas)]

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        """One request and what it brings. Gives whether there is anything to be had."""
        try:
            has_news, suspects = await self._ask(assignment, node_id, request, is_alone=False)
            for key, position in suspects:
                found, _ = await self._ask(assignment, node_id, self._alone(key, position), is_alone=True)
                has_news |= found
            for key in self._to_pass(assignment, node_id):
                await self._look_behind(assignment, node_id, key)
        except kafka.KafkaError as error:
            log.warning("fetch failed", node=node_id, why=f"{type(error).__name__}: {error}")
            self._blame_replica(node_id, request)
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False  # closed, or unassigned
        return has_news

    def _alone(self, key: TopicPartition, position: int) -> FetchRequest:
        """Of a request for one partition the broker gives a batch at least, however large it is (KIP-74)."""
        wanted = [(key.topic, [(key.partition, position, self._max_partition_fetch_bytes)])]
        return FetchRequest(0, 1, self._fetch_max_bytes, self._isolation_level, wanted)

    def _blame_replica(self, node_id: int, request: Any) -> None:
        """A replica that does not answer had its turn."""
        for key in _asked(request):
            trouble = self._troubles.by_partition.get(key)
            if trouble is not None and node_id != self._client.cluster.leader_for_partition(key):
                trouble.is_met("")

    async def _ask(
        self, assignment: Any, node_id: int, request: Any, *, is_alone: bool
    ) -> tuple[bool, list[tuple[TopicPartition, int]]]:
        """Whether anything came, and which partitions ought to have answered and did not, with their positions."""
        response = await self._client.send(node_id, request)
        if not assignment.active:
            return False, []
        asked, before = _asked(request), len(self._records)
        refused = False
        suspects: list[tuple[TopicPartition, int]] = []
        for topic, partitions in response.topics:
            for number, code, *answer in partitions:
                key = TopicPartition(topic, number)
                state = assignment.state_value(key)
                if not state.has_valid_position or state.position != asked[key] or key in self._records:
                    continue  # sought elsewhere meanwhile
                if code:
                    refused |= self._take_error(assignment, key, kafka.for_code(code), node_id)
                elif self._is_suspect(assignment, key, answer, is_alone=is_alone):
                    suspects.append((key, state.position))
        has_news = len(self._records) > before
        if refused and not has_news:
            await asyncio.sleep(self._retry_backoff)
        return has_news, suspects

    # ---- an answer

    def _is_suspect(self, assignment: Any, key: TopicPartition, answer: Any, *, is_alone: bool) -> bool:
        """Takes an answer without an error. True: it is empty again although the log goes on."""
        state, (end, stable, *_, data) = assignment.state_value(key), answer
        state.highwater, state.lso = end, stable
        self._failing.pop(key, None)
        if data or state.position >= end:
            self._empty.pop(key, None)
            self._take(assignment, key, data, end)
            return False
        if not is_alone:
            self._empty[key] = self._empty.get(key, 0) + 1
            return self._empty[key] >= _EMPTY_ANSWERS
        self._troubles.met(key, state.position, "the broker has a record here, and gives none")
        return False

    def _take(self, assignment: Any, key: TopicPartition, data: bytes | None, end: int) -> None:
        position = assignment.state_value(key).position
        trouble = self._troubles.at(key, position)
        if data:
            self._put(assignment, key, Batches(key, data, position, end, self._troubles))
        elif trouble is not None:
            self._troubles.over(key)
            if trouble.start < position:  # the last of the log
                missing = Missing(*key, trouble.start, position, trouble.why)
                self._put(assignment, key, Told(missing))

    def _put(self, assignment: Any, key: TopicPartition, records: Batches | Told) -> None:
        self._records[key] = FetchResult(
            key, assignment=assignment, partition_records=records, backoff=self._prefetch_backoff
        )

    # ---- what the broker itself cannot read

    def _to_pass(self, assignment: Any, node_id: int) -> list[TopicPartition]:
        """Partitions of this leader whose trouble is certain, and that still stand there."""
        return [
            key
            for key, trouble in self._troubles.by_partition.items()
            if trouble.is_certain
            and key not in self._records
            and self._client.cluster.leader_for_partition(key) == node_id
            and (state := assignment.state_value(key)) is not None
            and state.has_valid_position
            and state.position == trouble.at
        ]

    async def _look_behind(self, assignment: Any, node_id: int, key: TopicPartition) -> None:
        """Tries one offset after another until the broker can read again, or the log ends; there the next fetch goes on."""
        state, trouble = assignment.state_value(key), self._troubles.by_partition[key]
        for _ in range(_LOOKS):
            offset = max(trouble.looked, trouble.at) + 1
            response = await self._client.send(node_id, self._alone(key, offset))
            if not assignment.active or self._troubles.at(key, state.position) is not trouble:
                return
            ((_, ((_, code, end, *answer),)),) = response.topics
            is_end = not code and offset >= end and not trouble.may_pass
            if code and kafka.for_code(code) is kafka.OffsetOutOfRangeError:
                trouble.looked = trouble.at  # from the start once more: the log may have grown
                return
            if (not code and answer[-1]) or is_end:
                trouble.at = offset
                state.consumed_to(offset)
                return
            trouble.looked = offset

    # ---- an error

    def _take_error(
        self, assignment: Any, key: TopicPartition, kind: type[kafka.KafkaError], node: int
    ) -> bool:
        """Whether to wait before asking again."""
        state = assignment.state_value(key)
        if node != self._client.cluster.leader_for_partition(key):
            self._troubles.met(
                key, state.position, ""
            )  # a replica that is behind; the leader's answer counts
        elif kind is kafka.CorruptRecordException:
            self._troubles.met(key, state.position, "the broker cannot read the batch itself")
        elif kind is kafka.OffsetOutOfRangeError:
            self._falls(state, key)
        elif kind is kafka.TopicAuthorizationFailedError:
            self._set_error(key, kind(key.topic))
        elif kind in _MOVED:
            self._client.force_metadata_update()
        else:
            self._fails(state, key, kind.__name__)
        return True

    def _fails(self, state: Any, key: TopicPartition, why: str) -> None:
        """An error that says nothing: told once, and looked behind if it lasts."""
        now_s = self._loop.time()
        what, position, since_s = self._failing.get(key, ("", -1, now_s))
        if (what, position) != (why, state.position):
            self._failing[key] = (why, state.position, now_s)
            log.warning(
                "fetch refused", topic=key.topic, partition=key.partition, offset=state.position, why=why
            )
        elif now_s - since_s > _PATIENCE_S:
            trouble = self._troubles.met(key, state.position, f"the broker answers {why}")
            if trouble is not None:
                trouble.may_pass = True

    def _falls(self, state: Any, key: TopicPartition) -> None:
        trouble = self._troubles.at(key, state.position)
        if trouble is not None:
            state.consumed_to(trouble.start)
            self._troubles.over(key)
        if self._default_reset_strategy != OffsetResetStrategy.NONE:
            state.await_reset(self._default_reset_strategy)
        else:
            self._set_error(key, kafka.OffsetOutOfRangeError({key: state.position}))


def _asked(request: Any) -> dict[TopicPartition, int]:
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
    consumer._fetcher = PatientFetcher(consumer._client, consumer._subscription, **options)
