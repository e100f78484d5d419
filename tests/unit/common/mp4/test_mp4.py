import io
import struct
from collections.abc import Callable

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from districam_common.mp4 import boxes as mp4
from districam_common.mp4.boxes import Sample, Track
from support.histories import EPOCHS
from support.segment_objects import FPS, segments

START_US = 1_795_531_620_000_000
OBJECT = segments("cam-1", EPOCHS[0], START_US)[0]
INIT = OBJECT.content[: OBJECT.entry.init_bytes]
TICKS = 90_000 // FPS


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, flags: int, fields: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), fields)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def init(*traks: bytes, trex: bytes = b"") -> bytes:
    return box(b"ftyp", b"isom") + box(b"moov", *traks, box(b"mvex", box(b"mehd", b"1234"), trex))


def trak(track_id: int, handler: bytes, timescale: int, version: int = 0) -> bytes:
    times = bytes(16 if version else 8)
    clock = full(b"mdhd", 0, times + u32(timescale), version)
    media = box(b"mdia", clock, full(b"hdlr", 0, bytes(4) + handler))
    return box(b"trak", full(b"tkhd", 0, times + u32(track_id), version), media)


def fragment(*trafs: bytes, media: bytes) -> bytes:
    return box(b"moof", full(b"mfhd", 0, u32(1)), *trafs) + box(b"mdat", media)


VIDEO = Track(track_id=1, is_video=True, timescale=90_000)


def test_a_stored_segment_parses_as_a_demuxer_reads_it() -> None:
    track = mp4.video_track(mp4.init_of(OBJECT.content))
    read = [
        (OBJECT.content[s.offset : s.offset + s.size], s.dts, s.dts + s.composition_offset, s.duration, s.is_keyframe)
        for s in mp4.samples(OBJECT.content, track)
    ]
    with av.open(io.BytesIO(OBJECT.content), mode="r") as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    assert [(bytes(p), p.dts, p.pts, p.duration, p.is_keyframe) for p in packets] == read
    assert len(read) == 2 * FPS


