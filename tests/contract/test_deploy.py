"""deploy/ and the operator's documentation agree with the code: settings, ports, topics, programs, metrics, alerts."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from districam_common.contract import names
from districam_common.runtime.settings import TopicsSettings
from districam_devkit.services import SERVICES
from monitoring import catalogue
from monitoring.__main__ import RULES, files
from monitoring.boards import BOARDS
from support.manifests import DEPLOY, ROOT, SETTINGS, Container, compose, compose_containers, scripts

PORTS = {name: spec.load_settings_class().model_fields["health"].default.port for name, spec in SERVICES.items()}
KNOB = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")
METRIC = re.compile(r"\bdistricam_[a-z0-9_]+\b")
NO_METRIC = re.compile(r"districam_(api|client|common|devkit|indexer|ingest|recorder|session|version)$")
PAGES = [ROOT / "docs" / name for name in ("runbook.md", "scale.md", "deploy.md", "metrics.md")]


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS = [rule["alert"] for rule in _rules()]


@pytest.mark.parametrize("path", files(), ids=lambda path: cast("Path", path).name)
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text() == files()[path], "run `make monitoring`"


@pytest.mark.parametrize("container", compose_containers(), ids=lambda one: one.where)
def test_compose_sets_only_variables_that_each_program_knows(container: Container) -> None:
    assert container.program in scripts()
    assert container.environment
    assert container.unknown_variables == []


def test_every_variable_of_compose_is_documented_with_its_default() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text()
    used: dict[str, str] = {}
    for name, default in KNOB.findall(text):
        assert used.setdefault(name, default) == default, f"{name} has two defaults"
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert example.pop("COMPOSE_PROFILES") == "silo"
    assert example == used


def test_ports_agree_with_the_code() -> None:
    assert {name: spec.port for name, spec in SERVICES.items()} == PORTS
    spec = importlib.util.spec_from_file_location("healthcheck", DEPLOY / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    healthcheck = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(healthcheck)
    assert {name: healthcheck.default_port(ROOT / f"services/{name}/pyproject.toml") for name in SERVICES} == PORTS
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "ARG MEMBER=services/${SERVICE}\n" in dockerfile
    assert f"COPY ${{MEMBER}}/pyproject.toml {healthcheck.PYPROJECT}\n" in dockerfile
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    scraped = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in prometheus["scrape_configs"]}
    assert {name: scraped[name] for name in PORTS} == PORTS
    api = SETTINGS["districam-api"].model_fields["api"].default
    assert compose()["services"]["api"]["ports"] == [f"${{API_PUBLISH:-127.0.0.1:{api.port}}}:{api.port}"]


def test_compose_grace_periods_exceed_the_stop_timeouts() -> None:
    for name in PORTS:
        grace = compose()["services"][name]["stop_grace_period"]
        settings = SETTINGS[f"districam-{name}"]
        assert int(grace.removesuffix("s")) > settings.model_fields["stop_timeout_s"].default


def test_compose_publishes_only_on_loopback_and_only_two() -> None:
    published = {name: one["ports"] for name, one in compose()["services"].items() if "ports" in one}
    assert set(published) == {"api", "grafana"}
    assert all(port.partition(":-")[2].startswith("127.0.0.1:") for ports in published.values() for port in ports)


ROOTS_OWN = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
"""Capabilities that an image needs to start as root and give its volume to its own user; Docker's default has nine more."""


def test_compose_restricts_our_containers_and_has_none_privileged() -> None:
    services = compose()["services"]
    for container in compose_containers():
        one = services[container.where.removeprefix("compose/")]
        assert one["read_only"], container.where
        assert one["cap_drop"] == ["ALL"], container.where
    for name, one in services.items():
        assert "no-new-privileges:true" in one["security_opt"], name
        assert not {"privileged", "pid", "devices"} & set(one), name
        assert set(one.get("cap_add", ())) <= ROOTS_OWN, name
        assert "cap_add" not in one or one["cap_drop"] == ["ALL"], name
        assert one["logging"]["options"]["max-size"], name


