from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from districam_ingest.codec.nal import Codec
from districam_ingest.recording.epoch_splitter import (
    Append,
    Decision,
    Duplicate,
    End,
    EpochSplitter,
    Skip,
    Start,
)
from districam_ingest.units import Picture
from unit.ingest.samples import (
    BASELINE,
    FULL_HD,
    HEVC,
    SLICE,
    TICKS_25,
    Encoded,
    encoded,
    picture,
)

GOP = 25
HOUR_TICKS = 3600 * 90_000


def judged(gate: EpochSplitter, pictures: Iterable[Picture]) -> list[Decision]:
    return [step for one in pictures for step in gate.decide(one)]


def kinds(steps: Sequence[Decision]) -> list[type[Decision]]:
    return [type(step) for step in steps]


def steady(first: int, count: int, *, shift: int = 0, late_us: int = 0) -> list[Picture]:
    """Pictures of a steady camera; `shift` ticks ahead in media time, `late_us` in arrival."""
    plain = [picture(n, key=n % GOP == 0) for n in range(first, first + count)]
    return [replace(one, pts=one.pts + shift, arrival_us=one.arrival_us + late_us) for one in plain]


def of(stream: Encoded, sets: tuple[bytes, ...], *, sets_in_band: bool = True) -> list[Picture]:
    return [
        Picture((*(sets if key and sets_in_band else ()), *nals), pts, arrival_us=dts * 100 // 9)
        for nals, pts, dts, key in stream.pictures
    ]


def running_gate() -> EpochSplitter:
    gate = EpochSplitter("h264")
    judged(gate, steady(0, 2 * GOP))
    return gate


def test_a_steady_camera_is_one_epoch():
    steps = judged(EpochSplitter("h264"), steady(0, 4 * GOP))
    assert kinds(steps) == [Start, *[Append] * (4 * GOP)]
    taken = [step for step in steps if isinstance(step, Append)]
    assert [step.dts for step in taken] == [step.picture.pts for step in taken]
    assert [step.is_keyframe for step in taken] == [n % GOP == 0 for n in range(4 * GOP)]
    (start,) = [step for step in steps if isinstance(step, Start)]
    assert (start.parameter_sets, start.video_parameters.width, start.video_parameters.height) == (
        BASELINE,
        640,
        360,
    )


def test_a_connection_that_starts_within_a_gop_waits_for_the_keyframe():
    steps = judged(EpochSplitter("h264"), steady(7, 2 * GOP))
    assert kinds(steps)[: GOP - 7] == [Skip] * (GOP - 7)
    assert kinds(steps)[GOP - 7 : GOP - 5] == [Start, Append]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("b_frames", "pyramid"), [(0, False), (2, False), (3, True)])
def test_reordered_pictures_keep_the_encoders_decode_times(
    codec: Codec, *, b_frames: int, pyramid: bool
):
    stream = encoded(codec, b_frames=b_frames, pyramid=pyramid)
    steps = judged(EpochSplitter(codec), of(stream, stream.sets))
    assert kinds(steps) == [Start, *[Append] * len(stream.pictures)]
    assert [step.dts for step in steps if isinstance(step, Append)] == [dts for _, _, dts, _ in stream.pictures]


def test_an_undeclared_reorder_depth_is_learned():
    stream = encoded(b_frames=3, pyramid=True, count=150, gop=25)
    steps = judged(EpochSplitter("h264"), of(stream, BASELINE))  # baseline: says that nothing is reordered
    assert kinds(steps).count(End) == 2
    last = max(index for index, step in enumerate(steps) if isinstance(step, End))
    assert [step.cause for step in steps if isinstance(step, End)] == ["stream_error"] * 2
    after = [step for step in steps[last:] if isinstance(step, Append)]
    assert len(after) >= 75
    assert all(step.dts <= step.picture.pts for step in after)


def test_the_learned_reorder_depth_is_limited():
    gate = EpochSplitter("h264")
    backwards = [picture(n, key=True) for n in range(50, 0, -1)]
    steps = judged(gate, backwards)
    assert "depth of 4" in [step.detail for step in steps if isinstance(step, End)][-1]


