from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from districam_ingest.codec.nal import Codec
from districam_ingest.recording.epoch_splitter import Append, Decision, Duplicate, End, EpochSplitter, Skip, Start
from districam_ingest.units import Picture
from unit.ingest.samples import BASELINE, FULL_HD, HEVC, SLICE, TICKS_25, Encoded, encoded, picture

GOP = 25
HOUR_TICKS = 3600 * 90_000


def decide_all(splitter: EpochSplitter, pictures: Iterable[Picture]) -> list[Decision]:
    return [decision for one in pictures for decision in splitter.decide(one)]


def types(decisions: Sequence[Decision]) -> list[type[Decision]]:
    return [type(decision) for decision in decisions]


def steady(first: int, count: int, *, shift: int = 0, late_us: int = 0) -> list[Picture]:
    """Pictures of a steady camera, with media time shifted by `shift` ticks and arrival by `late_us`."""
    unshifted = [picture(n, key=n % GOP == 0) for n in range(first, first + count)]
    return [replace(one, pts=one.pts + shift, arrival_us=one.arrival_us + late_us) for one in unshifted]


def to_pictures(stream: Encoded, sets: tuple[bytes, ...], *, sets_in_band: bool = True) -> list[Picture]:
    return [
        Picture((*(sets if key and sets_in_band else ()), *nals), pts, arrival_us=dts * 100 // 9)
        for nals, pts, dts, key in stream.pictures
    ]


def splitter_in_epoch() -> EpochSplitter:
    splitter = EpochSplitter("h264")
    decide_all(splitter, steady(0, 2 * GOP))
    return splitter


def test_a_steady_camera_is_one_epoch():
    decisions = decide_all(EpochSplitter("h264"), steady(0, 4 * GOP))
    assert types(decisions) == [Start, *[Append] * (4 * GOP)]
    appended = [decision for decision in decisions if isinstance(decision, Append)]
    assert [decision.dts for decision in appended] == [decision.picture.pts for decision in appended]
    assert [decision.is_keyframe for decision in appended] == [n % GOP == 0 for n in range(4 * GOP)]
    (start,) = [decision for decision in decisions if isinstance(decision, Start)]
    assert (start.parameter_sets, start.video_parameters.width, start.video_parameters.height) == (BASELINE, 640, 360)


def test_a_connection_that_starts_within_a_gop_waits_for_the_keyframe():
    decisions = decide_all(EpochSplitter("h264"), steady(7, 2 * GOP))
    assert types(decisions)[: GOP - 7] == [Skip] * (GOP - 7)
    assert types(decisions)[GOP - 7 : GOP - 5] == [Start, Append]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("b_frames", "pyramid"), [(0, False), (2, False), (3, True)])
def test_reordered_pictures_keep_the_encoders_decode_times(codec: Codec, *, b_frames: int, pyramid: bool):
    stream = encoded(codec, b_frames=b_frames, pyramid=pyramid)
    decisions = decide_all(EpochSplitter(codec), to_pictures(stream, stream.sets))
    assert types(decisions) == [Start, *[Append] * len(stream.pictures)]
    assert [decision.dts for decision in decisions if isinstance(decision, Append)] == [
        dts for _, _, dts, _ in stream.pictures
    ]


def test_an_undeclared_reorder_depth_is_learned():
    stream = encoded(b_frames=3, pyramid=True, count=150, gop=25)
    # Parameter sets of the Baseline profile, which declares no reordering.
    decisions = decide_all(EpochSplitter("h264"), to_pictures(stream, BASELINE))
    assert types(decisions).count(End) == 2
    last = max(index for index, decision in enumerate(decisions) if isinstance(decision, End))
    assert [decision.cause for decision in decisions if isinstance(decision, End)] == ["stream_error"] * 2
    after = [decision for decision in decisions[last:] if isinstance(decision, Append)]
    assert len(after) >= 75
    assert all(decision.dts <= decision.picture.pts for decision in after)


def test_the_learned_reorder_depth_is_limited():
    splitter = EpochSplitter("h264")
    backwards = [picture(n, key=True) for n in range(50, 0, -1)]
    decisions = decide_all(splitter, backwards)
    assert "depth of 4" in [decision.detail for decision in decisions if isinstance(decision, End)][-1]


