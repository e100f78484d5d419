"""A clip is complete or InvalidMp4 is raised, wherever it is truncated and however it arrives."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_client.mp4_checker import FragmentedMp4Checker, InvalidMp4


def box(kind: bytes, body: bytes = b"") -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def full(kind: bytes, body: bytes, version: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]) + body)


def integer(value: int, length: int = 4) -> bytes:
    return value.to_bytes(length, "big")


MOOV = box(b"moov", full(b"mvhd", bytes(16)) + box(b"trak", box(b"mdia", full(b"mdhd", bytes(8) + integer(90_000)))))


def fragment(seconds: int, size: int = 100, run: Sequence[int] = ()) -> bytes:
    """`run`: durations of its samples in ticks; a second, longer track follows."""
    inside = full(b"tfhd", bytes(4)) + full(b"tfdt", integer(seconds * 90_000, 8), version=1)
    flags = integer(0x01 | 0x100 | 0x200 | 0x800, 3)
    rows = b"".join(integer(ticks) + bytes(8) for ticks in run)
    trafs = box(b"traf", inside + (box(b"trun", b"\0" + flags + integer(len(run)) + bytes(4) + rows) if run else b""))
    late = [full(b"tfdt", integer(10**9, 8), version=1), box(b"trun", b"\0\0\1\0" + integer(1) + integer(10**9))]
    trafs += box(b"traf", full(b"tfhd", bytes(4)) + b"".join(late)) if run else b""
    return box(b"moof", full(b"mfhd", bytes(4)) + trafs) + box(b"mdat", bytes(size))


CLIP = box(b"ftyp", b"iso6") + MOOV + b"".join(fragment(n) for n in range(5))
TIMED = box(b"ftyp", b"iso6") + MOOV + b"".join(fragment(n, run=[45_000, 45_000]) for n in range(5))
ENDS = [len(box(b"ftyp", b"iso6") + MOOV) + n * len(fragment(0)) for n in range(1, 6)]


def watched(data: bytes, cuts: list[int] | None = None) -> FragmentedMp4Checker:
    found = FragmentedMp4Checker()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    for start, end in pairwise(edges):
        found.feed(data[start:end])
    found.close()
    return found


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_a_complete_clip_passes_for_any_block_size(cuts: list[int]):
    found = watched(CLIP, cuts)
    assert (found.newest_start_s, found.received_bytes) == (4.0, len(CLIP))


@pytest.mark.correctness
@given(st.integers(1, 5))
def test_a_clip_that_ends_too_early_fails_even_after_a_complete_fragment(count: int):
    front = len(box(b"ftyp", b"iso6") + MOOV)
    came = FragmentedMp4Checker()
    came.feed(TIMED[: front + count * ((len(TIMED) - front) // 5)])
    assert came.end_s == count
    came.close(count)
    if count < 5:
        with pytest.raises(InvalidMp4, match=r"expected at least 5\.0"):
            came.close(5)


@given(st.integers(0, len(CLIP)))
def test_a_truncated_clip_passes_only_at_the_end_of_a_fragment(size: int):
    if size in ENDS:
        watched(CLIP[:size])
        return
    with pytest.raises(InvalidMp4):
        watched(CLIP[:size])


@given(st.binary(max_size=200), st.integers(0, len(CLIP)))
def test_arbitrary_data_passes_or_raises_invalid_mp4(garbage: bytes, at: int):
    try:
        watched(CLIP[:at] + garbage + CLIP[at:])
    except InvalidMp4:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>an error</html>",
        CLIP[12:],
        box(b"ftyp") + fragment(0),
        box(b"ftyp") + MOOV + box(b"mdat", b"x"),
        box(b"ftyp") + MOOV,
        box(b"ftyp") + integer(1 << 30) + b"moov",
        CLIP + box(b"moof", integer(999) + b"traf"),
    ],
)
def test_data_that_is_not_a_clip_raises(data: bytes):
    with pytest.raises(InvalidMp4):
        watched(data)