def test_changed_parameter_sets_start_the_next_epoch_with_the_same_picture():
    changed = picture(50, key=True, sets=FULL_HD)
    steps = running_gate().decide(changed)
    assert kinds(steps) == [End, Start, Append]
    assert isinstance(steps[0], End)
    assert (steps[0].cause, steps[0].interval_us) == ("stream_changed", 40_000)
    assert isinstance(steps[1], Start)
    assert (steps[1].video_parameters.width, steps[1].parameter_sets) == (1920, FULL_HD)


@pytest.mark.parametrize("sets", [(), BASELINE[:1], BASELINE[1:], (BASELINE[0] + b"\0\0", BASELINE[1])])
def test_a_subset_of_the_same_parameter_sets_is_no_change(sets: tuple[bytes, ...]):
    assert kinds(running_gate().decide(picture(50, key=True, sets=sets))) == [Append]


def test_parameter_sets_within_a_gop_are_no_change():
    odd = replace(picture(51), nals=(*FULL_HD, SLICE))
    gate = running_gate()
    assert kinds(judged(gate, [picture(50, key=True), odd])) == [Append, Append]


def test_sdp_parameter_sets_are_used_if_the_stream_has_none():
    gate = EpochSplitter("h264", (BASELINE[0] + b"\0", BASELINE[1], b"\x06\x05\x01\x00\x80"))
    steps = gate.decide(picture(0, key=True, sets=()))
    assert isinstance(steps[0], Start)
    assert steps[0].parameter_sets == BASELINE
    assert kinds(gate.decide(picture(1, key=True, sets=BASELINE))) == [Append]


def test_in_band_parameter_sets_override_those_of_the_sdp_type_by_type():
    (start, _) = EpochSplitter("h264", BASELINE).decide(picture(0, key=True, sets=FULL_HD[:1]))
    assert isinstance(start, Start)
    assert set(start.parameter_sets) == {FULL_HD[0], BASELINE[1]}
    assert start.video_parameters.height == 1080


@pytest.mark.parametrize("sets", [(), (b"\x67\x42",)])
def test_a_keyframe_without_usable_parameter_sets_starts_no_epoch(sets: tuple[bytes, ...]):
    gate = EpochSplitter("h264")
    (step,) = gate.decide(picture(0, key=True, sets=sets))
    assert isinstance(step, Skip)
    assert kinds(gate.decide(picture(1, key=True))) == [Start, Append]


def test_a_backward_timestamp_jump_ends_the_epoch():
    steps = judged(running_gate(), steady(50, 1, shift=-HOUR_TICKS))
    assert kinds(steps) == [End, Start, Append]
    assert isinstance(steps[0], End)
    assert (steps[0].cause, steps[0].detail) == ("stream_error", "timestamps jumped back by 3599.960 s")


def test_a_forward_timestamp_jump_ends_the_epoch_and_the_next_waits_for_a_keyframe():
    gate = running_gate()
    steps = judged(gate, steady(51, 3, shift=HOUR_TICKS))
    assert kinds(steps) == [End, Skip, Skip, Skip]
    assert isinstance(steps[0], End)
    assert steps[0].cause == "stream_error"
    assert "ahead" in steps[0].detail


@pytest.mark.parametrize("gap_s", [2.2, 30])
def test_a_pause_of_the_camera_ends_the_epoch_as_silence(gap_s: float):
    steps = judged(running_gate(), steady(51, 1, shift=round(gap_s * 90_000), late_us=round(gap_s * 1e6)))
    assert isinstance(steps[0], End)
    assert steps[0].cause == "source_silent"


def test_a_short_pause_does_not_end_the_epoch():
    assert kinds(running_gate().decide(replace(picture(50), pts=50 * TICKS_25 + round(1.9 * 90_000)))) == [Append]


def test_a_small_backward_step_of_decode_time_ends_the_epoch():
    (ends, waits) = running_gate().decide(replace(picture(51), pts=48 * TICKS_25))
    assert isinstance(ends, End)
    assert isinstance(waits, Skip)
    assert (ends.cause, ends.detail) == ("stream_error", "decode times do not increase at a reorder depth of 0")


def test_a_picture_sent_twice_is_stored_once():
    once = steady(0, 2 * GOP)
    steps = judged(EpochSplitter("h264"), [one for one in once for _ in range(2)])
    assert kinds(steps) == [Start, *[Append, Duplicate] * (2 * GOP)]


