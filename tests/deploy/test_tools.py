"""Checks deploy/ with the tools that read it: compose, kustomize, the Kubernetes schemas, promtool. Starts nothing."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from districam_common.runtime.settings import variable_name
from districam_devkit.services import SERVICES
from support.manifests import DEPLOY, SETTINGS, Map, build_overlay, find_tool, kubernetes_containers, scripts

OVERLAYS = ("base", "overlays/dev", "overlays/district")
WITHOUT_SCHEMA = {
    "kafka.strimzi.io/v1": {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"},
    "keda.sh/v1alpha1": {"ScaledObject", "TriggerAuthentication"},
    "monitoring.coreos.com/v1": {"PodMonitor", "PrometheusRule"},
}
"""Not Kubernetes' own kinds; `make test-deploy` has their schemas."""


def ran(*argv: str, cwd: Path = DEPLOY, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    return subprocess.run(
        [find_tool(argv[0]), *argv[1:]],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A copy of the files that compose reads, with those that `prepare` creates."""
    for name in ("docker-compose.yml", ".env.example", "prepare"):
        shutil.copy(DEPLOY / name, tmp_path / name)
    done = subprocess.run([tmp_path / "prepare"], capture_output=True, text=True, timeout=30, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.parametrize("profiles", ["silo", "seaweedfs,monitoring", "silo,demo,monitoring,tools"])
def test_compose_accepts_its_file(prepared: Path, profiles: str) -> None:
    done = ran("docker-compose", "config", cwd=prepared, COMPOSE_PROFILES=profiles)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr


def test_compose_rejects_an_unknown_key(prepared: Path) -> None:
    file = prepared / "docker-compose.yml"
    file.write_text(file.read_text().replace("    mem_limit:", "    memory_limit:", 1))
    assert ran("docker-compose", "config", "-q", cwd=prepared).returncode != 0


def test_prepare_creates_secrets_once_and_prints_none(prepared: Path) -> None:
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    again = subprocess.run([prepared / "prepare"], capture_output=True, text=True, timeout=30, check=False, cwd="/")
    assert (again.returncode, again.stdout) == (0, "")
    assert {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()} == before
    secret = (prepared / "secrets/s3-secret-key").read_text()
    assert len(secret) >= 40
    assert (prepared / "secrets").stat().st_mode & 0o777 == 0o700
    assert secret in (prepared / "secrets/seaweedfs.json").read_text()
    assert (prepared / "secrets/valkey.conf").read_text().split()[1] == (
        prepared / "secrets/redis-password"
    ).read_text()


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Map]:
    return build_overlay(request.param)


def _validated(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "objects.yaml"
    file.write_text(text)
    return ran("kubernetes-validate", "--strict", str(file))


@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_schemas_accept_every_object(name: str, tmp_path: Path) -> None:
    text = ran("kubectl", "kustomize", str(DEPLOY / "k8s" / name)).stdout
    done = _validated(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    unjudged = {
        (line.partition(" api version ")[2].split()[0], line.partition(" for kind ")[2].split()[0])
        for line in (done.stdout + done.stderr).splitlines()
        if "Couldn't find schema" in line
    }
    assert unjudged <= {(version, kind) for version, kinds in WITHOUT_SCHEMA.items() for kind in kinds}


def test_an_unknown_kubernetes_field_is_rejected(tmp_path: Path) -> None:
    text = ran("kubectl", "kustomize", str(DEPLOY / "k8s/base")).stdout
    assert _validated(text.replace("periodSeconds:", "periodSecond:", 1), tmp_path).returncode != 0


def test_every_program_gets_only_known_arguments_and_variables(overlay: list[Map]) -> None:
    found = kubernetes_containers(overlay)
    assert {one.where for one in found} >= {f"Deployment/{name}" for name in SERVICES}
    assert [one.where for one in found if one.program not in scripts()] == []
    assert {one.where: one.unknown_variables for one in found if one.unknown_variables} == {}
    for one in found:
        assert one.environment[variable_name("health", "host")] == "0.0.0.0"  # noqa: S104  # in a pod of its own


def _pods(objects: list[Map]) -> list[tuple[str, Any, Map]]:
    return [
        (one["metadata"]["name"], one["spec"]["template"]["spec"], one["spec"])
        for one in objects
        if one["kind"] in {"Deployment", "Job", "StatefulSet"}
    ]


def test_manifest_ports_match_the_code(overlay: list[Map]) -> None:
    for name, pod, _ in _pods(overlay):
        if name in SERVICES:
            ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
            settings = SETTINGS[f"districam-{name}"]
            assert ports["health"] == settings.model_fields["health"].default.port
            assert name != "api" or ports["http"] == settings.model_fields["api"].default.port


def test_pods_are_confined_and_have_no_service_account_token(overlay: list[Map]) -> None:
    for name, pod, _ in _pods(overlay):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            if container["name"] == "districam":
                assert context["readOnlyRootFilesystem"] is True, name


def test_only_readiness_depends_on_servers_and_termination_has_time(overlay: list[Map]) -> None:
    for name, pod, spec in _pods(overlay):
        if name not in SERVICES:
            continue
        [container] = pod["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        waits = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        stop_s = SETTINGS[f"districam-{name}"].model_fields["stop_timeout_s"].default
        assert pod["terminationGracePeriodSeconds"] > stop_s + waits
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_network_policies_let_only_ingest_reach_cameras(overlay: list[Map]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in overlay if one["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["cameras"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "ingest"}}
    assert all("ports" in rule for name, spec in policies.items() for rule in spec.get("egress", []) if name != "kafka")


def test_manifests_reference_secrets_and_contain_none(overlay: list[Map]) -> None:
    assert [one["metadata"]["name"] for one in overlay if one["kind"] == "Secret"] == []
    for container in kubernetes_containers(overlay):
        assert [n for n in container.environment if n.endswith(("PASSWORD", "SECRET_KEY"))] == [], container.where


@pytest.mark.parametrize(
    "argv",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
)
def test_promtool_accepts_rules_and_their_cases(argv: tuple[str, ...]) -> None:
    done = ran("promtool", *argv, cwd=DEPLOY / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_cases_fail_when_a_rule_changes(tmp_path: Path) -> None:
    rules = (DEPLOY / "prometheus/rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(rules.replace("== 0\n", "== 2\n"))
    shutil.copy(DEPLOY / "prometheus/rules_test.yml", tmp_path)
    assert ran("promtool", "test", "rules", "rules_test.yml", cwd=tmp_path).returncode != 0
