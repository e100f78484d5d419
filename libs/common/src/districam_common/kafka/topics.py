"""Declares the topics, compares them with the broker's, and creates and alters them."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from districam_common.contract import names
from districam_common.errors import Fatal, Retriable
from districam_common.kafka.connection import translate_error, translate_errors
from districam_common.runtime.settings import TopicsSettings

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_TOPIC_CONFIG = 1
"""`config_source` DYNAMIC_TOPIC_CONFIG, a value set on the topic itself (Kafka protocol, DescribeConfigs)."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared topic. `is_keyed`: partitions are chosen by key for order, so their number must never change."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    is_keyed: bool = True


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic on the broker; `overrides` are the configs set on the topic itself."""

    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes to make; `refusals` explain differences that are not changed, and what to do instead."""

    create: tuple[Topic, ...]
    alter: tuple[tuple[Topic, Mapping[str, tuple[str, str]]], ...]
    """A topic and, for each config that differs, its current and its declared value."""
    refusals: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.alter or self.refusals)


def declared_topics(settings: TopicsSettings) -> list[Topic]:
    """Every topic of the contract (docs/design/contract.md, Topics)."""
    common = {
        "cleanup.policy": "delete",
        "compression.type": "uncompressed",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(settings.min_insync_replicas),
    }
    fragments = {
        "retention.ms": _ms(settings.fragments_retention_h, _HOUR_MS),
        "retention.bytes": str(settings.fragments_retention_bytes),
        "max.message.bytes": str(settings.fragments_max_bytes),
    }
    keyframes = {"retention.ms": _ms(settings.keyframes_retention_h, _HOUR_MS)}
    segments = {"retention.ms": _ms(settings.segments_retention_days, _DAY_MS)}
    streams = {**segments, "retention.bytes": str(settings.streams_retention_bytes)}
    deadletters = {
        "retention.ms": _ms(settings.deadletters_retention_days, _DAY_MS),
        "retention.bytes": str(settings.deadletters_retention_bytes),
    }
    clocks = {"retention.ms": str(_HOUR_MS)}
    rows = (
        # No time limit: the ledger needs every revision of a camera.
        (names.CAMERAS, settings.partitions, {"retention.ms": "-1"}, True),
        (names.FRAGMENTS, settings.partitions, fragments, True),
        (names.KEYFRAMES, settings.small_partitions, keyframes, True),
        (names.SEGMENTS, settings.small_partitions, segments, True),
        (names.STREAMS, settings.small_partitions, streams, True),
        (names.RETENTION, settings.small_partitions, segments, True),
        (names.DEADLETTERS, 1, deadletters, False),
        (names.CLOCKS, settings.small_partitions, clocks, False),
    )
    return [
        Topic(name, partitions, settings.replication_factor, {**common, **configs}, is_keyed)
        for name, partitions, configs, is_keyed in rows
    ]


def _ms(value: float, unit_ms: int) -> str:
    return str(round(value * unit_ms))


def plan(wanted: Sequence[Topic], found: Mapping[str, ExistingTopic]) -> Plan:
    """The changes that make the topics in `found` equal to `wanted`."""
    missing = tuple(topic for topic in wanted if topic.name not in found)
    there = [topic for topic in wanted if topic.name in found]
    altered = [(topic, _differences(topic, found[topic.name])) for topic in there]
    refusals = [line for topic in there for line in _refusals(topic, found[topic.name])]
    return Plan(missing, tuple((topic, changes) for topic, changes in altered if changes), tuple(refusals))


def _differences(topic: Topic, found: ExistingTopic) -> dict[str, tuple[str, str]]:
    return {
        key: (found.configs.get(key, "?"), value)
        for key, value in topic.configs.items()
        if found.configs.get(key) != value
    }


def _refusals(topic: Topic, found: ExistingTopic) -> list[str]:
    lines: list[str] = []
    if topic.partitions != found.partitions:
        lines.append(_partitions_refusal(topic, found))
    if topic.replication_factor != found.replication_factor:
        lines.append(
            f"{topic.name}: has {found.replication_factor} replicas, not {topic.replication_factor}; "
            f"move them with kafka-reassign-partitions.sh, or set DISTRICAM_TOPICS__REPLICATION_FACTOR"
        )
    return lines


def _partitions_refusal(topic: Topic, found: ExistingTopic) -> str:
    if not topic.is_keyed:
        return f"{topic.name}: has {found.partitions} partitions, not {topic.partitions}; delete it and apply again"
    return (
        f"{topic.name}: has {found.partitions} partitions, not {topic.partitions}. They are not changed: a camera's "
        f"records would move to another partition, out of order, and its commits would be lost. Keep the number "
        f"(DISTRICAM_TOPICS__PARTITIONS or _SMALL_PARTITIONS), or migrate: export the cameras (districam-cameras "
        f"export), stop ingest, wait until the recorder's lag is 0, stop everything, delete the topics, apply with the new "
        f"number, apply the cameras, start again; the index is rebuilt from the bucket"
    )