def test_repeated_timestamps_end_the_epoch_and_do_not_raise_the_reorder_depth():
    gate = running_gate()
    still = [replace(picture(n, key=n % GOP == 0), pts=50 * TICKS_25) for n in range(50, 102)]
    steps = judged(gate, [replace(one, nals=(*one.nals, bytes([6, n]))) for n, one in enumerate(still)])
    ends = [step for step in steps if isinstance(step, End)]
    assert [(end.cause, end.detail) for end in ends] == [("stream_error", "two pictures have the same timestamp")] * 3
    assert kinds(steps).count(Append) == 3, "each keyframe is kept"
    taken = [step for step in judged(gate, steady(125, 5)) if isinstance(step, Append)]
    assert [step.dts for step in taken] == [step.picture.pts for step in taken]


def test_invalid_data_ends_the_epoch_and_starts_none():
    noise = replace(picture(50, key=True, sets=()), nals=(b"\x85\x88", b"\x81\x9a"))
    gate = EpochSplitter("h264", BASELINE)
    assert kinds(gate.decide(noise)) == [Skip]
    judged(gate, steady(0, 2 * GOP))
    (ends, leaves) = gate.decide(noise)
    assert isinstance(ends, End)
    assert (ends.cause, ends.interval_us) == ("stream_error", 40_000)
    assert isinstance(leaves, Skip)
    assert kinds(judged(gate, [noise, *steady(51, 25)])) == [*[Skip] * 25, Start, Append]


def test_unknown_nal_units_beside_a_slice_are_tolerated():
    assert kinds(running_gate().decide(replace(picture(50), nals=(b"\x9e\x01", SLICE)))) == [Append]


def test_a_low_frame_rate_camera_may_pause_for_four_intervals():
    """One picture in two seconds: said by nobody, but seen."""
    slow = [picture(n, key=True, interval=2 * 90_000 - 1) for n in range(10)]
    gate = EpochSplitter("h264")
    assert kinds(judged(gate, slow)) == [Start, *[Append] * 10]
    at = slow[-1].pts
    assert kinds(gate.decide(replace(picture(0), pts=at + 7 * 90_000))) == [Append]
    assert kinds(gate.decide(replace(picture(0), pts=at + 16 * 90_000)))[0] is End


def test_an_epochs_last_picture_lasts_the_measured_interval():
    gate = EpochSplitter("h264")
    assert gate.interval_us == 40_000
    judged(gate, [picture(n, key=n == 0, interval=9000) for n in range(30)])
    assert gate.interval_us == 100_000
    (ends, *_) = gate.decide(picture(900, key=True, interval=9000))
    assert isinstance(ends, End)
    assert ends.interval_us == 100_000


def test_after_the_epoch_was_closed_a_new_one_starts_at_a_keyframe():
    gate = running_gate()
    gate.close_epoch()
    assert kinds(judged(gate, [picture(51), picture(75, key=True)])) == [Skip, Start, Append]


def test_hevc_is_split_like_h264():
    key = Picture((*HEVC, b"\x26\x01\xaf\x08"), 0, 0)
    (start, taken) = EpochSplitter("hevc").decide(key)
    assert isinstance(start, Start)
    assert (start.video_parameters.codecs, start.parameter_sets) == ("hvc1.1.6.L60.90", HEVC)
    assert isinstance(taken, Append)


def test_a_damaged_keyframe_starts_no_epoch_but_its_parameter_sets_are_compared():
    gate = EpochSplitter("h264")
    damaged = replace(picture(0, key=True), is_damaged=True)
    assert kinds(gate.decide(damaged)) == [Skip]
    assert kinds(judged(gate, steady(25, 24))) == [Start, *[Append] * 24]
    (step,) = gate.decide(replace(picture(49, key=True), is_damaged=True))
    assert isinstance(step, Append)
    assert not step.is_keyframe
    ends, leaves = gate.decide(replace(picture(50, key=True, sets=FULL_HD), is_damaged=True))
    assert isinstance(ends, End)
    assert ends.cause == "stream_changed"
    assert isinstance(leaves, Skip)
    assert kinds(gate.decide(picture(51, key=True, sets=FULL_HD))) == [Start, Append]
