import pytest

from districam_devkit.servers.java import parse_version


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_392"\nJava(TM) SE Runtime Environment', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21.0.2" 2024-01-16 LTS', 21),
    ],
)
def test_the_major_version_is_read_from_what_java_prints(said: str, version: int):
    assert parse_version(said) == version


@pytest.mark.parametrize(
    "said", ["", "The operation couldn’t be completed. Unable to locate a Java Runtime.", 'version "x"']
)
def test_anything_else_is_no_version(said: str):
    assert parse_version(said) is None
