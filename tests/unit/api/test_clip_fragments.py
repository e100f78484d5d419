import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from districam_api.core.clip_fragments import (
    ClipMuxer,
    FragmentParser,
    FragmentSplitter,
    StoredFragment,
    codec_parameters,
    set_duration,
    trim_to,
)
from districam_common.contract.segment_array import IndexEntry
from districam_common.contract.ticks import to_us
from districam_common.mp4 import boxes as mp4
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.simcam.clips import Generated
from support.fragments import box
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

T0 = 1_790_000_000_000_000
EPOCH, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"


@pytest.fixture(scope="module")
def camera() -> NumberedFootage:
    return open_footage("cam-1", T0, Generated(width=160, height=120, bitrate=100_000, seconds=4, b_frames=2))


@pytest.fixture(scope="module")
def stored_object(camera: NumberedFootage) -> SegmentObject:
    """Four fragments of a second each; keyframes every two."""
    (one,) = make_numbered_segments(camera, EPOCH, range(100))
    return one


def init_of(stored_object: SegmentObject) -> bytes:
    return stored_object.content[: stored_object.entry.init_bytes]


def parts(stored_object: SegmentObject, entry: IndexEntry | None = None) -> Iterator[StoredFragment]:
    splitter = FragmentSplitter()
    parser = FragmentParser(entry or stored_object.entry, mp4.video_track(init_of(stored_object)))
    for data in splitter.feed(stored_object.content[stored_object.entry.init_bytes :]):
        yield parser.parse(data)
    splitter.close()


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_fragments_are_split_correctly_for_any_block_size(stored_object: SegmentObject, size: int):
    media = stored_object.content[stored_object.entry.init_bytes :]
    splitter, found = FragmentSplitter(), list[memoryview]()
    for at in range(0, len(media), size):
        found += splitter.feed(media[at : at + size])
    splitter.close()
    assert len(found) == 4
    assert b"".join(found) == media


def test_a_truncated_object_raises(stored_object: SegmentObject):
    splitter = FragmentSplitter()
    assert len(list(splitter.feed(stored_object.content[stored_object.entry.init_bytes : -1]))) == 3
    with pytest.raises(ValueError, match="ends inside a fragment"):
        splitter.close()


@pytest.mark.parametrize("front", [box(b"free", b"x"), box(b"moof") + box(b"free"), struct.pack(">I4s", 7, b"moof")])
def test_data_that_is_not_a_fragment_raises(front: bytes):
    with pytest.raises(ValueError, match="not a m"):
        list(FragmentSplitter().feed(front))


def test_parsed_fragments_have_the_seqs_and_times_of_their_segment(stored_object: SegmentObject):
    found = list(parts(stored_object, replace(stored_object.entry, first_seq=7, start_us=T0 + 5)))
    assert [part.seq for part in found] == [7, 8, 9, 10]
    assert [part.start_us for part in found] == [T0 + 5 + n * 1_000_000 for n in range(4)]
    assert found[-1].end_us == T0 + 4_000_005
    assert [part.entry.is_keyframe for part in found] == [True, False, True, False]


def test_parsing_two_fragments_as_one_raises(stored_object: SegmentObject):
    parser = FragmentParser(stored_object.entry, mp4.video_track(init_of(stored_object)))
    with pytest.raises(ValueError, match="4 fragments"):
        parser.parse(stored_object.content[stored_object.entry.init_bytes :])


def test_the_same_picture_has_the_same_digest_in_another_epoch(camera: NumberedFootage, stored_object: SegmentObject):
    (other,) = make_numbered_segments(camera, OTHER, range(50, 100), shift_us=31_000)
    assert next(parts(other)).picture_digest == list(parts(stored_object))[2].picture_digest
    assert next(parts(stored_object)).picture_digest != list(parts(stored_object))[2].picture_digest


