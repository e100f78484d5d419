from pathlib import Path

import pytest

from districam_api.settings import ApiSettings
from districam_common.settings import SettingsError, load


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_address_is_accepted(host: str):
    assert load(ApiSettings, {"DISTRICAM_API__HOST": host}).api.host in {host, "127.0.0.1"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.example.org"])  # noqa: S104  # refused
def test_any_other_is_refused_while_there_are_no_keys(host: str):
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__HOST: .*DISTRICAM_API__KEYS_FILE.*loopback"):
        load(ApiSettings, {"DISTRICAM_API__HOST": host})


def test_keys_cannot_be_had_yet_so_they_open_nothing(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("x" * 40)
    with pytest.raises(SettingsError) as refused:
        load(ApiSettings, {"DISTRICAM_API__HOST": "0.0.0.0", "DISTRICAM_API__KEYS_FILE": str(keys)})  # noqa: S104  # refused
    assert "DISTRICAM_API__KEYS_FILE: this version cannot check bearer keys" in str(refused.value)
    assert "DISTRICAM_API__HOST: " in str(refused.value)


def test_a_zone_must_exist():
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TIMEZONE: .*Asia/Hanoi_City"):
        load(ApiSettings, {"DISTRICAM_API__TIMEZONE": "Asia/Hanoi_City"})


def test_a_token_key_must_be_readable_and_long(tmp_path: Path):
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TOKEN_KEY_FILE: .*cannot be read"):
        load(ApiSettings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)})
    key.write_text("short")
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TOKEN_KEY_FILE: .*32 random characters"):
        load(ApiSettings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)})
    key.write_text("k" * 32)
    assert load(ApiSettings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)}).api.token_key_file == key


def test_the_defaults_are_those_of_the_contract():
    settings = load(ApiSettings, {})
    assert (settings.api.host, settings.api.port, settings.health.port) == ("127.0.0.1", 8080, 9104)
    assert (settings.api.timezone, settings.api.settle_s) == ("Asia/Ho_Chi_Minh", 75)
