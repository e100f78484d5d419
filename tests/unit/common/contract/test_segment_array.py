from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import segment_array
from districam_common.contract.segment_array import IndexEntry
from support.histories import entry
from support.values import index_entries


@given(st.lists(index_entries(), max_size=5))
def test_members_and_scores_round_trip(entries: list[IndexEntry]) -> None:
    members = [segment_array.encode_member(one) for one in entries]
    array = segment_array.decode_members(members, [float(one.start_us) for one in entries])
    assert segment_array.entries_from_array(array) == entries
    assert segment_array.entries_from_array(segment_array.array_from_entries(entries)) == entries
    assert {len(member) for member in members} <= {segment_array.MEMBER_DTYPE.itemsize}
    rows = [part for member, one in zip(members, entries, strict=True) for part in (member, b"%d" % one.start_us)]
    assert segment_array.entries_from_array(segment_array.decode_scored_members(rows)) == entries


def test_a_score_may_have_an_exponent() -> None:
    packed = segment_array.encode_member(entry("0" * 32, 0, 0, 0, 1))
    assert segment_array.decode_scored_members([packed, b"1.5e+03", packed, b"7"])["start_us"].tolist() == [1500, 7]


@pytest.mark.parametrize("rows", [[bytes(35), b"soon"], [bytes(35)], [bytes(34), b"1"]])
def test_malformed_rows_raise_value_error(rows: list[bytes]) -> None:
    with pytest.raises(ValueError):
        segment_array.decode_scored_members(rows)


def test_a_score_is_exact_as_a_double() -> None:
    late_us = 4_102_444_799_999_999  # the last microsecond of 2099
    assert int(float(late_us)) == late_us


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=4))
def test_garbage_is_a_value_error(members: list[bytes]) -> None:
    if {len(member) for member in members} == {segment_array.MEMBER_DTYPE.itemsize}:
        return
    with pytest.raises(ValueError):
        segment_array.decode_members(members, [0] * len(members))


def test_members_of_wrong_lengths_with_the_right_sum_are_rejected() -> None:
    with pytest.raises(ValueError, match="35 bytes"):
        segment_array.decode_members([b"a" * 34, b"b" * 36], [0, 0])


def test_numbers_of_members_and_scores_must_match() -> None:
    with pytest.raises(ValueError, match="one score each"):
        segment_array.decode_members([segment_array.encode_member(entry("0" * 32, 0, 0, 0, 1))], [])


def test_flags() -> None:
    plain = entry("0" * 32, 0, 0, 0, 1, flags=0)
    assert not plain.starts_with_keyframe
    assert not plain.is_lossy
    assert replace(plain, flags=segment_array.STARTS_WITH_KEYFRAME).starts_with_keyframe
    assert replace(plain, flags=segment_array.LOSSY).is_lossy