def format_plan(plan: Plan) -> list[str]:
    """The plan as text, one line per change."""
    lines = [
        f"create {topic.name}: {topic.partitions} partitions, {topic.replication_factor} replicas, "
        + ", ".join(f"{key}={value}" for key, value in topic.configs.items())
        for topic in plan.create
    ]
    for topic, changes in plan.alter:
        lines += [f"alter {topic.name}: {key} {old} -> {new}" for key, (old, new) in changes.items()]
    return lines + [f"refused {line}" for line in plan.refusals]


def format_capacity(configs: Mapping[str, str]) -> str | None:
    """The bit rate up to which a partition with these configs keeps its records for `retention.ms`.

    At a higher rate it reaches `retention.bytes` first, and records are deleted earlier. None without such a limit.
    """
    max_bytes, ms = int(configs.get("retention.bytes", "-1")), int(configs.get("retention.ms", "-1"))
    if max_bytes < 0 or ms <= 0:
        return None
    mbit_s = max_bytes * 8 / (ms / 1000) / 1e6
    return (
        f"{max_bytes} bytes per partition hold {ms / _HOUR_MS:g} h at {mbit_s:.1f} Mbit/s: {int(mbit_s // 4)} cameras of "
        f"4 Mbit/s in the fullest partition; with more, records are deleted earlier (docs/scale.md)"
    )


# ---- the broker


async def describe_topics(
    admin: AIOKafkaAdminClient, wanted: Sequence[Topic], timeout_s: float
) -> dict[str, ExistingTopic]:
    """The `wanted` topics that exist on the broker, by name. Raises Retriable, Fatal."""
    with translate_errors("describing the topics"):
        async with asyncio.timeout(timeout_s):
            there = set(await admin.list_topics()) & {topic.name for topic in wanted}
            if not there:
                return {}
            described = {topic["topic"]: topic for topic in await admin.describe_topics(sorted(there))}
            configs = await _configs(admin, sorted(there))
    return {
        name: ExistingTopic(
            partitions=len(described[name]["partitions"]),
            replication_factor=len(described[name]["partitions"][0]["replicas"]),
            configs={key: value for key, (value, _) in configs[name].items()},
            overrides={key: value for key, (value, source) in configs[name].items() if source == _TOPIC_CONFIG},
        )
        for name in sorted(there)
    }


async def _configs(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """Topic → config → (value, config_source)."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    answers: list[Any] = list(await admin.describe_configs(resources))
    out: dict[str, dict[str, tuple[str, int]]] = {}
    for answer in answers:
        for code, message, _kind, name, entries in answer.resources:
            if code:
                raise kafka.for_code(code)(f"{name}: {message}")
            out[name] = {entry[0]: (str(entry[1]), int(entry[3])) for entry in entries}
    return out


async def apply(admin: AIOKafkaAdminClient, plan: Plan, found: Mapping[str, ExistingTopic], timeout_s: float) -> None:
    """Creates and alters topics as planned; changes nothing that the plan refuses.

    Raises:
        Retriable: the broker did not answer, or there are fewer brokers than replicas.
        Fatal: the broker rejected a change.
    """
    with translate_errors("applying the topics"):
        async with asyncio.timeout(timeout_s):
            await _create(admin, plan.create)
            await _alter(admin, plan, found)


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    answer: Any = await admin.create_topics(
        [
            NewTopic(topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.configs))
            for topic in topics
        ]
    )
    for name, code, message in answer.topic_errors:
        if code and kafka.for_code(code) is not kafka.TopicAlreadyExistsError:  # created by a concurrent apply
            raise _refused(f"creating {name}", code, message)


async def _alter(admin: AIOKafkaAdminClient, plan: Plan, found: Mapping[str, ExistingTopic]) -> None:
    """AlterConfigs replaces all overrides of a topic, so the operator's other overrides are sent too."""
    if not plan.alter:
        return
    answers: list[Any] = await admin.alter_configs(
        [
            ConfigResource(ConfigResourceType.TOPIC, topic.name, {**found[topic.name].overrides, **topic.configs})
            for topic, _ in plan.alter
        ]
    )
    for answer in answers:
        for code, message, _kind, name in answer.resources:
            if code:
                raise _refused(f"altering {name}", code, message)


def _refused(what: str, code: int, message: str | None) -> Retriable | Fatal:
    error = kafka.for_code(code)(message or "")
    if isinstance(error, kafka.InvalidReplicationFactorError):
        return Retriable(f"{what}: {message} (are there fewer brokers than DISTRICAM_TOPICS__REPLICATION_FACTOR?)")
    ours = translate_error(error, what)
    return ours if isinstance(ours, Retriable) and error.retriable else Fatal(str(ours))
