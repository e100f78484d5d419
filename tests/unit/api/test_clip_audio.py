from dataclasses import replace

import pytest

from districam_api.core.clip_audio import NO_AUDIO, AudioRetimer, parse_audio
from districam_api.core.clip_fragments import ClipMuxer, FragmentParser, FragmentSplitter, StoredFragment, trim_to
from districam_common.contract.ticks import to_us
from districam_common.mp4 import boxes as mp4
from districam_common.mp4.writer import AudioSample
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.simcam import Generated, tone
from support import audio_probe
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

T0 = 1_790_000_000_000_000
EPOCH, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
AAC = tone("aac")
UNIT, RATE = 1024, 16_000
TRACK = mp4.Track(2, is_video=False, timescale=RATE)


@pytest.fixture(scope="module")
def camera() -> NumberedFootage:
    return open_footage("cam-1", T0, Generated(width=160, height=120, bitrate=100_000, seconds=4), AAC)


@pytest.fixture(scope="module")
def stored_object(camera: NumberedFootage) -> SegmentObject:
    """Four fragments of a second each; audio of the end of each is stored in the next."""
    (one,) = make_numbered_segments(camera, EPOCH, range(100))
    return one


def init_of(stored_object: SegmentObject) -> bytes:
    return stored_object.content[: stored_object.entry.init_bytes]


def parts(stored_object: SegmentObject) -> list[StoredFragment]:
    parser = FragmentParser(stored_object.entry, mp4.video_track(init_of(stored_object)), TRACK)
    splitter = FragmentSplitter()
    return [parser.parse(data) for data in splitter.feed(stored_object.content[stored_object.entry.init_bytes :])]


def clip(
    stored_object: SegmentObject, taken: list[tuple[StoredFragment, StoredFragment | None]], start_us: int
) -> bytes:
    muxer = ClipMuxer(mp4.tracks(init_of(stored_object)), start_us)
    placed = (muxer.feed(one, late.audio if late else NO_AUDIO) for one, late in taken)
    return init_of(stored_object) + b"".join(piece for pieces in placed for piece in pieces)


def test_a_fragment_that_is_not_moved_is_unchanged(stored_object: SegmentObject):
    tracks, part = mp4.tracks(init_of(stored_object)), parts(stored_object)[0]
    same_time_us = part.start_us - to_us(part.entry.dts, 90_000)
    assert part.audio
    assert b"".join(ClipMuxer(tracks, same_time_us).feed(part)) == part.data


def test_all_audio_samples_of_a_fragment_are_parsed(stored_object: SegmentObject):
    for data in FragmentSplitter().feed(stored_object.content[stored_object.entry.init_bytes :]):
        sound = parse_audio(data, TRACK)
        stored = audio_probe.stored_audio_units(init_of(stored_object) + bytes(data))
        assert [unit.data for unit in sound] == [unit.data for unit in stored]
        assert parse_audio(data, replace(TRACK, track_id=3)) == NO_AUDIO


def test_a_fragment_whose_audio_precedes_the_clip_has_video_only(stored_object: SegmentObject):
    part = parts(stored_object)[0]
    (early,) = placed(-5 * UNIT)
    silent = ClipMuxer(mp4.tracks(init_of(stored_object)), T0).feed(replace(part, audio=(early,)))
    mute = [track for track in mp4.tracks(init_of(stored_object)) if track.is_video]
    assert b"".join(silent) == b"".join(ClipMuxer(mute, T0).feed(part))
    assert audio_probe.stored_audio_units(init_of(stored_object) + b"".join(silent)) == []


def test_a_clip_has_each_audio_unit_once_in_sync_with_its_picture(stored_object: SegmentObject):
    found = parts(stored_object)
    content = clip(stored_object, list(zip(found, [*found[1:], None], strict=True)), T0)
    units = audio_probe.stored_audio_units(content)
    assert audio_probe.loop_positions(units, AAC) == list(range(len(units)))
    assert [round(unit.at_s * RATE) for unit in units] == [n * UNIT for n in range(len(units))]
    assert len(units) == 61  # without the late audio of the last fragment


def test_audio_before_or_after_the_clip_is_dropped(stored_object: SegmentObject):
    found = parts(stored_object)
    content = clip(stored_object, [(found[1], found[2])], found[1].start_us)
    units = audio_probe.stored_audio_units(content)
    assert audio_probe.loop_positions(units, AAC) == list(range(16, 32))
    assert units[0].at_s == pytest.approx(0.024)


def test_audio_of_a_trimmed_fragment_ends_with_its_pictures(stored_object: SegmentObject):
    found = parts(stored_object)
    part = trim_to(found[1], found[1].start_us + 500_000, mp4.video_track(init_of(stored_object)))
    assert part is not None
    content = clip(stored_object, [(found[0], None), (part, None)], T0)
    assert [p.number for p in parse_stored_pictures(content)] == list(range(38))
    assert audio_probe.stored_audio_units(content)[-1].at_s < 1.52


def test_a_gap_in_the_video_is_a_gap_in_the_audio(stored_object: SegmentObject):
    first, _, _, fourth = parts(stored_object)
    units = audio_probe.stored_audio_units(clip(stored_object, [(first, None), (fourth, None)], T0))
    assert [place for place in audio_probe.loop_positions(units, AAC) if place is not None] == [
        *range(14),
        *range(45, 61),
    ]
    assert units[14].at_s == pytest.approx(45 * 0.064, abs=0.001)


def test_audio_of_overlapping_epochs_is_not_repeated(camera: NumberedFootage, stored_object: SegmentObject):
    (other,) = make_numbered_segments(camera, OTHER, range(25, 100), shift_us=31_000)
    first, second = parts(stored_object), parts(other)
    content = clip(stored_object, [(first[0], first[1]), (first[1], first[2]), (second[1], second[2])], T0)
    assert audio_probe.loop_positions(audio_probe.stored_audio_units(content), AAC) == list(range(47))


def placed(start: int, count: int = 1, duration: int = UNIT) -> list[AudioSample]:
    return [AudioSample(b"%d" % n, start + n * duration, duration) for n in range(count)]


def test_short_overlaps_trim_the_second_sample_and_longer_ones_drop_it():
    muxer = AudioRetimer(TRACK, 90_000)
    assert muxer.feed(placed(0), 0, 900_000) == placed(0)
    assert muxer.feed(placed(UNIT - 600), 0, 900_000) == []
    assert muxer.feed(placed(UNIT - 300), 0, 900_000) == [AudioSample(b"0", UNIT, UNIT - 300)]


def test_a_hole_in_a_fragments_audio_keeps_its_duration():
    units = [*placed(0), *placed(5 * UNIT)]
    assert AudioRetimer(TRACK, 90_000).feed(units, 0, 900_000) == [
        AudioSample(b"0", 0, 5 * UNIT),
        AudioSample(b"0", 5 * UNIT, UNIT),
    ]