def test_changed_parameter_sets_start_the_next_epoch_with_the_same_picture():
    changed = picture(50, key=True, sets=FULL_HD)
    decisions = splitter_in_epoch().decide(changed)
    assert types(decisions) == [End, Start, Append]
    assert isinstance(decisions[0], End)
    assert (decisions[0].cause, decisions[0].interval_us) == ("stream_changed", 40_000)
    assert isinstance(decisions[1], Start)
    assert (decisions[1].video_parameters.width, decisions[1].parameter_sets) == (1920, FULL_HD)


@pytest.mark.parametrize("sets", [(), BASELINE[:1], BASELINE[1:], (BASELINE[0] + b"\0\0", BASELINE[1])])
def test_a_subset_of_the_same_parameter_sets_is_no_change(sets: tuple[bytes, ...]):
    assert types(splitter_in_epoch().decide(picture(50, key=True, sets=sets))) == [Append]


def test_parameter_sets_within_a_gop_are_no_change():
    with_other_sets = replace(picture(51), nals=(*FULL_HD, SLICE))
    splitter = splitter_in_epoch()
    assert types(decide_all(splitter, [picture(50, key=True), with_other_sets])) == [Append, Append]


def test_sdp_parameter_sets_are_used_if_the_stream_has_none():
    splitter = EpochSplitter("h264", (BASELINE[0] + b"\0", BASELINE[1], b"\x06\x05\x01\x00\x80"))
    decisions = splitter.decide(picture(0, key=True, sets=()))
    assert isinstance(decisions[0], Start)
    assert decisions[0].parameter_sets == BASELINE
    assert types(splitter.decide(picture(1, key=True, sets=BASELINE))) == [Append]


def test_in_band_parameter_sets_override_those_of_the_sdp_type_by_type():
    (start, _) = EpochSplitter("h264", BASELINE).decide(picture(0, key=True, sets=FULL_HD[:1]))
    assert isinstance(start, Start)
    assert set(start.parameter_sets) == {FULL_HD[0], BASELINE[1]}
    assert start.video_parameters.height == 1080


@pytest.mark.parametrize("sets", [(), (b"\x67\x42",)])
def test_a_keyframe_without_usable_parameter_sets_starts_no_epoch(sets: tuple[bytes, ...]):
    splitter = EpochSplitter("h264")
    (decision,) = splitter.decide(picture(0, key=True, sets=sets))
    assert isinstance(decision, Skip)
    assert types(splitter.decide(picture(1, key=True))) == [Start, Append]


def test_a_backward_timestamp_jump_ends_the_epoch():
    decisions = decide_all(splitter_in_epoch(), steady(50, 1, shift=-HOUR_TICKS))
    assert types(decisions) == [End, Start, Append]
    assert isinstance(decisions[0], End)
    assert (decisions[0].cause, decisions[0].detail) == ("stream_error", "timestamps jumped back by 3599.960 s")


def test_a_forward_timestamp_jump_ends_the_epoch_and_the_next_waits_for_a_keyframe():
    splitter = splitter_in_epoch()
    decisions = decide_all(splitter, steady(51, 3, shift=HOUR_TICKS))
    assert types(decisions) == [End, Skip, Skip, Skip]
    assert isinstance(decisions[0], End)
    assert decisions[0].cause == "stream_error"
    assert "ahead" in decisions[0].detail


@pytest.mark.parametrize("gap_s", [2.2, 30])
def test_a_pause_of_the_camera_ends_the_epoch_as_silence(gap_s: float):
    decisions = decide_all(splitter_in_epoch(), steady(51, 1, shift=round(gap_s * 90_000), late_us=round(gap_s * 1e6)))
    assert isinstance(decisions[0], End)
    assert decisions[0].cause == "source_silent"


def test_a_short_pause_does_not_end_the_epoch():
    assert types(splitter_in_epoch().decide(replace(picture(50), pts=50 * TICKS_25 + round(1.9 * 90_000)))) == [Append]


def test_a_small_backward_step_of_decode_time_ends_the_epoch():
    (end, skip) = splitter_in_epoch().decide(replace(picture(51), pts=48 * TICKS_25))
    assert isinstance(end, End)
    assert isinstance(skip, Skip)
    assert (end.cause, end.detail) == ("stream_error", "decode times do not increase at a reorder depth of 0")


def test_a_picture_sent_twice_is_stored_once():
    once = steady(0, 2 * GOP)
    decisions = decide_all(EpochSplitter("h264"), [one for one in once for _ in range(2)])
    assert types(decisions) == [Start, *[Append, Duplicate] * (2 * GOP)]