def test_fragments_have_their_samples_and_times() -> None:
    assert mp4.init_of(OBJECT.content) == INIT
    table = mp4.fragments(OBJECT.content, mp4.video_track(INIT))
    assert [entry.dts for entry in table] == [START_US * 9 // 100, START_US * 9 // 100 + 90_000]
    assert [(entry.duration, entry.is_keyframe, len(entry.samples)) for entry in table] == [(90_000, True, FPS)] * 2
    assert table[0].samples[0].offset > len(INIT)
    assert table[1].samples[-1].offset + table[1].samples[-1].size == len(OBJECT.content)


def test_tracks_of_an_init() -> None:
    trex = full(b"trex", 0, u32(2, 1, 1024, 7, 0x10000))
    made = init(trak(1, b"vide", 90_000, version=1), trak(2, b"soun", 48_000), trex=trex)
    video, sound = mp4.tracks(made)
    assert video == mp4.video_track(made) == VIDEO
    assert sound == Track(
        2, is_video=False, timescale=48_000, default_duration=1024, default_size=7, default_flags=0x10000
    )


def test_an_init_must_have_one_video_track_with_a_clock() -> None:
    for traks in ([], [trak(1, b"soun", 1)], [trak(1, b"vide", 1), trak(2, b"vide", 1)]):
        with pytest.raises(ValueError, match="video tracks, not one"):
            mp4.video_track(init(*traks))
    with pytest.raises(ValueError, match="timescale of 0"):
        mp4.tracks(init(trak(1, b"vide", 0)))
    with pytest.raises(ValueError, match="no box moov"):
        mp4.tracks(box(b"ftyp"))


def with_media(traf: Callable[[int], bytes], media: bytes) -> tuple[bytes, int]:
    """A fragment whose traf has the data offset of its media; and that offset."""
    base = len(fragment(traf(0), media=b""))
    return fragment(traf(base), media=media), base


def test_sample_fields_absent_in_trun_default_to_trex() -> None:
    track = Track(1, is_video=True, timescale=90_000, default_duration=10, default_size=3, default_flags=0x10000)
    data, base = with_media(
        lambda at: box(
            b"traf",
            full(b"tfhd", 0x02, u32(1, 1)),
            full(b"tfdt", 0, u32(700)),
            full(b"trun", 0x01 | 0x04, u32(2, at, 0)),
            full(b"trun", 0x800, struct.pack(">Ii", 1, -5), version=1),
        ),
        media=bytes(9),
    )
    assert mp4.samples(data, track) == [
        Sample(base, 3, 700, 10, 0, is_keyframe=True),
        Sample(base + 3, 3, 710, 10, 0, is_keyframe=False),
        Sample(base + 6, 3, 720, 10, -5, is_keyframe=False),
    ]


def test_sample_fields_absent_in_trun_default_to_tfhd() -> None:
    data, base = with_media(
        lambda at: box(
            b"traf",
            full(b"tfhd", 0x01 | 0x08 | 0x10 | 0x20, struct.pack(">IQIII", 1, at, 20, 4, 0x10000)),
            full(b"tfdt", 0, struct.pack(">Q", 2**40), version=1),
            full(b"trun", 0, u32(1)),
            full(b"trun", 0x100 | 0x200 | 0x400, u32(1, 5, 1, 0)),
        ),
        media=bytes(5),
    )
    assert mp4.samples(data, VIDEO) == [
        Sample(base, 4, 2**40, 20, 0, is_keyframe=False),
        Sample(base + 4, 1, 2**40 + 20, 5, 0, is_keyframe=True),
    ]


def test_samples_must_be_inside_mdat() -> None:
    traf = box(b"traf", full(b"tfhd", 0, u32(1)), full(b"tfdt", 0, u32(0)), full(b"trun", 0x01, u32(1, 0)))
    with pytest.raises(ValueError, match="no samples in its mdat"):
        mp4.samples(fragment(traf, media=b"1234"), VIDEO)


def test_other_tracks_and_boxes_are_ignored() -> None:
    sound = box(b"traf", full(b"tfhd", 0, u32(2)), full(b"tfdt", 0, u32(0)))
    with pytest.raises(ValueError, match="no samples"):
        mp4.samples(fragment(sound, media=b"1234"), VIDEO)
    assert mp4.fragments(box(b"styp") + box(b"mdat", b"of nobody") + box(b"moof"), VIDEO) == []


def test_a_trun_with_too_many_samples_is_rejected() -> None:
    traf = box(
        b"traf", full(b"tfhd", 0, u32(1)), full(b"tfdt", 0, u32(0)), full(b"trun", 0, u32(mp4.MAX_TRUN_SAMPLES + 1))
    )
    with pytest.raises(ValueError, match="a trun of 65537 samples"):
        mp4.samples(fragment(traf, media=b""), VIDEO)


def test_a_truncated_trun_is_rejected() -> None:
    traf = box(b"traf", full(b"tfhd", 0, u32(1)), full(b"tfdt", 0, u32(0)), full(b"trun", 0x200, u32(99, 4)))
    with pytest.raises(ValueError, match="inside a trun"):
        mp4.samples(fragment(traf, media=b""), VIDEO)


def test_box_sizes_of_0_and_1() -> None:
    long = struct.pack(">I4sQ", 1, b"free", 20) + b"data"
    rest = struct.pack(">I4s", 0, b"mdat") + b"to the end"
    assert [(b.kind, b.start, b.body, b.end) for b in mp4.boxes(long + rest)] == [
        ("free", 0, 16, 20),
        ("mdat", 20, 28, 38),
    ]
    assert mp4.find_box(memoryview(long), "free").end == 20
    for bad in (b"\0\0\0", struct.pack(">I4s", 7, b"free"), struct.pack(">I4s", 99, b"free"), long[:12]):
        with pytest.raises(ValueError):
            list(mp4.boxes(bad))


def test_init_of_requires_ftyp_and_moov_at_the_front() -> None:
    with pytest.raises(ValueError, match="not ftyp, then moov"):
        mp4.init_of(OBJECT.content[len(INIT) :])
    with pytest.raises(ValueError, match="not ftyp, then moov"):
        mp4.init_of(box(b"ftyp"))


BYTES = st.binary(max_size=8)
CHANGES = st.lists(st.tuples(st.integers(0, 2000), BYTES), max_size=3)


@given(CHANGES, st.integers(0, 2000) | st.none())
@example([], 700)
def test_garbage_is_a_value_error(changes: list[tuple[int, bytes]], end: int | None) -> None:
    spoilt = bytearray(OBJECT.content[:end])
    for at, data in changes:
        spoilt[at : at + len(data)] = data
    try:
        whole = bytes(spoilt)
        found = mp4.fragments(whole, mp4.video_track(mp4.init_of(whole)))
    except ValueError:
        return
    for entry in found:
        assert entry.samples
        assert all(s.offset >= 0 and s.offset + s.size <= len(whole) for s in entry.samples)


@given(st.binary(max_size=100))
def test_corrupted_data_raises_value_error_or_parses(noise: bytes) -> None:
    with pytest.raises(ValueError):
        mp4.init_of(noise)
    with pytest.raises(ValueError):
        mp4.video_track(noise)
