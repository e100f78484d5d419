"""`make monitoring`: writes the files generated from code, dashboards and rules. A test fails while they differ."""

import sys
from pathlib import Path

import yaml

from districam_common.kafka.topics import Topic, declared_topics
from districam_common.runtime.settings import TopicsSettings
from monitoring import catalogue, grafana
from monitoring.boards import BOARDS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yml"


def files() -> dict[Path, str]:
    """Path → content of every generated file."""
    boards = {
        ROOT / f"deploy/grafana/dashboards/{board.uid.removeprefix('districam-')}.json": grafana.text_of(board)
        for board in BOARDS
    }
    rule = ROOT / "deploy/k8s/components/monitoring/prometheusrule.yaml"
    topics = ROOT / "deploy/k8s/overlays/district/topics.yaml"
    return {ROOT / "docs/metrics.md": catalogue.page(), rule: _prometheus_rule(), topics: _kafka_topics(), **boards}


def _kafka_topics() -> str:
    """The declared topics as Strimzi KafkaTopics: what `districam-topics apply` would create with three brokers."""
    wanted = declared_topics(TopicsSettings(replication_factor=3, min_insync_replicas=2))
    head = "# Written by `make monitoring` from the topics that the code declares.\n"
    return head + yaml.safe_dump_all([_kafka_topic(topic) for topic in wanted], sort_keys=False)


def _kafka_topic(topic: Topic) -> dict[str, object]:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": "districam"}},
        "spec": {"partitions": topic.partitions, "replicas": topic.replication_factor, "config": dict(topic.configs)},
    }


def _prometheus_rule() -> str:
    """The alert rules as a PrometheusRule of the Prometheus Operator."""
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "districam"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    head = "# Written by `make monitoring` from deploy/prometheus/rules.yml.\n"
    return head + yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=120)


def main() -> int:
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