def test_presentation_of_a_reordered_picture_is_later_than_its_decode_time(
    camera: NumberedFootage, stored_object: SegmentObject
):
    track = mp4.video_track(init_of(stored_object))
    plain = open_footage("cam-1", T0, Generated(width=160, height=120, bitrate=100_000, seconds=2))
    (steady,) = make_numbered_segments(plain, OTHER, range(50))
    assert [part.presentation_us(track) - part.start_us for part in parts(steady)] == [0, 0]
    assert all(0 < part.presentation_us(track) - part.start_us <= 120_000 for part in parts(stored_object))


def clip(placing: ClipMuxer, front: bytes, taken: list[StoredFragment]) -> bytes:
    return front + b"".join(piece for part in taken for piece in placing.feed(part))


def make_muxer(stored_object: SegmentObject, start_us: int = T0) -> ClipMuxer:
    return ClipMuxer(mp4.tracks(init_of(stored_object)), start_us)


def test_decode_times_count_from_the_clips_start_and_keep_gaps(stored_object: SegmentObject):
    first, _, third, fourth = parts(stored_object)
    start_us = first.start_us
    content = clip(make_muxer(stored_object, start_us), init_of(stored_object), [first, third, fourth])
    track = mp4.video_track(init_of(stored_object))
    assert [entry.dts for entry in mp4.fragments(content, track)] == [0, 180_000, 270_000]
    assert [p.number for p in parse_stored_pictures(content)] == [*range(25), *range(50, 100)]
    numbers = [content[at + 8 : at + 12] for at in range(len(content)) if content[at : at + 4] == b"mfhd"]
    assert [int.from_bytes(n, "big") for n in numbers] == [1, 2, 3]


def test_media_is_passed_on_without_copying(stored_object: SegmentObject):
    part = next(parts(stored_object))
    same_time_us = part.start_us - to_us(part.entry.dts, 90_000)
    head, media = make_muxer(stored_object, same_time_us).feed(part)
    assert isinstance(part.data, memoryview)
    assert isinstance(media, memoryview)
    assert media.obj is part.data.obj
    assert b"".join((head, media)) == part.data, "unchanged if time and number are the same"


@pytest.mark.parametrize(
    ("shift_us", "starts"),
    [
        (30_000, 90_000),  # contiguous with the media before it
        (-30_000, 90_000),
        (50_000, 94_500),  # off by more than a picture: placed by the wall clock
        (-500_000, 24 * 3600 + 1),  # but never before media already written
    ],
)
def test_arrival_differences_up_to_one_picture_are_smoothed(stored_object: SegmentObject, shift_us: int, starts: int):
    first, second, *_ = parts(stored_object)
    moved = replace(second, start_us=second.start_us + shift_us)
    content = clip(make_muxer(stored_object, first.start_us), init_of(stored_object), [first, moved])
    entries = mp4.fragments(content, mp4.video_track(init_of(stored_object)))
    assert [entry.dts for entry in entries] == [0, starts]


def test_a_fragment_is_trimmed_to_whole_access_units(stored_object: SegmentObject):
    track = mp4.video_track(init_of(stored_object))
    part = list(parts(stored_object))[1]
    kept = trim_to(part, part.start_us + 400_001, track)
    assert kept is not None
    assert kept.end_us == part.start_us + 440_000
    content = clip(make_muxer(stored_object), init_of(stored_object), [kept])
    assert [p.number for p in parse_stored_pictures(content)] == list(range(25, 36))
    assert mp4.samples(content, track)[0].composition_offset == part.entry.samples[0].composition_offset
    assert trim_to(part, part.end_us, track) is part
    assert trim_to(part, part.start_us, track) is None


@pytest.mark.parametrize("flags", [0x1, 0x0])
@pytest.mark.parametrize("padding", [b"", box(b"free")])
def test_a_run_with_default_samples_is_rewritten_for_any_data_offset(flags: int, padding: bytes):
    track = mp4.Track(1, is_video=True, timescale=10, default_duration=10, default_size=3)
    part = FragmentParser(entry_of_one(), track).parse(handmade_fragment(flags, padding))
    assert len(part.entry.samples) == 4
    kept = trim_to(part, 2_000_000, track)
    assert kept is not None
    head, media = ClipMuxer([track], 0).feed(kept)
    assert bytes(media) == b"aaabbb"
    written = [(s.size, s.duration, s.is_keyframe) for s in mp4.samples(b"".join((head, media)), track)]
    assert written == [(3, 10, True)] * 2


