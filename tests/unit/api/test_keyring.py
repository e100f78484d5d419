"""Key files: replaced atomically, reloaded on change, and never used in part."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from districam_api import keyring
from districam_api.core.keys import Key, create_key, revoke
from districam_api.keyring import KeyRing

KEY, TEXT = create_key(b"\x00\x01\x02\x03", b"s" * 32, name="tường", role="viewer", now_us=1)
OTHER, OTHER_TEXT = create_key(b"\x04\x05\x06\x07", b"t" * 32, name="", role="operator", now_us=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_written_key_file_is_read_back(file: Path):
    keyring.write(file, [KEY, OTHER])
    assert keyring.read(file) == [KEY, OTHER]


def test_the_key_file_has_mode_0600_and_no_temporary_file_is_left(file: Path):
    file.write_text("{}")
    file.chmod(0o644)
    keyring.write(file, [KEY])
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert TEXT.split("_", 2)[2] not in file.read_text()


def test_a_failed_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    keyring.write(file, [KEY])

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        keyring.write(file, [OTHER])
    assert keyring.read(file) == [KEY]
    assert list(file.parent.iterdir()) == [file]


def form(**changed: object) -> str:
    key = {"id": "00010203", "name": "", "role": "viewer", "sha256": "0" * 64, "created_us": 1}
    return json.dumps({"keys": [{**key, **changed}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON"),
        ("[]", "not a key file of"),
        ("{}", "keys: Field required"),
        (form(role="admin"), "keys.0.role"),
        (form(id="../x"), "keys.0.id"),
        (form(sha256="x"), "keys.0.sha256"),
        (form(secret="s3cr3t"), "keys.0"),
        (json.dumps({"keys": [json.loads(form())["keys"][0]] * 2}), "two keys with the same id"),
    ],
)
def test_a_malformed_key_file_is_refused_without_showing_its_content(file: Path, text: str, message: str):
    file.write_text(text)
    with pytest.raises(ValueError, match=r"keys\.json") as refused:
        keyring.read(file)
    assert message in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_a_changed_key_file_is_reloaded(file: Path):
    keyring.write(file, [KEY])
    ring = KeyRing(file)
    assert (ring.verify(TEXT), ring.active_key(KEY.id), ring.verify(OTHER_TEXT)) == (KEY, KEY, None)
    keyring.write(file, [*revoke([KEY], KEY.id, 9), OTHER])
    assert ring.verify(TEXT) == KEY
    ring.refresh()
    assert (ring.verify(TEXT), ring.active_key(KEY.id), ring.verify(OTHER_TEXT)) == (None, None, OTHER)


def garble(file: Path):
    file.write_text("{")


def take_away(file: Path):
    file.unlink()


@pytest.mark.parametrize("spoil", [garble, take_away])
def test_an_unreadable_key_file_leaves_the_old_keys_active(file: Path, spoil: Callable[[Path], None]):
    keyring.write(file, [KEY])
    ring = KeyRing(file)
    spoil(file)
    ring.refresh()
    assert ring.verify(TEXT) == KEY
    keyring.write(file, list[Key]())
    ring.refresh()
    assert ring.verify(TEXT) is None
