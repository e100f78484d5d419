import pytest

from districam_devkit.servers.valkey import parse_version


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=1", ("Valkey", "9.1.2")),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", ("Redis", "7.0.15")),
        ("", ("Valkey", "unknown")),
    ],
)
def test_server_name_and_version_are_parsed(output: str, named: tuple[str, str]):
    assert parse_version(output) == named
