import hashlib
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from districam_api.core.keys import NO_KEY, NoSuchKey, claimed_id, create_key, revoke, verify_key

NOW_US = 1_764_000_000_000_000
KEY, TEXT = create_key(b"\x00\x01\x02\x03", b"s" * 32, name="wall", role="viewer", now_us=NOW_US)
OTHER, OTHER_TEXT = create_key(b"\x04\x05\x06\x07", b"t" * 32, name="", role="operator", now_us=NOW_US)
KEYS = {KEY.id: KEY, OTHER.id: OTHER}


def test_a_created_key_has_its_format_and_does_not_store_the_secret():
    assert re.fullmatch(r"dc_00010203_[A-Za-z0-9_-]{43}", TEXT)
    secret = TEXT.removeprefix("dc_00010203_")
    assert KEY.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(KEY)


def test_each_key_verifies_as_itself():
    assert verify_key(KEYS, TEXT) == KEY
    assert verify_key(KEYS, OTHER_TEXT) == OTHER


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_key_with_any_changed_character_is_rejected(at: int, new: str):
    assume(TEXT[at] != new)
    assert verify_key(KEYS, TEXT[:at] + new + TEXT[at + 1 :]) is None


@given(st.text())
def test_any_other_text_is_rejected(text: str):
    assert verify_key(KEYS, text) is None
    assert verify_key(KEYS, TEXT + (text or "x")) is None


def test_a_secret_with_another_keys_id_is_rejected():
    assert verify_key(KEYS, f"dc_{OTHER.id}_{TEXT[12:]}") is None
    assert verify_key({}, TEXT) is None


def test_a_revoked_key_is_rejected_and_others_stay_valid():
    kept = {key.id: key for key in revoke(KEYS.values(), KEY.id, NOW_US + 1)}
    assert verify_key(kept, TEXT) is None
    assert verify_key(kept, OTHER_TEXT) == OTHER
    assert kept[KEY.id].revoked_us == NOW_US + 1
    assert {key.id: key for key in revoke(kept.values(), KEY.id, NOW_US + 2)} == kept


def test_revoking_an_unknown_key_raises():
    with pytest.raises(NoSuchKey, match="'cafe'"):
        revoke(KEYS.values(), "cafe", NOW_US)


def test_only_a_well_formed_id_is_taken_from_a_text_for_logs():
    assert claimed_id(TEXT) == "00010203"
    assert claimed_id("hunter2") == claimed_id(f"{TEXT}x") == NO_KEY
