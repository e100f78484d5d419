from dataclasses import replace
from pathlib import Path

import pytest

from districam_api import keyring
from districam_api.core.keys import Key, create_key
from districam_api.settings import Settings
from districam_common.runtime.settings import SettingsError, load


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_address_is_accepted(host: str):
    assert load(Settings, {"DISTRICAM_API__HOST": host}).api.host in {host, "127.0.0.1"}


KEY, _ = create_key(b"0123", b"s" * 32, name="", role="viewer", now_us=1)
ELSEWHERE = ["0.0.0.0", "::", "192.168.1.5"]  # noqa: S104  # refused


def keys_file(folder: Path, *keys: Key) -> str:
    keyring.write(folder / "keys.json", keys)
    return str(folder / "keys.json")


@pytest.mark.parametrize("host", ELSEWHERE)
def test_another_address_is_refused_without_an_active_key(host: str, tmp_path: Path):
    files = [None, keys_file(tmp_path), keys_file(tmp_path, replace(KEY, revoked_us=2))]
    for file in files:
        given = {"DISTRICAM_API__HOST": host} | ({"DISTRICAM_API__KEYS_FILE": file} if file else {})
        with pytest.raises(SettingsError, match=r"DISTRICAM_API__HOST: .*loopback.*DISTRICAM_API__KEYS_FILE"):
            load(Settings, given)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_another_address_is_accepted_with_a_key(host: str, tmp_path: Path):
    given = {"DISTRICAM_API__HOST": host, "DISTRICAM_API__KEYS_FILE": keys_file(tmp_path, KEY)}
    for scheme in ("http", "https"):
        assert load(Settings, {**given, "DISTRICAM_API__PUBLIC_SCHEME": scheme}).api.host == host


@pytest.mark.hostile
@pytest.mark.parametrize("host", ELSEWHERE)
def test_another_address_needs_tls_or_an_explicit_public_scheme(host: str, tmp_path: Path):
    given = {"DISTRICAM_API__HOST": host, "DISTRICAM_API__KEYS_FILE": keys_file(tmp_path, KEY)}
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__PUBLIC_SCHEME: .*plain HTTP.*TLS_CERT_FILE.*https"):
        load(Settings, given)


def test_https_is_assumed_if_the_api_or_a_proxy_serves_tls():
    is_secure_by_scheme = {"": False, "http": False, "https": True}
    for scheme, expected in is_secure_by_scheme.items():
        given = {"DISTRICAM_API__PUBLIC_SCHEME": scheme} if scheme else {}
        assert load(Settings, given).api.is_secure == expected


@pytest.mark.hostile
def test_behind_a_proxy_keys_are_required(tmp_path: Path):
    given = {"DISTRICAM_API__TRUSTED_PROXIES": '["127.0.0.1"]'}
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TRUSTED_PROXIES: .*DISTRICAM_API__KEYS_FILE"):
        load(Settings, given)
    found = load(Settings, {**given, "DISTRICAM_API__KEYS_FILE": keys_file(tmp_path, KEY)}).api
    assert found.proxies.is_trusted("127.0.0.1")
    assert not found.proxies.is_trusted("127.0.0.2")


def test_a_trusted_proxy_that_is_not_a_network_is_named(tmp_path: Path):
    for other in ("nginx", "10.0.3.7/24", "10.0.3.0/33", ""):
        given = {"DISTRICAM_API__KEYS_FILE": keys_file(tmp_path, KEY), "DISTRICAM_API__TRUSTED_PROXIES": f'["{other}"]'}
        with pytest.raises(SettingsError, match=r"DISTRICAM_API__TRUSTED_PROXIES: .*is not a network.*10\.0\.3\.0/24"):
            load(Settings, given)


@pytest.mark.parametrize("host", ["example.org", "", "127.0.0.1.example.org"])
def test_a_host_name_is_refused_with_or_without_keys(host: str, tmp_path: Path):
    for given in ({}, {"DISTRICAM_API__KEYS_FILE": keys_file(tmp_path, KEY)}):
        with pytest.raises(SettingsError, match="DISTRICAM_API__HOST: is not an IP address"):
            load(Settings, {"DISTRICAM_API__HOST": host, **given})


def test_keys_must_be_readable(tmp_path: Path):
    missing = tmp_path / "keys.json"
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__KEYS_FILE: .*cannot be read.*keys create"):
        load(Settings, {"DISTRICAM_API__KEYS_FILE": str(missing)})
    missing.write_text("x" * 40)
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__KEYS_FILE: .*districam-api keys"):
        load(Settings, {"DISTRICAM_API__KEYS_FILE": str(missing)})


def test_tls_needs_both_files_and_a_pair(tmp_path: Path):
    file = tmp_path / "x.pem"
    file.write_text("x")
    certificate, key = "DISTRICAM_API__TLS_CERT_FILE", "DISTRICAM_API__TLS_KEY_FILE"
    for given in ({certificate: str(file)}, {key: str(file)}):
        with pytest.raises(SettingsError, match=rf"{key}: .*both, or neither"):
            load(Settings, given)
    with pytest.raises(SettingsError, match=rf"{key}: .*PEM"):
        load(Settings, {certificate: str(file), key: str(file)})
    with pytest.raises(SettingsError, match=rf"{key}: .*No such file"):
        load(Settings, {certificate: str(file), key: str(tmp_path / "none")})


def test_malformed_origins_are_refused():
    given = '["https://wall.example:8443", "http://10.0.0.7"]'
    found = load(Settings, {"DISTRICAM_API__ALLOWED_ORIGINS": given}).api.allowed_origins
    assert found == ("https://wall.example:8443", "http://10.0.0.7")
    for other in (
        "*",
        "https://*",
        "wall.example",
        "https://wall.example/",
        "ftp://a",
        "null",
        "https://u:p@a",
        "http://A",
    ):
        with pytest.raises(SettingsError, match=r"DISTRICAM_API__ALLOWED_ORIGINS: .*is not an origin"):
            load(Settings, {"DISTRICAM_API__ALLOWED_ORIGINS": f'["{other}"]'})


def test_a_zone_must_exist():
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TIMEZONE: .*Asia/Hanoi_City"):
        load(Settings, {"DISTRICAM_API__TIMEZONE": "Asia/Hanoi_City"})


def test_a_token_key_must_be_readable_and_long(tmp_path: Path):
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TOKEN_KEY_FILE: .*cannot be read"):
        load(Settings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)})
    key.write_text("short")
    with pytest.raises(SettingsError, match=r"DISTRICAM_API__TOKEN_KEY_FILE: .*32 random characters"):
        load(Settings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)})
    key.write_text("k" * 32)
    assert load(Settings, {"DISTRICAM_API__TOKEN_KEY_FILE": str(key)}).api.token_key_file == key


def test_defaults_match_the_contract():
    settings = load(Settings, {})
    assert (settings.api.host, settings.api.port, settings.health.port) == ("127.0.0.1", 8080, 9104)
    assert (settings.api.timezone, settings.api.settle_s) == ("Asia/Ho_Chi_Minh", 75)


def test_cache_control_of_media_follows_media_cache_s():
    for given, kept in {"600": "private, max-age=600, immutable", "0": "no-store"}.items():
        assert load(Settings, {"DISTRICAM_API__MEDIA_CACHE_S": given}).api.media_cache_control == kept
