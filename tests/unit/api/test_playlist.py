import re
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.playlist import SegmentWithUrl, format_playlist
from districam_common.contract.names import format_rfc3339, parse_rfc3339
from districam_common.contract.segment_array import STARTS_WITH_KEYFRAME, IndexEntry

START_US = parse_rfc3339("2026-11-24T14:47:00Z")


def epoch(number: int) -> str:
    return str(UUID(int=0x0190 << 112 | 7 << 76 | 2 << 62 | number))


def listed(  # a row of a table
    run: int,
    first_seq: int,
    start_s: float,
    length_s: float = 10.0,
    *,
    size: int = 5000,
    init: int = 700,
    flags: int = 1,
) -> SegmentWithUrl:
    start_us = START_US + round(start_s * 1e6)
    entry = IndexEntry(
        epoch=epoch(run),
        first_seq=first_seq,
        last_seq=first_seq + 4,
        start_us=start_us,
        end_us=start_us + round(length_s * 1e6),
        bytes=size,
        init_bytes=init,
        flags=flags,
    )
    key = f"cam-1/{run}/{first_seq}.mp4"
    return SegmentWithUrl(entry, key, f"/v1/media/{key}?token=t")


def test_the_playlist_of_one_run_follows_rfc_8216():
    assert format_playlist([listed(1, 0, 0), listed(1, 5, 10, 9.96, size=4000)]) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:7\n"
        "#EXT-X-TARGETDURATION:10\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MAP:URI="/v1/media/cam-1/1/0.mp4?token=t",BYTERANGE="700@0"\n'
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:47:00.000000Z\n"
        "#EXTINF:10.000000,\n"
        "#EXT-X-BYTERANGE:4300@700\n"
        "/v1/media/cam-1/1/0.mp4?token=t\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-24T14:47:10.000000Z\n"
        "#EXTINF:9.960000,\n"
        "#EXT-X-BYTERANGE:3300@700\n"
        "/v1/media/cam-1/1/5.mp4?token=t\n"
        "#EXT-X-ENDLIST\n"
    )


def test_a_new_epoch_is_a_discontinuity_with_its_own_init():
    text = format_playlist([listed(1, 0, 0), listed(2, 0, 10.04, init=900)])
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="/v1/media/cam-1/2/0.mp4?token=t",BYTERANGE="900@0"\n' in text


def test_a_missing_seq_is_a_discontinuity_and_keeps_the_init():
    text = format_playlist([listed(1, 0, 0), listed(1, 6, 12)])
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert text.count("#EXT-X-MAP") == 1


def test_an_overlapping_copy_is_a_discontinuity():
    assert "#EXT-X-DISCONTINUITY\n" in format_playlist([listed(1, 0, 0), listed(1, 3, 6)])


def test_a_gap_in_time_is_a_discontinuity():
    assert "#EXT-X-DISCONTINUITY\n" in format_playlist([listed(1, 0, 0), listed(1, 5, 10.5)])
    assert "#EXT-X-DISCONTINUITY\n" not in format_playlist([listed(1, 0, 0), listed(1, 5, 10.499999)])


def test_independent_segments_is_written_only_if_all_start_with_keyframes():
    assert "INDEPENDENT" not in format_playlist([listed(1, 0, 0), listed(1, 5, 10, flags=0)])


def test_the_target_duration_is_never_exceeded():
    assert "#EXT-X-TARGETDURATION:11\n" in format_playlist([listed(1, 0, 0, 10.000001)])
    assert "#EXT-X-TARGETDURATION:1\n" in format_playlist([listed(1, 0, 0, 0.04)])


steps = st.tuples(st.booleans(), st.sampled_from([0.0, 0.0, 0.04, 0.5, 30.0]), st.integers(0, 2), st.floats(0.04, 60))


@st.composite
def lists(draw: st.DrawFn) -> list[SegmentWithUrl]:
    out: list[SegmentWithUrl] = []
    run, seq, at_s = 1, 0, 0.0
    for is_new, hole_s, missing, length_s in draw(st.lists(steps, min_size=1, max_size=12)):
        run, seq, at_s = (run + 1, 0, at_s) if is_new else (run, seq + missing, at_s)
        out.append(listed(run, seq, at_s + hole_s, length_s, flags=draw(st.integers(0, 3))))
        seq, at_s = seq + 5, at_s + hole_s + length_s
    return out


def breaks(items: Sequence[SegmentWithUrl]) -> int:
    """Counted independently: adjacent segments that are not contiguous."""
    return sum(
        a.entry.epoch != b.entry.epoch
        or b.entry.first_seq - a.entry.last_seq != 1
        or b.entry.start_us - a.entry.end_us >= 500_000
        for a, b in pairwise(items)
    )


@given(lists())
def test_every_segment_is_listed_once_with_its_start_time(items: list[SegmentWithUrl]):
    lines = format_playlist(items).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [item.url for item in items]
    assert [line[25:] for line in lines if line.startswith("#EXT-X-PROGRAM-DATE-TIME:")] == [
        format_rfc3339(item.entry.start_us) for item in items
    ]
    lengths = [round(float(line[8:-1]) * 1e6) for line in lines if line.startswith("#EXTINF:")]
    assert lengths == [item.length_us for item in items]
    target = int(re.findall(r"TARGETDURATION:(\d+)", format_playlist(items))[0])
    assert max(lengths) <= target * 1_000_000
    assert target <= max(lengths) // 1_000_000 + 1


@given(lists())
def test_there_is_one_discontinuity_per_break_and_one_init_per_epoch(items: list[SegmentWithUrl]):
    lines = format_playlist(items).splitlines()
    assert lines.count("#EXT-X-DISCONTINUITY") == breaks(items)
    assert sum(line.startswith("#EXT-X-MAP:") for line in lines) == len({item.entry.epoch for item in items})
    keyframes = all(item.entry.flags & STARTS_WITH_KEYFRAME for item in items)
    assert ("#EXT-X-INDEPENDENT-SEGMENTS" in lines) == keyframes
    assert lines[-1] == "#EXT-X-ENDLIST"
