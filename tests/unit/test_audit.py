"""Evaluation of a package audit: vulnerabilities are reported, and an incomplete answer does not pass."""

import json

import pytest

from audit.__main__ import LOCKED, ROOT, parse_result
from districam_devkit.services import SERVICES

CLEAN: dict[str, object] = {"name": "h11", "version": "0.16.0", "vulns": []}
VULNERABLE: dict[str, object] = {
    "name": "starlette",
    "version": "0.20.0",
    "vulns": [{"id": "PYSEC-2023-83", "fix_versions": ["0.27.0"], "aliases": [], "description": ""}],
}
SKIPPED: dict[str, object] = {
    "name": "idna",
    "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.20)",
}


def answer(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        (answer(CLEAN), 0),
        (answer(CLEAN, VULNERABLE, SKIPPED), 1),
        (answer(CLEAN, SKIPPED), 2),
        (answer(SKIPPED), 2),
        (answer(), 2),
        ("", 2),
        ("Traceback", 2),
        ("[]", 2),
    ],
)
def test_an_audit_passes_only_if_every_package_was_checked(text: str, exit_code: int):
    assert parse_result(text).exit_code == exit_code


def test_a_vulnerability_is_reported_with_package_and_fixed_version():
    assert parse_result(answer(VULNERABLE)).vulnerabilities == ["starlette 0.20.0: PYSEC-2023-83, fixed in 0.27.0"]


def test_every_lock_file_that_goes_into_an_image_is_audited():
    assert set(SERVICES) < set(LOCKED)
    assert [name for name in LOCKED if not (ROOT / f"requirements/{name}.txt").is_file()] == []
