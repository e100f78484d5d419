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
    """The pictures of packet data with their PTS, which arrive 1 µs apart."""
    assembler = LibavAssembler(codec, has_fields=has_fields)
    done = [assembler.feed(data, pts, at_us, None) for at_us, (data, pts) in enumerate(pieces)]
    return [picture for some in (*done, assembler.close()) for picture in some]


def test_data_without_pts_belong_to_the_current_picture():
    assembler = LibavAssembler("h264", has_fields=False)
    assert assembler.feed(b"\0\0\1\x41a", None, 1, None) == []
    assert assembler.feed(b"\0\0\1\x41b", 10, 2, 5) == []
    assert assembler.feed(b"c", None, 3, None) == []
    assert assembler.feed(b"\0\0\1\x41d", 20, 4, None) == [Picture((b"\x41bc",), 10, 2, camera_us=5)]
    assert assembler.close() == [Picture((b"\x41d",), 20, 4)]
    assert assembler.close() == []


@pytest.mark.parametrize(
    ("codec", "sei", "first", "second"), [("h264", SEI, FIRST, SECOND), ("hevc", HEVC_SEI, HEVC_FIRST, HEVC_SECOND)]
)
def test_slices_and_nal_units_between_them_are_one_picture(codec: Codec, sei: bytes, first: bytes, second: bytes):
    (picture,) = assembled([(sei, 10), (first, 10), (b"more", 10), (sei, 10), (second, 10), (sei, 10)], codec)
    assert [nal[:2] for nal in picture.nals] == [part[3:5] for part in (sei, first, sei, second, sei)]


@pytest.mark.parametrize(
    ("codec", "sei", "first", "second"), [("h264", SEI, FIRST, SECOND), ("hevc", HEVC_SEI, HEVC_FIRST, HEVC_SECOND)]
)
def test_pictures_with_the_same_pts_are_separated_by_their_first_slice(
    codec: Codec, sei: bytes, first: bytes, second: bytes
):
    """A frozen media clock, or a picture sent twice; fragmented or whole."""
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


def test_an_oversized_nal_unit_is_rejected_and_not_buffered():
    assembler = LibavAssembler("h264", has_fields=False)
    assert assembler.feed(FIRST, 10, 1, None) == []
    assert assembler.feed(bytes(MAX_PICTURE_BYTES - len(FIRST)), None, 2, None) == []
    with pytest.raises(RtspError, match="exceeds"):
        assembler.feed(b"x", None, 3, None)
    assert assembler.close() == []


def test_bytes_without_a_nal_unit_give_no_picture():
    assert assembled([(b"abc", 10), (b"abd", 20)]) == []
