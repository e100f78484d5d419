"""`districam-api keys`, as an operator uses it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from districam_api import keyring, keys_command
from districam_api.core.keys import verify_key
from districam_common.runtime.clock import SystemClock

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "keys.json"
    monkeypatch.setenv("DISTRICAM_API__KEYS_FILE", str(file))
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        code = keys_command.main(words, SystemClock())
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def test_a_created_key_is_printed_once_and_is_valid(file: Path, run: Run):
    code, out, err = run("create", "--role", "operator", "--name", "Trung tâm")
    assert code == 0
    found = {key.id: key for key in keyring.read(file)}
    key = verify_key(found, out.strip())
    assert key
    assert (key.role, key.name) == ("operator", "Trung tâm")
    assert key.id in err
    _, listed, _ = run("list")
    assert re.search(rf"{key.id}  operator  created .*Z  active  Trung tâm\n", listed)
    assert out.strip().split("_", 2)[2] not in listed + err + file.read_text()


def test_the_first_key_can_be_created_before_the_api_can_start(file: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISTRICAM_API__HOST", "0.0.0.0")  # noqa: S104
    assert run("list")[:2] == (0, "no keys\n")
    assert run("create", "--role", "viewer", "--name", "Lan")[0] == 0
    assert len(keyring.read(file)) == 1


def test_a_revoked_key_is_listed_as_revoked_and_others_stay_active(file: Path, run: Run):
    texts = [run("create", "--role", "viewer", "--name", "Lan")[1].strip() for _ in range(2)]
    ids = [key.id for key in keyring.read(file)]
    assert run("revoke", ids[0])[0] == 0
    found = {key.id: key for key in keyring.read(file)}
    assert [bool(verify_key(found, text)) for text in texts] == [False, True]
    assert re.search(rf"{ids[0]} .* revoked ", run("list")[1])


def test_errors_are_printed_with_exit_code_1(file: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    code, _, err = run("revoke", "cafecafe")
    assert (code, "no key 'cafecafe'" in err) == (1, True)
    file.write_text("x")
    code, _, err = run("create", "--role", "viewer", "--name", "Lan")
    assert (code, str(file) in err, file.read_text()) == (1, True, "x")
    monkeypatch.setenv("DISTRICAM_API__KEYS_FILE", str(file.parent / "none" / "keys.json"))
    assert run("create", "--role", "viewer", "--name", "Lan")[0] == 1
    monkeypatch.delenv("DISTRICAM_API__KEYS_FILE")
    code, _, err = run("list")
    assert (code, "DISTRICAM_API__KEYS_FILE" in err) == (2, True)
    monkeypatch.setenv("DISTRICAM_API__KEYFILE", "x")
    assert run("list")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["create"],
        ["create", "--role", "viewer"],
        ["create", "--name", "Lan"],
        ["create", "--role", "viewer", "--name", ""],
        ["create", "--role", "viewer", "--name", " "],
        ["create", "--role", "admin", "--name", "Lan"],
        ["revoke"],
        ["create", "--role", "viewer", "--name", "a\nb"],
    ],
)
def test_unknown_arguments_exit_with_code_2(words: list[str], run: Run):
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
