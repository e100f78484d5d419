from collections.abc import Sequence

import pytest

from districam_ingest.codec.nal import Codec
from districam_ingest.readers.libav_assembler import LibavAssembler
from districam_ingest.rtsp.fu_assembler import MAX_PICTURE_BYTES
from districam_ingest.rtsp.message import RtspError
from districam_ingest.units import Picture

START = b"\0\0\1"
SEI, FIRST, SECOND = START + b"\x06\x05", START + b"\x41\x9a", START + b"\x41\x20"
HEVC_SEI, HEVC_FIRST, HEVC_SECOND = START + b"\x4e\x01", START + b"\x02\x01\xd0", START + b"\x02\x01\x20"


def assembled(pieces: Sequence[tuple[bytes, int]], codec: Codec = "h264", *, has_fields: bool = False) -> list[Picture]:
    """Of pieces with their times; each arrives a microsecond after the one before."""
    assembly = LibavAssembler(codec, has_fields=has_fields)
    done = [assembly.feed(data, pts, at_us, None) for at_us, (data, pts) in enumerate(pieces)]
    return [picture for some in (*done, assembly.close()) for picture in some]


def test_pieces_without_a_time_belong_to_the_picture_before():
    assembly = LibavAssembler("h264", has_fields=False)
    assert assembly.feed(b"\0\0\1\x41a", None, 1, None) == []
    assert assembly.feed(b"\0\0\1\x41b", 10, 2, 5) == []
    assert assembly.feed(b"c", None, 3, None) == []
    assert assembly.feed(b"\0\0\1\x41d", 20, 4, None) == [Picture((b"\x41bc",), 10, 2, camera_us=5)]
    assert assembly.close() == [Picture((b"\x41d",), 20, 4)]
    assert assembly.close() == []


@pytest.mark.parametrize(
    ("codec", "sei", "first", "second"),
    [("h264", SEI, FIRST, SECOND), ("hevc", HEVC_SEI, HEVC_FIRST, HEVC_SECOND)],
)
def test_all_slices_of_a_picture_and_what_stands_between_them_are_one(
    codec: Codec, sei: bytes, first: bytes, second: bytes
):
    (picture,) = assembled([(sei, 10), (first, 10), (b"more", 10), (sei, 10), (second, 10), (sei, 10)], codec)
    assert [nal[:2] for nal in picture.nals] == [part[3:5] for part in (sei, first, sei, second, sei)]


@pytest.mark.parametrize(
    ("codec", "sei", "first", "second"),
    [("h264", SEI, FIRST, SECOND), ("hevc", HEVC_SEI, HEVC_FIRST, HEVC_SECOND)],
)
def test_pictures_of_one_timestamp_are_told_apart_by_their_first_slice(
    codec: Codec, sei: bytes, first: bytes, second: bytes
):
    """A clock that stands still, or a picture sent twice; in pieces or with all of a picture in one."""
    one = [(sei, 10), (first, 10), (second, 10)]
    pictures = assembled([*one, *one, (sei + first, 10), (first, 10), (sei, 20), (first, 20)], codec)
    assert [(len(picture.nals), picture.pts, picture.arrival_us) for picture in pictures] == [
        (3, 10, 0),
        (3, 10, 3),
        (2, 10, 6),
        (1, 10, 7),
        (2, 20, 8),
    ]
    assert pictures[0].nals == pictures[1].nals


def test_two_fields_of_a_frame_are_one_picture():
    (picture,) = assembled([(FIRST, 10), (FIRST, 10)], has_fields=True)
    assert len(picture.nals) == 2


def test_what_is_larger_than_any_picture_is_refused_and_not_held():
    assembly = LibavAssembler("h264", has_fields=False)
    assert assembly.feed(FIRST, 10, 1, None) == []
    assert assembly.feed(bytes(MAX_PICTURE_BYTES - len(FIRST)), None, 2, None) == []
    with pytest.raises(RtspError, match="exceeds"):
        assembly.feed(b"x", None, 3, None)
    assert assembly.close() == []


def test_bytes_that_hold_no_nal_unit_are_no_picture():
    assert assembled([(b"abc", 10), (b"abd", 20)]) == []
