from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.asked import Unacceptable
from districam_api.core.cursors import decode, encode

FORM = (int, str, int, int)


@given(st.tuples(st.integers(), st.text(), st.integers(0, 2**31), st.integers(0, 2**31)))
def test_a_cursor_comes_back_and_needs_no_escaping(at: tuple[int, str, int, int]):
    cursor = encode(at)
    assert decode(cursor, FORM) == at
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_anything_else_is_refused_naming_the_field(text: str):
    with pytest.raises(Unacceptable) as refused:
        decode(text, FORM)
    assert refused.value.errors[0].field == "cursor"


def test_another_lists_cursor_is_refused():
    with pytest.raises(Unacceptable):
        decode(encode(["cam-1"]), FORM)


def test_a_cursor_made_by_hand_is_refused():
    with pytest.raises(Unacceptable):
        decode(urlsafe_b64encode(b"\0\0\0\0[1]").decode(), (int,))
