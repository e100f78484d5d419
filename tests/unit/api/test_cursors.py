from base64 import urlsafe_b64encode
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.cursors import decode, encode
from districam_api.core.invalid_parameter import InvalidParameter

FORM = (int, str, int, int)


@given(st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), st.text(), st.integers(0, 2**31), st.integers(0, 2**31)))
def test_a_cursor_round_trips_and_needs_no_escaping(at: tuple[int, str, int, int]):
    cursor = encode(at)
    assert decode(cursor, FORM) == at
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_text_that_is_not_a_cursor_is_refused_naming_the_field(text: str):
    with pytest.raises(InvalidParameter) as refused:
        decode(text, FORM)
    assert refused.value.errors[0].field == "cursor"


def test_a_cursor_of_another_list_is_refused():
    with pytest.raises(InvalidParameter):
        decode(encode(["cam-1"]), FORM)


def forged(body: bytes) -> str:
    """A cursor with a valid checksum, which a client can compute."""
    return urlsafe_b64encode(crc32(b"districam" + body).to_bytes(4, "big") + body).rstrip(b"=").decode()


@pytest.mark.hostile
@pytest.mark.parametrize(
    "body",
    [b"{{{", b"5", b"null", b"[" * 3000, b"1" * 5000, b"\xff\xfe", b"", b"[" + b"9" * 400 + b"]", b"[true]", b"{}"],
)
def test_a_cursor_forged_with_a_right_checksum_is_refused(body: bytes):
    with pytest.raises(InvalidParameter) as refused:
        decode(forged(body), (int,))
    assert refused.value.errors[0].field == "cursor"


def test_a_cursor_made_by_hand_is_refused():
    with pytest.raises(InvalidParameter):
        decode(urlsafe_b64encode(b"\0\0\0\0[1]").decode(), (int,))
