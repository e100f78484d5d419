"""No step of the recipes in docs/extending.md can be forgotten: what no other test asks for is asked for here."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml
from fastapi.routing import APIRoute

from districam_api import logins, routes, routes_holds
from districam_common.contract.events import Cause
from districam_common.runtime.settings import SettingsBlock
from districam_devkit.services import ROOT, SERVICES
from support.manifests import SETTINGS

CAUSES = get_args(Cause)
ROOT_TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def _section(page: str, heading: str) -> str:
    """A section of a page, to the next heading of its level."""
    level = heading.partition(" ")[0]
    text = (ROOT / page).read_text()
    assert f"\n{heading}\n" in text, heading
    return re.split(rf"^{level} ", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_cause_has_a_row_in_the_contract_and_no_row_is_of_another() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", _section("docs/design/contract.md", "### Causes"), re.MULTILINE)
    assert sorted(rows) == sorted(CAUSES)


def test_every_cause_has_its_text_on_the_page_in_both_languages() -> None:
    table = (ROOT / "services/api/src/districam_api/page/static/i18n.js").read_text()
    texts = dict(re.findall(r'"cause\.(\w+)": \[("[^"]+", "[^"]+")\]', table))
    assert texts.keys() == set(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_runbook_says_what_to_do_about_every_cause(cause: str) -> None:
    assert f"`{cause}`" in (ROOT / "docs/runbook.md").read_text()


def test_every_route_has_its_row_in_the_contract() -> None:
    text = _section("docs/design/contract.md", "## API")
    served = [
        (method, re.sub(r"{[a-z_:]+}", "{}", route.path.removeprefix("/v1")))
        for router in (routes.router, routes_holds.router, logins.router)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    assert len(served) > 12
    told = re.sub(r"{[a-z_]+}", "{}", text)
    assert [one for one in served if "`{} {}`".format(*one) not in told] == []


def _fields(program: str) -> list[str]:
    blocks = SETTINGS[program].model_fields.items()
    return [
        f"{block}.{name}"
        for block, field in blocks
        if isinstance(field.default, SettingsBlock)
        for name in type(field.default).model_fields
    ]


@pytest.mark.parametrize("program", SETTINGS)
def test_every_setting_has_its_default_in_the_contract(program: str) -> None:
    section = _section("docs/design/contract.md", "## Settings")
    rows: dict[str, str] = {}
    for block, told in re.findall(r"^\| `(\w+)` \| (.*) \|", section, re.MULTILINE):
        rows[block] = rows.get(block, "") + told
    assert [
        name for name in _fields(program) if f"`{name.partition('.')[2]}`" not in rows[name.partition(".")[0]]
    ] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_known_wherever_services_are_named(name: str) -> None:
    package = SERVICES[name].package
    assert package in ROOT_TOOLS["importlinter"]["root_packages"]
    assert package in ROOT_TOOLS["coverage"]["run"]["source_pkgs"]
    compose = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text())
    assert name in compose["services"]
    base = ROOT / "deploy/k8s/base"
    assert f"{name}.yaml" in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    network = [one for one in yaml.safe_load_all((base / "network.yaml").read_text()) if one]
    assert name in str([one["spec"]["podSelector"] for one in network])
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert name in {job["job_name"] for job in prometheus["scrape_configs"]}
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    assert any(name in jobs.split("|") for jobs in re.findall(r'up\{job=~"([^"]+)"\}', rules))
    assert f"requirements/{name}.txt" in {str(path.relative_to(ROOT)) for path in Path(ROOT, "requirements").iterdir()}
    assert name in (ROOT / "docs/design/architecture.md").read_text()