def test_repeated_timestamps_end_the_epoch_and_do_not_raise_the_reorder_depth():
    splitter = splitter_in_epoch()
    repeated = [replace(picture(n, key=n % GOP == 0), pts=50 * TICKS_25) for n in range(50, 102)]
    decisions = decide_all(splitter, [replace(one, nals=(*one.nals, bytes([6, n]))) for n, one in enumerate(repeated)])
    end = [decision for decision in decisions if isinstance(decision, End)]
    assert [(end.cause, end.detail) for end in end] == [("stream_error", "two pictures have the same timestamp")] * 3
    assert types(decisions).count(Append) == 3, "each keyframe is kept"
    appended = [decision for decision in decide_all(splitter, steady(125, 5)) if isinstance(decision, Append)]
    assert [decision.dts for decision in appended] == [decision.picture.pts for decision in appended]


def test_invalid_data_ends_the_epoch_and_starts_none():
    invalid = replace(picture(50, key=True, sets=()), nals=(b"\x85\x88", b"\x81\x9a"))
    splitter = EpochSplitter("h264", BASELINE)
    assert types(splitter.decide(invalid)) == [Skip]
    decide_all(splitter, steady(0, 2 * GOP))
    (end, skip) = splitter.decide(invalid)
    assert isinstance(end, End)
    assert (end.cause, end.interval_us) == ("stream_error", 40_000)
    assert isinstance(skip, Skip)
    assert types(decide_all(splitter, [invalid, *steady(51, 25)])) == [*[Skip] * 25, Start, Append]


def test_unknown_nal_units_beside_a_slice_are_tolerated():
    assert types(splitter_in_epoch().decide(replace(picture(50), nals=(b"\x9e\x01", SLICE)))) == [Append]


def test_a_low_frame_rate_camera_may_pause_for_four_intervals():
    """One picture per two seconds: not declared by the stream, but measured."""
    slow = [picture(n, key=True, interval=2 * 90_000 - 1) for n in range(10)]
    splitter = EpochSplitter("h264")
    assert types(decide_all(splitter, slow)) == [Start, *[Append] * 10]
    at = slow[-1].pts
    assert types(splitter.decide(replace(picture(0), pts=at + 7 * 90_000))) == [Append]
    assert types(splitter.decide(replace(picture(0), pts=at + 16 * 90_000)))[0] is End


def test_an_epochs_last_picture_lasts_the_measured_interval():
    splitter = EpochSplitter("h264")
    assert splitter.interval_us == 40_000
    decide_all(splitter, [picture(n, key=n == 0, interval=9000) for n in range(30)])
    assert splitter.interval_us == 100_000
    (end, *_) = splitter.decide(picture(900, key=True, interval=9000))
    assert isinstance(end, End)
    assert end.interval_us == 100_000


def test_after_the_epoch_was_closed_a_new_one_starts_at_a_keyframe():
    splitter = splitter_in_epoch()
    splitter.close_epoch()
    assert types(decide_all(splitter, [picture(51), picture(75, key=True)])) == [Skip, Start, Append]


def test_hevc_is_split_like_h264():
    key = Picture((*HEVC, b"\x26\x01\xaf\x08"), 0, 0)
    (start, appended) = EpochSplitter("hevc").decide(key)
    assert isinstance(start, Start)
    assert (start.video_parameters.codecs, start.parameter_sets) == ("hvc1.1.6.L60.90", HEVC)
    assert isinstance(appended, Append)


def test_a_damaged_keyframe_starts_no_epoch_but_its_parameter_sets_are_compared():
    splitter = EpochSplitter("h264")
    damaged = replace(picture(0, key=True), is_damaged=True)
    assert types(splitter.decide(damaged)) == [Skip]
    assert types(decide_all(splitter, steady(25, 24))) == [Start, *[Append] * 24]
    (decision,) = splitter.decide(replace(picture(49, key=True), is_damaged=True))
    assert isinstance(decision, Append)
    assert not decision.is_keyframe
    end, skip = splitter.decide(replace(picture(50, key=True, sets=FULL_HD), is_damaged=True))
    assert isinstance(end, End)
    assert end.cause == "stream_changed"
    assert isinstance(skip, Skip)
    assert types(splitter.decide(picture(51, key=True, sets=FULL_HD))) == [Start, Append]
