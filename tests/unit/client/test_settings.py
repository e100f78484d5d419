"""The client's settings, and the errors for invalid ones."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from districam_client.errors import UsageError
from districam_client.settings import DEFAULT_URL, Settings, load_settings

NONE: dict[str, str | None] = {"url": None, "key_file": None, "ca_file": None, "timezone": None}


def found(environ: dict[str, str] | None = None, **options: str) -> Settings:
    return load_settings(
        {f"DISTRICAM_CLIENT__{name}": value for name, value in (environ or {}).items()}, NONE | options
    )


def test_all_settings_have_defaults():
    assert found() == Settings(DEFAULT_URL, None, None, None)


def test_options_take_precedence_over_variables(tmp_path: Path):
    key = tmp_path / "key"
    key.write_text("dc_01234567_secret\n")
    environ = {"URL": "https://api.district-1.example/", "KEY_FILE": str(key), "TIMEZONE": "UTC"}
    assert found(environ) == Settings("https://api.district-1.example", "dc_01234567_secret", None, ZoneInfo("UTC"))
    assert found(environ, url="http://[::1]:8080", timezone="Asia/Tokyo").url == "http://[::1]:8080"


def test_variables_of_services_are_ignored():
    assert load_settings({"DISTRICAM_API__PORT": "1", "PATH": "x"}, NONE).url == DEFAULT_URL


@pytest.mark.parametrize(
    ("environ", "options", "named"),
    [
        ({"URLS": "x"}, {}, "DISTRICAM_CLIENT__URLS: no such setting; did you mean DISTRICAM_CLIENT__URL"),
        ({"URL": "api:8080"}, {}, "DISTRICAM_CLIENT__URL: write the api's address"),
        ({}, {"url": "ftp://api"}, "--url: write"),
        ({}, {"url": "http://me:word@api"}, "must not contain a user or password"),
        ({}, {"key_file": "/nowhere/key"}, "--key-file: the key file cannot be read"),
        ({}, {"timezone": "Saigon"}, "--tz: 'Saigon' is not an IANA time zone"),
        ({}, {"ca_file": "/nowhere/ca"}, "--ca-file: /nowhere/ca has no readable certificates"),
    ],
)
def test_an_error_names_the_option_or_variable(environ: dict[str, str], options: dict[str, str], named: str):
    with pytest.raises(UsageError) as refused:
        found(environ, **options)
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["", "two words", "khóa", "a\nb"])
def test_a_file_without_a_key_is_refused_without_showing_its_content(tmp_path: Path, text: str):
    key = tmp_path / "key"
    key.write_text(text)
    with pytest.raises(UsageError, match="must hold a key") as refused:
        found(key_file=str(key))
    assert not text or text not in str(refused.value)
