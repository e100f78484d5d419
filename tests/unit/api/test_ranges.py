import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.ranges import ByteRange, RangeNotSatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        *(("bytes=0-9", 0, 10), ("bytes=90-", 90, 10), ("bytes=-1", 99, 1), ("bytes=0-", 0, 100)),
        *(("bytes=99-99", 99, 1), ("bytes=50-1000", 50, 50), ("bytes=-1000", 0, 100), ("Bytes = 1-1", 1, 1)),
    ],
)
def test_a_single_range_is_parsed(header: str, start: int, length: int):
    assert parse_range(header, 100) == ByteRange(start, length, 100)


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "bytes=0-1,5-6", "bytes=9-3", "items=0-1", "bytes=a-b", "bytes=٣-٤"]
)
def test_other_range_headers_get_the_whole_object(header: str | None):
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_without_bytes_is_not_satisfiable_and_has_the_size(header: str):
    with pytest.raises(RangeNotSatisfiable) as refused:
        parse_range(header, 100)
    assert refused.value.size == 100


def test_content_range_names_the_last_byte():
    assert ByteRange(90, 10, 100).content_range == "bytes 90-99/100"


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_selects_the_same_bytes_as_a_slice(content: bytes, first: int, last: int):
    try:
        asked = parse_range(f"bytes={first}-{last}", len(content))
    except RangeNotSatisfiable:
        assert content[first : last + 1] == b""
        return
    if first > last:
        assert asked is None
    else:
        assert asked is not None
        assert content[asked.start : asked.start + asked.length] == content[first : last + 1]
