"""The declared topics, and the plan for a broker that differs from them."""

import dataclasses
import re
from pathlib import Path

from districam_common.contract import names
from districam_common.kafka.topics import ExistingTopic, Topic, declared_topics, format_capacity, format_plan, plan
from districam_common.runtime.settings import TopicsSettings


def found(topic: Topic, **changes: object) -> ExistingTopic:
    as_declared = ExistingTopic(topic.partitions, topic.replication_factor, dict(topic.configs))
    return dataclasses.replace(as_declared, **changes)


CONTRACT = Path(__file__).parents[4] / "docs/design/contract.md"
TOPICS = {topic.name: topic for topic in declared_topics(TopicsSettings())}
AS_DECLARED = {name: found(topic) for name, topic in TOPICS.items()}


def test_the_declared_topics_are_those_of_the_contract() -> None:
    rows = re.findall(r"^\| `(districam\.\w+\.v\d+)` \|[^|]*\|[^|]*\| (\d+) \|", CONTRACT.read_text(), re.MULTILINE)
    assert {name: int(partitions) for name, partitions in rows} == {
        name: topic.partitions for name, topic in TOPICS.items()
    }
    assert all(topic.configs["message.timestamp.type"] == "LogAppendTime" for topic in TOPICS.values())
    assert TOPICS[names.CAMERAS].configs["retention.ms"] == "-1"
    assert TOPICS[names.CAMERAS].configs["cleanup.policy"] == "delete"
    fragments = TOPICS[names.FRAGMENTS].configs
    assert fragments["retention.ms"] == str(6 * 3_600_000)
    assert fragments["max.message.bytes"] == str(9 * 1024 * 1024)
    assert fragments["compression.type"] == "uncompressed"
    for name in (names.SEGMENTS, names.STREAMS, names.RETENTION, names.DEADLETTERS):
        assert TOPICS[name].configs["retention.ms"] == str(35 * 24 * 3_600_000)
    assert TOPICS[names.DEADLETTERS].configs["retention.bytes"] == str(256 * 1024 * 1024)
    assert TOPICS[names.STREAMS].configs["retention.bytes"] == str(8 * 1024**3)
    assert "retention.bytes" not in TOPICS[names.SEGMENTS].configs


def test_replication_and_retention_come_from_settings() -> None:
    settings = TopicsSettings(replication_factor=3, min_insync_replicas=2, fragments_retention_h=0.5)
    topics = {topic.name: topic for topic in declared_topics(settings)}
    assert topics[names.FRAGMENTS].replication_factor == 3
    assert topics[names.FRAGMENTS].configs["min.insync.replicas"] == "2"
    assert topics[names.FRAGMENTS].configs["retention.ms"] == "1800000"


def test_all_topics_are_created_on_an_empty_broker() -> None:
    planned = plan(list(TOPICS.values()), {})
    assert planned.create == tuple(TOPICS.values())
    assert len(format_plan(planned)) == 8
    assert not planned.refusals


def test_the_plan_is_empty_if_the_broker_matches() -> None:
    assert plan(list(TOPICS.values()), AS_DECLARED).is_empty


def test_a_config_that_differs_is_altered_and_shown_with_both_values() -> None:
    fragments = TOPICS[names.FRAGMENTS]
    there = {**AS_DECLARED, names.FRAGMENTS: found(fragments, configs={**fragments.configs, "retention.ms": "1000"})}
    planned = plan(list(TOPICS.values()), there)
    assert format_plan(planned) == [f"alter {names.FRAGMENTS}: retention.ms 1000 -> 21600000"]


def test_changing_partitions_of_a_keyed_topic_is_refused_with_migration_steps() -> None:
    for partitions in (59, 61):
        there = {**AS_DECLARED, names.CAMERAS: found(TOPICS[names.CAMERAS], partitions=partitions)}
        planned = plan(list(TOPICS.values()), there)
        (refusal,) = planned.refusals
        assert not planned.create
        assert not planned.alter
        assert f"has {partitions} partitions, not 60" in refusal
        assert "migrate" in refusal
        assert "DISTRICAM_TOPICS__PARTITIONS" in refusal


def test_changing_other_partitions_or_replicas_is_refused() -> None:
    there = {**AS_DECLARED, names.DEADLETTERS: found(TOPICS[names.DEADLETTERS], partitions=2, replication_factor=2)}
    refusals = plan(list(TOPICS.values()), there).refusals
    assert len(refusals) == 2
    assert "DISTRICAM_TOPICS__REPLICATION_FACTOR" in refusals[1]


def test_format_capacity_gives_the_bit_rate_that_a_partition_can_hold() -> None:
    line = format_capacity(TOPICS[names.FRAGMENTS].configs)
    assert line is not None
    assert "68719476736 bytes per partition hold 6 h at 25.5 Mbit/s: 6 cameras of 4 Mbit/s" in line
    assert format_capacity(TOPICS[names.KEYFRAMES].configs) is None
    no_limit = declared_topics(TopicsSettings(fragments_retention_bytes=-1))[1]
    assert no_limit.name == names.FRAGMENTS
    assert format_capacity(no_limit.configs) is None
