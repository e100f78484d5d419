"""Settings: variables that are read, and messages for invalid ones."""

from pathlib import Path

import certifi
import pytest

from districam_common.runtime.settings import (
    HealthSettings,
    ServiceSettings,
    SettingsError,
    load,
    read_secret,
    variable_names,
)


class Settings(ServiceSettings):
    health: HealthSettings = HealthSettings(port=9101)
    groups: tuple[str, ...] = ()


def refused(**environ: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(Settings, {f"DISTRICAM_{name}": value for name, value in environ.items()})
    return str(error.value)


def test_defaults_need_no_environment() -> None:
    settings = load(Settings, {})
    assert settings.site == "local"
    assert settings.kafka.bootstrap_servers == "localhost:9092"
    assert settings.kafka.max_request_bytes == 8 * 1024 * 1024 + 64 * 1024


def test_variables_reach_their_fields_and_leave_the_blocks_other_defaults() -> None:
    settings = load(
        Settings,
        {
            "DISTRICAM_SITE": "district-1",
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": "a:9092,b:9092",
            "DISTRICAM_KAFKA__IDEMPOTENT": "false",
            "DISTRICAM_HEALTH__HOST": "0.0.0.0",  # noqa: S104
            "DISTRICAM_GROUPS": '["market", "bridges"]',
            "PATH": "/usr/bin",
        },
    )
    assert settings.site == "district-1"
    assert settings.kafka.bootstrap_servers == "a:9092,b:9092"
    assert settings.kafka.idempotent is False
    assert settings.kafka.heartbeat_s == 1.0
    assert settings.health == HealthSettings(host="0.0.0.0", port=9101)  # noqa: S104
    assert settings.groups == ("market", "bridges")


def test_constructing_settings_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRICAM_SITE", "elsewhere")
    assert Settings().site == "local"
    assert load(Settings).site == "elsewhere"


def test_only_variables_of_other_programs_are_ignored() -> None:
    of_others = {"DISTRICAM_CLIENT__URL": "http://127.0.0.1:8080", "DISTRICAM_INGEST__LINGER_S": "soon"}
    try:
        assert load(Settings, of_others) == load(Settings, {})
    except SettingsError as error:
        pytest.fail(str(error))
    assert "DISTRICAM_CLIENT" in refused(CLIENT="x")
    assert "DISTRICAM_ingest__LINGER_S: no such setting" in refused(ingest__LINGER_S="1")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().kafka.idempotent = False


def test_an_unknown_variable_is_named_with_the_nearest_known_one() -> None:
    message = refused(KAFKA__BOOTSTRAP_SERVER="x", S4__BUCKET="y", QQQQ="z")
    assert "DISTRICAM_KAFKA__BOOTSTRAP_SERVER: no such setting; did you mean DISTRICAM_KAFKA__BOOTSTRAP_SERVERS?" in (
        message
    )
    assert "did you mean DISTRICAM_S3__BUCKET?" in message
    assert "DISTRICAM_QQQQ: no such setting; remove it" in message


def test_an_invalid_value_is_reported_by_variable_without_the_value() -> None:
    message = refused(S3__THREADS="0", HEALTH__PORT="s3cret")
    assert "DISTRICAM_S3__THREADS: " in message
    assert "DISTRICAM_HEALTH__PORT: " in message
    assert "s3cret" not in message


def test_an_inconsistent_block_is_reported_by_its_name() -> None:
    assert "DISTRICAM_KAFKA__*: heartbeat_s must be at most a third" in refused(KAFKA__HEARTBEAT_S="5")


@pytest.mark.parametrize("url", ["redis://:secret@localhost:6379/0", "http://localhost"])
def test_a_redis_url_with_a_password_is_refused(url: str) -> None:
    message = refused(REDIS__URL=url)
    assert "DISTRICAM_REDIS__URL" in message
    assert "secret" not in message


def test_a_list_that_is_not_json_is_refused() -> None:
    assert "JSON" in refused(GROUPS="market,bridges")


def test_sasl_needs_user_and_password() -> None:
    assert "DISTRICAM_KAFKA__*: sasl_username and sasl_password" in refused(KAFKA__SECURITY_PROTOCOL="SASL_SSL")


def test_a_secret_is_read_from_a_variable_or_a_file_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    by_value = load(Settings, {"DISTRICAM_S3__SECRET_KEY": "by-value"})
    by_file = load(Settings, {"DISTRICAM_S3__SECRET_KEY_FILE": str(file)})
    assert read_secret(by_value.s3.secret_key, by_value.s3.secret_key_file) == "by-value"
    assert read_secret(by_file.s3.secret_key, by_file.s3.secret_key_file) == "from-file"
    assert read_secret(None, None) is None
    assert "by-value" not in repr(by_value)
    assert "by-value" not in by_value.model_dump_json()


def test_a_secret_set_twice_or_unreadable_is_rejected(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert "secret_key and secret_key_file are both set" in refused(S3__SECRET_KEY="x", S3__SECRET_KEY_FILE=str(empty))
    assert "is empty" in refused(S3__SECRET_KEY_FILE=str(empty))
    assert "cannot be read" in refused(S3__SECRET_KEY_FILE=str(tmp_path / "none"))


def test_every_variable_is_known_by_name() -> None:
    names = variable_names(Settings)
    assert {"DISTRICAM_SITE", "DISTRICAM_S3__SECRET_KEY_FILE", "DISTRICAM_REDIS__PASSWORD"} <= set(names)
    assert len(names) == len(set(names))


def test_a_ca_file_for_redis_needs_tls_and_certificates(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("nothing of the kind")
    with pytest.raises(SettingsError, match=r"REDIS__CA_FILE: .*contains no readable certificates"):
        load(ServiceSettings, {"DISTRICAM_REDIS__CA_FILE": str(file), "DISTRICAM_REDIS__URL": "rediss://r:1/0"})
    with pytest.raises(SettingsError, match=r"S3__CA_FILE: .*contains no readable certificates"):
        load(ServiceSettings, {"DISTRICAM_S3__CA_FILE": str(tmp_path / "absent")})
    system = certifi.where()
    with pytest.raises(SettingsError, match="rediss://"):
        load(ServiceSettings, {"DISTRICAM_REDIS__CA_FILE": system})
    given = load(ServiceSettings, {"DISTRICAM_REDIS__CA_FILE": system, "DISTRICAM_REDIS__URL": "rediss://r:1/0"})
    assert given.redis.ca_file == Path(system)
