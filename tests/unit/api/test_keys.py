import hashlib
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from districam_api.core.keys import NO_KEY, NoSuchKey, claimed, make, opened, revoked

NOW_US = 1_764_000_000_000_000
KEY, TEXT = make(b"\x00\x01\x02\x03", b"s" * 32, name="wall", role="viewer", now_us=NOW_US)
OTHER, OTHER_TEXT = make(b"\x04\x05\x06\x07", b"t" * 32, name="", role="operator", now_us=NOW_US)
KEYS = {KEY.id: KEY, OTHER.id: OTHER}


def test_a_key_has_its_form_and_its_secret_is_not_kept():
    assert re.fullmatch(r"dc_00010203_[A-Za-z0-9_-]{43}", TEXT)
    secret = TEXT.removeprefix("dc_00010203_")
    assert KEY.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(KEY)


def test_each_key_opens_as_itself():
    assert opened(KEYS, TEXT) == KEY
    assert opened(KEYS, OTHER_TEXT) == OTHER


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_any_changed_character_opens_nothing(at: int, new: str):
    assume(TEXT[at] != new)
    assert opened(KEYS, TEXT[:at] + new + TEXT[at + 1 :]) is None


@given(st.text())
def test_any_other_text_opens_nothing(text: str):
    assert opened(KEYS, text) is None
    assert opened(KEYS, TEXT + (text or "x")) is None


def test_a_secret_opens_under_its_own_id_alone():
    assert opened(KEYS, f"dc_{OTHER.id}_{TEXT[12:]}") is None
    assert opened({}, TEXT) is None


def test_a_revoked_key_opens_nothing_and_others_go_on():
    kept = {key.id: key for key in revoked(KEYS.values(), KEY.id, NOW_US + 1)}
    assert opened(kept, TEXT) is None
    assert opened(kept, OTHER_TEXT) == OTHER
    assert kept[KEY.id].revoked_us == NOW_US + 1
    assert {key.id: key for key in revoked(kept.values(), KEY.id, NOW_US + 2)} == kept


def test_revoking_nobodys_key_is_told():
    with pytest.raises(NoSuchKey, match="'cafe'"):
        revoked(KEYS.values(), "cafe", NOW_US)


def test_logs_may_say_an_id_and_nothing_else_of_a_text():
    assert claimed(TEXT) == "00010203"
    assert claimed("hunter2") == claimed(f"{TEXT}x") == NO_KEY