def handmade_fragment(flags: int, padding: bytes, media: bytes = b"aaabbbcccddd") -> bytes:
    """A fragment of samples of three bytes; with flag 1 the run has a data offset, else `tfhd` a base data offset.

    `padding` follows the run.
    """
    at = (92 if flags & 1 else 96) + len(padding)
    offset = struct.pack(">i", at) if flags & 1 else b""
    base = b"" if flags & 1 else struct.pack(">Q", at)
    tfhd = box(b"tfhd", struct.pack(">II", 0 if flags & 1 else 1, 1) + base)
    trun = box(b"trun", struct.pack(">II", flags, len(media) // 3) + offset)
    traf = box(b"traf", tfhd + box(b"tfdt", bytes(8)) + trun + padding)
    moof = box(b"moof", box(b"mfhd", bytes(8)) + traf)
    assert len(moof) + 8 == at
    return moof + box(b"mdat", media)


def test_video_samples_that_are_not_contiguous_raise():
    track = mp4.Track(1, is_video=True, timescale=10, default_duration=10, default_size=3)
    runs = b"".join(box(b"trun", struct.pack(">IIi", 1, 1, at)) for at in (112, 116))
    traf = box(b"traf", box(b"tfhd", struct.pack(">II", 0, 1)) + box(b"tfdt", bytes(8)) + runs)
    data = box(b"moof", box(b"mfhd", bytes(8)) + traf) + box(b"mdat", b"aaa-bbb")
    part = FragmentParser(entry_of_one(), track).parse(data)
    assert [bytes(data[s.offset : s.offset + s.size]) for s in part.entry.samples] == [b"aaa", b"bbb"]
    with pytest.raises(ValueError, match="are not contiguous"):
        ClipMuxer([track], 0).feed(part)


def test_times_beyond_the_range_of_mp4_fields_raise():
    track = mp4.Track(1, is_video=True, timescale=10, default_duration=10, default_size=3)
    part = FragmentParser(entry_of_one(), track).parse(handmade_fragment(1, b""))
    with pytest.raises(ValueError, match="does not fit"):
        ClipMuxer([track], 0).feed(replace(part, start_us=1 << 100))


def entry_of_one() -> IndexEntry:
    return IndexEntry(
        epoch=EPOCH, first_seq=0, last_seq=0, start_us=0, end_us=4_000_000, bytes=0, init_bytes=0, flags=1
    )


def test_the_clips_duration_is_written_to_mvhd(stored_object: SegmentObject):
    front = set_duration(init_of(stored_object), 86_400_000_000)
    mvhd = mp4.find_box(front, "moov", "mvhd")
    assert front[mvhd.body + 12 : mvhd.body + 20] == struct.pack(">II", 1000, 86_400_000)
    wide = box(b"moov", box(b"mvhd", b"\x01\0\0\0" + bytes(16) + struct.pack(">I", 1000) + bytes(8)))
    assert set_duration(wide, 2_000_000)[-8:] == (2000).to_bytes(8, "big")


def test_a_duration_that_does_not_fit_mvhd_raises(stored_object: SegmentObject):
    with pytest.raises(ValueError, match="does not fit"):
        set_duration(init_of(stored_object), 10**13)


def test_codec_parameters_are_equal_if_fragments_can_share_an_init(
    camera: NumberedFootage, stored_object: SegmentObject
):
    (other,) = make_numbered_segments(camera, OTHER, range(50))
    assert codec_parameters(init_of(stored_object)) == codec_parameters(init_of(other))
    larger = open_footage("cam-1", T0, Generated(width=320, height=180, bitrate=100_000, seconds=4))
    (differing,) = make_numbered_segments(larger, OTHER, range(50))
    assert codec_parameters(init_of(stored_object)) != codec_parameters(init_of(differing))
