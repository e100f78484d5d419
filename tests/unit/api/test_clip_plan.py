from dataclasses import replace

from districam_api.core.clip_plan import (
    CoverSegment,
    FragmentInfo,
    FragmentRange,
    compatible_windows,
    compute_range,
    has_epoch_overlap,
    keyframe_at,
    last_fragment,
    preroll_segments,
    trim_overlap,
)
from districam_api.core.times import Window
from districam_common.contract.segment_array import IndexEntry

S = 1_000_000
T0 = 1_790_000_000 * S
A, B, C = (f"01900000-0000-7000-8000-00000000000{n}" for n in "abc")


def entry(epoch: str, first_seq: int, start_s: float, *, keyframe: bool = True, count: int = 5) -> IndexEntry:
    """A segment of `count` fragments of two seconds."""
    return IndexEntry(
        epoch=epoch,
        first_seq=first_seq,
        last_seq=first_seq + count - 1,
        start_us=T0 + round(start_s * S),
        end_us=T0 + round((start_s + 2 * count) * S),
        bytes=1000,
        init_bytes=700,
        flags=int(keyframe),
    )


def shown(one: IndexEntry, from_s: float | None = None, to_s: float | None = None) -> CoverSegment:
    return CoverSegment(
        one,
        one.start_us if from_s is None else T0 + round(from_s * S),
        one.end_us if to_s is None else T0 + round(to_s * S),
    )


def marks(one: IndexEntry, pictures: str) -> list[FragmentInfo]:
    """One fragment per letter; capitals are keyframes."""
    return [
        FragmentInfo(
            one.first_seq + n,
            one.start_us + n * 2 * S,
            one.start_us + (n + 1) * 2 * S,
            letter.isupper(),
            letter.encode() if letter.isupper() else b"",
        )
        for n, letter in enumerate(pictures)
    ]


def test_windows_are_split_where_codec_parameters_change():
    segments = [entry(A, 0, 0), entry(A, 5, 10), entry(B, 0, 20), entry(C, 0, 40)]
    window = Window(T0 + 3 * S, T0 + 45 * S)
    cover = [shown(one) for one in segments]
    assert compatible_windows(cover, {A: 1, B: 1, C: 1}, window) == [(window.from_us, window.to_us)]
    assert compatible_windows(cover, {A: 1, B: 2, C: 2}, window) == [
        (window.from_us, T0 + 20 * S),
        (T0 + 20 * S, window.to_us),
    ]
    assert len(compatible_windows(cover, {A: 1, B: 2, C: 1}, window)) == 3


def test_preroll_ends_at_a_segment_that_starts_with_a_keyframe():
    old, middle = entry(A, 0, 0), entry(A, 5, 10, keyframe=False)
    first, other = entry(A, 10, 20, keyframe=False), entry(B, 5, 10)
    at_us = T0 + 25 * S
    assert preroll_segments([old, middle, other, first], first, at_us) == [first, middle, old]
    assert preroll_segments([old, other, first], first, at_us) == [first]  # the segment between them is missing
    keyed = replace(first, flags=1)
    assert preroll_segments([old, middle, keyed], keyed, at_us) == [keyed]


def test_preroll_is_limited_to_five_minutes():
    long = [entry(A, n * 5, n * 10.0, keyframe=False) for n in range(100)]
    found = preroll_segments(long, long[-1], long[-1].start_us)
    assert found[-1].start_us == long[-1].start_us - 300 * S


def test_the_start_is_the_last_keyframe_at_or_before_the_instant():
    found = marks(entry(A, 0, 0), "KkLlM")
    assert [keyframe_at(found, T0 + round(s * S)) for s in (0, 3.9, 4, 9)] == [
        found[0], found[0], found[2], found[4],
    ]  # fmt: skip
    assert keyframe_at(found[1:2], T0 + 9 * S) is None


def test_the_last_fragment_is_the_last_that_starts_before_the_end():
    one = entry(A, 5, 0)
    found = marks(one, "KkLlM")
    assert last_fragment(found, FragmentRange(one, 5, 9, T0 + 4 * S)) == found[1]
    assert last_fragment(found, FragmentRange(one, 5, 9, T0 + 4 * S + 1)) == found[2]
    assert last_fragment(found, FragmentRange(one, 5, 5, T0 + 100 * S)) == found[0]
    assert last_fragment(found, FragmentRange(one, 8, 9, T0 + 4 * S)) is None


def test_an_overlapping_copy_contributes_only_new_fragments():
    first, copy = entry(A, 0, 0), entry(A, 3, 6)
    assert compute_range(shown(copy, 10), T0 + 50 * S, shown(first)) == FragmentRange(copy, 5, 7, T0 + 50 * S)
    assert compute_range(shown(copy), T0 + 50 * S, shown(entry(B, 0, 0))) == FragmentRange(copy, 3, 7, T0 + 50 * S)
    assert compute_range(shown(first), T0 + 50 * S, None) == FragmentRange(first, 0, 4, T0 + 50 * S)


def test_epoch_overlap_is_detected_inside_either_segment():
    a, b = entry(A, 0, 0), entry(B, 0, 8)
    assert has_epoch_overlap(shown(a, to_s=8), shown(b))
    assert has_epoch_overlap(shown(a), shown(b, from_s=10))
    assert not has_epoch_overlap(shown(a), shown(entry(B, 0, 10)))
    assert not has_epoch_overlap(shown(a, to_s=8), shown(entry(A, 5, 8)))
    assert not has_epoch_overlap(shown(a, to_s=8), None)


def test_an_overlap_is_cut_at_the_same_picture():
    one = entry(A, 10, 0)
    whole = FragmentRange(one, 10, 14, T0 + 100 * S)
    taking_over = FragmentInfo(0, T0 + 4 * S + 30_000, T0 + 6 * S, is_keyframe=True, picture_digest=b"L")
    assert trim_overlap(whole, marks(one, "KkLlM"), taking_over) == replace(whole, last_seq=11)
    still = replace(taking_over, picture_digest=b"K")  # equal pictures (a static scene): the nearest one
    assert trim_overlap(whole, marks(one, "KKKKK"), still).last_seq == 11


def test_without_a_common_picture_only_a_long_overlap_is_cut_by_time():
    one = entry(A, 10, 0)
    whole = FragmentRange(one, 10, 14, T0 + 100 * S)
    early = FragmentInfo(0, T0 + 5 * S, T0 + 7 * S, is_keyframe=True, picture_digest=b"X")
    assert trim_overlap(whole, marks(one, "KkLlM"), early) == replace(
        whole, before_us=T0 + 5 * S, trims_access_units=True
    )
    late = replace(early, start_us=one.end_us - 60_000)
    assert trim_overlap(whole, marks(one, "KkLlM"), late) == whole
    inside = FragmentInfo(0, T0 + 4 * S, T0 + 7 * S, is_keyframe=False, picture_digest=b"")
    assert trim_overlap(whole, marks(one, "KkLlM"), inside).trims_access_units
