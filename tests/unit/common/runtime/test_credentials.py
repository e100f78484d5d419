"""The credentials file: entries by name, read again when changed, its content in no error message."""

from pathlib import Path

import pytest

from districam_common.errors import Retriable
from districam_common.runtime.credentials import Credential, Credentials, parse_credentials


def test_an_entry_is_found_by_name(tmp_path: Path) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text("market: {username: admin, password: 123456}\n")
    credentials = Credentials(file)
    assert credentials.find("market") == Credential("admin", "123456")
    assert credentials.find("other") is None
    assert Credentials(None).find("market") is None


@pytest.mark.hostile
def test_a_credential_may_be_limited_to_networks() -> None:
    text = "gate: {username: a, password: b, hosts: [10.0.4.0/24, 'fd00::/8', 192.0.2.7]}"
    (gate,) = parse_credentials(text).values()
    for address, is_told in {
        "10.0.4.17": True, "::ffff:10.0.4.17": True, "fd00::1%eth0": True, "192.0.2.7": True,
        "10.0.5.1": False, "127.0.0.1": False, "::1": False, "no address": False,
    }.items():  # fmt: skip
        assert gate.may_be_sent_to(address) is is_told, address
    assert Credential("a", "b").may_be_sent_to("10.0.5.1")
    for hosts in ("[]", "10.0.4.0/24", "[10.0.4.1/24]", "[camera]", "[~]"):
        with pytest.raises(ValueError, match=r"^(?!.*s3cret)"):
            parse_credentials(f"gate: {{username: a, password: s3cret, hosts: {hosts}}}")


def test_repr_of_a_credential_has_no_password() -> None:
    assert "s3cret" not in repr(Credential("admin", "s3cret"))


def test_a_changed_credentials_file_is_read_again(tmp_path: Path) -> None:
    file, new = tmp_path / "credentials.yaml", tmp_path / "new"
    file.write_text("market: {username: admin, password: aaa}\n")
    credentials = Credentials(file)
    assert credentials.find("market") == Credential("admin", "aaa")
    new.write_text("market: {username: admin, password: bbb}\n")
    new.replace(file)
    assert credentials.find("market") == Credential("admin", "bbb")


@pytest.mark.parametrize(
    "text",
    [
        "market: s3cret",
        "- s3cret",
        "market: {username: a, password: s3cret, x: y}",
        "market: {password: s3cret",
        "m: {username: a}",
    ],
)
def test_a_malformed_credentials_file_is_reported_without_its_content(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(text)
    with pytest.raises(Retriable, match="username, password") as error:
        Credentials(file).find("market")
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_missing_credentials_file_is_retriable(tmp_path: Path) -> None:
    with pytest.raises(Retriable, match="No such file"):
        Credentials(tmp_path / "none").find("market")