def test_every_image_is_pinned_to_a_version() -> None:
    for name, one in compose()["services"].items():
        match = KNOB.fullmatch(one["image"])
        tag = (match[2] if match else one["image"].rpartition(":-")[2].rstrip("}")).rpartition(":")[2]
        assert re.search(r"\d", tag), f"{name}: {one['image']}"


def test_kafka_limits_allow_the_largest_record() -> None:
    kafka = compose()["services"]["kafka"]["environment"]
    assert int(kafka["KAFKA_MESSAGE_MAX_BYTES"]) > TopicsSettings().fragments_max_bytes
    assert kafka["KAFKA_REPLICA_FETCH_MAX_BYTES"] == kafka["KAFKA_MESSAGE_MAX_BYTES"]
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_scalers_use_our_groups_and_at_most_the_partitions() -> None:
    text = (DEPLOY / "k8s/overlays/district/scaling.yaml").read_text()
    found = {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all(text) if "triggers" in one["spec"]}
    topics = TopicsSettings()
    expected = {
        "recorder": (names.RECORDER_GROUP, names.FRAGMENTS, topics.partitions),
        "indexer": (names.INDEXER_GROUP, names.SEGMENTS, topics.small_partitions),
    }
    for name, (group, topic, partitions) in expected.items():
        metadata = found[name]["triggers"][0]["metadata"]
        assert (metadata["consumerGroup"], metadata["topic"]) == (group, topic)
        assert found[name]["maxReplicaCount"] <= partitions
    assert found["ingest"]["maxReplicaCount"] <= topics.partitions


def _known() -> set[str]:
    return {series for metric in catalogue.registered() for series in (*metric.series, metric.name)}


@pytest.mark.parametrize(
    "path", [*PAGES, RULES, RULES.with_name("rules_test.yml")], ids=lambda path: cast("Path", path).name
)
def test_every_metric_named_in_a_file_exists(path: Path) -> None:
    named = {name for name in METRIC.findall(path.read_text()) if not NO_METRIC.match(name)}
    assert named - _known() - {"districam_"} == set()


def test_dashboards_have_exactly_the_metrics_of_the_code() -> None:
    text = "\n".join(query.expr for board in BOARDS for chart in board.charts for query in chart.queries)
    shown = set(METRIC.findall(text))
    assert shown <= _known()
    unseen = [m.name for m in catalogue.registered() if not shown & {*m.series, m.name}]
    assert unseen == []


def test_every_metric_is_in_contract_md() -> None:
    page = (ROOT / "docs/design/contract.md").read_text().partition("## Health and metrics")[2]
    told: set[str] = set()
    for line in page.splitlines():
        last = ""
        for name in re.findall(r"`(districam_[a-z_]+|…_[a-z_]+)`", line):
            last = name if name.startswith("districam_") else f"{last.rsplit('_', 1)[0]}|{name[1:]}"
            told.add(name)
    missing = [
        m.name
        for m in catalogue.registered()
        if m.name not in told and not any(t.startswith("…") and m.name.endswith(t[1:]) for t in told)
    ]
    assert missing == []


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook_entry_and_firing_and_silent_tests(alert: str) -> None:
    rule = next(one for one in _rules() if one["alert"] == alert)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
    assert f"\n## {alert}\n" in (ROOT / "docs/runbook.md").read_text()
    cases = yaml.safe_load(RULES.with_name("rules_test.yml").read_text())["tests"]
    tested = [case for test in cases for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert any("exp_alerts" in case for case in tested)
    assert any("exp_alerts" not in case for case in tested)


def test_every_runbook_entry_has_an_alert() -> None:
    headings = re.findall(r"^## ([A-Z]\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)


def test_dashboard_ids_are_unique() -> None:
    found = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
    assert {one["uid"] for one in found} == {board.uid for board in BOARDS}
    for one in found:
        ids = [panel["id"] for panel in one["panels"]]
        assert len(set(ids)) == len(ids)
