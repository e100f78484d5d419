import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from districam_api.core.tokens import MEDIA_TTL_US, CheckedToken, format_bearer, sign, verify

SECRET = b"s" * 32
KEY = "cam-1/2026-11-24/14/47-00.000000Z.0190.mp4"
WHO = "0a1b2c3d"
NOW_US = 1_764_000_000_000_000
TOKEN = sign(SECRET, "media", KEY, WHO, NOW_US + MEDIA_TTL_US)
FORGED = CheckedToken("forged")


def check(token: str, key: str = KEY, secret: bytes = SECRET) -> CheckedToken:
    return verify(secret, "media", key, token, NOW_US)


def test_a_token_is_valid_for_its_object_until_it_expires():
    assert verify(SECRET, "media", KEY, TOKEN, NOW_US) == CheckedToken("valid", WHO, NOW_US + MEDIA_TTL_US)
    assert verify(SECRET, "media", KEY, TOKEN, NOW_US + MEDIA_TTL_US - 1).verdict == "valid"
    assert verify(SECRET, "media", KEY, TOKEN, NOW_US + MEDIA_TTL_US).verdict == "expired"


def test_a_token_of_another_secret_or_key_is_forged():
    assert check(TOKEN, secret=b"t" * 32) == FORGED
    assert check(TOKEN, KEY + "x") == FORGED


def test_session_and_media_tokens_are_not_interchangeable():
    login = sign(SECRET, "session", "", WHO, NOW_US + 1)
    assert verify(SECRET, "session", "", login, NOW_US).key_id == WHO
    assert check(login, "") == FORGED
    assert verify(SECRET, "session", "", sign(SECRET, "media", "", WHO, NOW_US + 1), NOW_US) == FORGED


def test_a_token_with_another_bearer_is_forged():
    expiry, _, digest = TOKEN.split(".")
    for other in ("0a1b2c3e", "-", "", "0A1B2C3D", "0a1b2c3d\n"):
        assert check(f"{expiry}.{other}.{digest}") == FORGED


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_token_with_any_changed_character_is_forged(at: int, new: str):
    assume(TOKEN[at] != new)
    assert check(TOKEN[:at] + new + TOKEN[at + 1 :]) == FORGED


@given(st.text(st.characters(exclude_categories=[])))
def test_any_other_text_is_forged(text: str):
    assume(text != TOKEN)
    assert check(text) == FORGED
    assert check(TOKEN + (text or "x")) == FORGED
    assert check((text or "0") + TOKEN) == FORGED


def test_an_expiry_in_another_notation_is_forged():
    expiry, _, rest = TOKEN.partition(".")
    for other in (f"0{expiry}", f"+{expiry}", f" {expiry}", f"{expiry}0", f"{expiry[:1]}_{expiry[1:]}"):
        assert check(f"{other}.{rest}") == FORGED


def test_digits_of_the_expiry_cannot_be_moved_into_the_key_id():
    assert verify(SECRET, "media", "b", sign(SECRET, "media", "a\nb", WHO, 1), 0) == FORGED


@given(st.binary(min_size=32, max_size=64), st.text(max_size=80), st.integers(0, 10**18))
def test_what_is_signed_verifies(secret: bytes, key: str, expires_us: int):
    token = sign(secret, "media", key, "-", expires_us)
    assert verify(secret, "media", key, token, expires_us - 1) == CheckedToken("valid", "-", expires_us)
    assert verify(secret, "media", key, token, expires_us).verdict == "expired"


LOGIN = "00112233445566aa"
BY_LOGIN = sign(SECRET, "media", KEY, format_bearer(WHO, LOGIN), NOW_US + MEDIA_TTL_US)


def test_a_token_names_its_login():
    assert check(BY_LOGIN) == CheckedToken("valid", WHO, NOW_US + MEDIA_TTL_US, LOGIN)
    assert check(TOKEN).login == ""


@pytest.mark.hostile
def test_a_token_with_a_changed_removed_or_added_login_is_forged():
    expiry, who, login, digest = BY_LOGIN.split(".")
    for other in (f"{who}.00112233445566ab", who, f"{who}.", f"{who}.{login}.{login}", f"{who}.{login.upper()}"):
        assert check(f"{expiry}.{other}.{digest}") == FORGED
    expiry, who, digest = TOKEN.split(".")
    assert check(f"{expiry}.{who}.{LOGIN}.{digest}") == FORGED
