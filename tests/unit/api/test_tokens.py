from hypothesis import assume, given
from hypothesis import strategies as st

from districam_api.core.tokens import LIFETIME_US, sign, verify

SECRET = b"s" * 32
KEY = "cam-1/2026-11-24/14/47-00.000000Z.0190.mp4"
NOW_US = 1_764_000_000_000_000
TOKEN = sign(SECRET, KEY, NOW_US + LIFETIME_US)


def test_a_token_opens_its_key_until_it_expires():
    assert verify(SECRET, KEY, TOKEN, NOW_US) == "valid"
    assert verify(SECRET, KEY, TOKEN, NOW_US + LIFETIME_US - 1) == "valid"
    assert verify(SECRET, KEY, TOKEN, NOW_US + LIFETIME_US) == "expired"


def test_a_token_of_another_secret_or_key_is_forged():
    assert verify(b"t" * 32, KEY, TOKEN, NOW_US) == "forged"
    assert verify(SECRET, KEY + "x", TOKEN, NOW_US) == "forged"


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_any_changed_character_is_a_forgery(at: int, new: str):
    assume(TOKEN[at] != new)
    assert verify(SECRET, KEY, TOKEN[:at] + new + TOKEN[at + 1 :], NOW_US) == "forged"


@given(st.text(st.characters(exclude_categories=[])))
def test_any_other_text_is_a_forgery(text: str):
    assume(text != TOKEN)
    assert verify(SECRET, KEY, text, NOW_US) == "forged"
    assert verify(SECRET, KEY, TOKEN + (text or "x"), NOW_US) == "forged"
    assert verify(SECRET, KEY, (text or "0") + TOKEN, NOW_US) == "forged"


def test_an_expiry_written_otherwise_is_a_forgery():
    expiry, _, digest = TOKEN.partition(".")
    for other in (f"0{expiry}", f"+{expiry}", f" {expiry}", f"{expiry}0", f"{expiry[:1]}_{expiry[1:]}"):
        assert verify(SECRET, KEY, f"{other}.{digest}", NOW_US) == "forged"


def test_an_expiry_cannot_be_moved_into_the_key():
    assert verify(SECRET, "b", sign(SECRET, "a\nb", 1), 0) == "forged"


@given(st.binary(min_size=32, max_size=64), st.text(max_size=80), st.integers(0, 10**18))
def test_what_is_signed_verifies(secret: bytes, key: str, expires_us: int):
    assume(key.isprintable())
    assert verify(secret, key, sign(secret, key, expires_us), expires_us - 1) == "valid"
