from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from districam_ingest.codec.nal import Codec
from districam_ingest.recording.gate import Ends, Gate, Leaves, Repeats, Starts, Step, Takes
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


def judged(gate: Gate, pictures: Iterable[Picture]) -> list[Step]:
    return [step for one in pictures for step in gate.judge(one)]


def kinds(steps: Sequence[Step]) -> list[type[Step]]:
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


def running_gate() -> Gate:
    gate = Gate("h264")
    judged(gate, steady(0, 2 * GOP))
    return gate


def test_a_steady_camera_is_one_epoch():
    steps = judged(Gate("h264"), steady(0, 4 * GOP))
    assert kinds(steps) == [Starts, *[Takes] * (4 * GOP)]
    taken = [step for step in steps if isinstance(step, Takes)]
    assert [step.dts for step in taken] == [step.picture.pts for step in taken]
    assert [step.is_keyframe for step in taken] == [n % GOP == 0 for n in range(4 * GOP)]
    (start,) = [step for step in steps if isinstance(step, Starts)]
    assert (start.sets, start.shape.width, start.shape.height) == (BASELINE, 640, 360)


def test_who_joins_inside_a_gop_waits_for_the_keyframe():
    steps = judged(Gate("h264"), steady(7, 2 * GOP))
    assert kinds(steps)[: GOP - 7] == [Leaves] * (GOP - 7)
    assert kinds(steps)[GOP - 7 : GOP - 5] == [Starts, Takes]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("b_frames", "pyramid"), [(0, False), (2, False), (3, True)])
def test_reordered_pictures_are_no_jump_and_get_the_encoders_decode_times(
    codec: Codec, *, b_frames: int, pyramid: bool
):
    stream = encoded(codec, b_frames=b_frames, pyramid=pyramid)
    steps = judged(Gate(codec), of(stream, stream.sets))
    assert kinds(steps) == [Starts, *[Takes] * len(stream.pictures)]
    assert [step.dts for step in steps if isinstance(step, Takes)] == [
        dts for _, _, dts, _ in stream.pictures
    ]


def test_a_stream_that_hides_its_reorder_depth_is_recovered():
    stream = encoded(b_frames=3, pyramid=True, count=150, gop=25)
    steps = judged(Gate("h264"), of(stream, BASELINE))  # baseline: says that nothing is reordered
    assert kinds(steps).count(Ends) == 2
    last = max(index for index, step in enumerate(steps) if isinstance(step, Ends))
    assert [step.cause for step in steps if isinstance(step, Ends)] == ["stream_error"] * 2
    after = [step for step in steps[last:] if isinstance(step, Takes)]
    assert len(after) >= 75
    assert all(step.dts <= step.picture.pts for step in after)


def test_a_reorder_depth_that_is_never_enough_is_not_learned_for_ever():
    gate = Gate("h264")
    backwards = [picture(n, key=True) for n in range(50, 0, -1)]
    steps = judged(gate, backwards)
    assert "depth of 4" in [step.detail for step in steps if isinstance(step, Ends)][-1]


def test_other_parameter_sets_start_the_next_epoch_with_the_same_picture():
    changed = picture(50, key=True, sets=FULL_HD)
    steps = running_gate().judge(changed)
    assert kinds(steps) == [Ends, Starts, Takes]
    assert isinstance(steps[0], Ends)
    assert (steps[0].cause, steps[0].interval_us) == ("stream_changed", 40_000)
    assert isinstance(steps[1], Starts)
    assert (steps[1].shape.width, steps[1].sets) == (1920, FULL_HD)


@pytest.mark.parametrize("sets", [(), BASELINE[:1], BASELINE[1:], (BASELINE[0] + b"\0\0", BASELINE[1])])
def test_fewer_of_the_same_parameter_sets_are_no_change(sets: tuple[bytes, ...]):
    assert kinds(running_gate().judge(picture(50, key=True, sets=sets))) == [Takes]


def test_parameter_sets_amid_a_gop_are_no_change():
    odd = replace(picture(51), nals=(*FULL_HD, SLICE))
    gate = running_gate()
    assert kinds(judged(gate, [picture(50, key=True), odd])) == [Takes, Takes]


def test_announced_parameter_sets_serve_where_the_stream_carries_none():
    gate = Gate("h264", (BASELINE[0] + b"\0", BASELINE[1], b"\x06\x05\x01\x00\x80"))
    steps = gate.judge(picture(0, key=True, sets=()))
    assert isinstance(steps[0], Starts)
    assert steps[0].sets == BASELINE
    assert kinds(gate.judge(picture(1, key=True, sets=BASELINE))) == [Takes]


def test_carried_parameter_sets_outrank_announced_ones_kind_by_kind():
    (start, _) = Gate("h264", BASELINE).judge(picture(0, key=True, sets=FULL_HD[:1]))
    assert isinstance(start, Starts)
    assert set(start.sets) == {FULL_HD[0], BASELINE[1]}
    assert start.shape.height == 1080


@pytest.mark.parametrize("sets", [(), (b"\x67\x42",)])
def test_a_keyframe_without_usable_parameter_sets_starts_nothing(sets: tuple[bytes, ...]):
    gate = Gate("h264")
    (step,) = gate.judge(picture(0, key=True, sets=sets))
    assert isinstance(step, Leaves)
    assert kinds(gate.judge(picture(1, key=True))) == [Starts, Takes]


def test_time_that_goes_back_ends_the_epoch():
    steps = judged(running_gate(), steady(50, 1, shift=-HOUR_TICKS))
    assert kinds(steps) == [Ends, Starts, Takes]
    assert isinstance(steps[0], Ends)
    assert (steps[0].cause, steps[0].detail) == ("stream_error", "timestamps went back by 3599.960 s")


def test_time_that_leaps_ahead_ends_the_epoch_and_what_follows_waits_for_a_keyframe():
    gate = running_gate()
    steps = judged(gate, steady(51, 3, shift=HOUR_TICKS))
    assert kinds(steps) == [Ends, Leaves, Leaves, Leaves]
    assert isinstance(steps[0], Ends)
    assert steps[0].cause == "stream_error"
    assert "ahead" in steps[0].detail


@pytest.mark.parametrize("gap_s", [2.2, 30])
def test_a_freeze_is_silence(gap_s: float):
    steps = judged(running_gate(), steady(51, 1, shift=round(gap_s * 90_000), late_us=round(gap_s * 1e6)))
    assert isinstance(steps[0], Ends)
    assert steps[0].cause == "source_silent"


def test_a_hiccup_is_no_freeze():
    assert kinds(running_gate().judge(replace(picture(50), pts=50 * TICKS_25 + round(1.9 * 90_000)))) == [
        Takes
    ]


def test_decode_times_cannot_go_back_even_by_little():
    (ends, waits) = running_gate().judge(replace(picture(51), pts=48 * TICKS_25))
    assert isinstance(ends, Ends)
    assert isinstance(waits, Leaves)
    assert (ends.cause, ends.detail) == ("stream_error", "decode times do not grow at a reorder depth of 0")


def test_a_picture_that_is_sent_twice_is_taken_once():
    once = steady(0, 2 * GOP)
    steps = judged(Gate("h264"), [one for one in once for _ in range(2)])
    assert kinds(steps) == [Starts, *[Takes, Repeats] * (2 * GOP)]


def test_a_clock_that_stands_still_ends_the_epoch_and_teaches_no_reordering():
    gate = running_gate()
    still = [replace(picture(n, key=n % GOP == 0), pts=50 * TICKS_25) for n in range(50, 102)]
    steps = judged(gate, [replace(one, nals=(*one.nals, bytes([6, n]))) for n, one in enumerate(still)])
    ends = [step for step in steps if isinstance(step, Ends)]
    assert [(end.cause, end.detail) for end in ends] == [
        ("stream_error", "two pictures have the same timestamp")
    ] * 3
    assert kinds(steps).count(Takes) == 3, "each keyframe is kept"
    taken = [step for step in judged(gate, steady(125, 5)) if isinstance(step, Takes)]
    assert [step.dts for step in taken] == [step.picture.pts for step in taken]


def test_bytes_that_are_no_picture_end_the_epoch_and_start_none():
    noise = replace(picture(50, key=True, sets=()), nals=(b"\x85\x88", b"\x81\x9a"))
    gate = Gate("h264", BASELINE)
    assert kinds(gate.judge(noise)) == [Leaves]
    judged(gate, steady(0, 2 * GOP))
    (ends, leaves) = gate.judge(noise)
    assert isinstance(ends, Ends)
    assert (ends.cause, ends.interval_us) == ("stream_error", 40_000)
    assert isinstance(leaves, Leaves)
    assert kinds(judged(gate, [noise, *steady(51, 25)])) == [*[Leaves] * 25, Starts, Takes]


def test_noise_beside_a_slice_costs_nothing():
    assert kinds(running_gate().judge(replace(picture(50), nals=(b"\x9e\x01", SLICE)))) == [Takes]


def test_a_slow_camera_may_take_four_intervals():
    """One picture in two seconds: said by nobody, but seen."""
    slow = [picture(n, key=True, interval=2 * 90_000 - 1) for n in range(10)]
    gate = Gate("h264")
    assert kinds(judged(gate, slow)) == [Starts, *[Takes] * 10]
    at = slow[-1].pts
    assert kinds(gate.judge(replace(picture(0), pts=at + 7 * 90_000))) == [Takes]
    assert kinds(gate.judge(replace(picture(0), pts=at + 16 * 90_000)))[0] is Ends


def test_an_epochs_last_picture_lasts_the_interval_that_was_seen():
    gate = Gate("h264")
    assert gate.interval_us == 40_000
    judged(gate, [picture(n, key=n == 0, interval=9000) for n in range(30)])
    assert gate.interval_us == 100_000
    (ends, *_) = gate.judge(picture(900, key=True, interval=9000))
    assert isinstance(ends, Ends)
    assert ends.interval_us == 100_000


def test_an_ended_connection_starts_anew_at_a_keyframe():
    gate = running_gate()
    gate.end()
    assert kinds(judged(gate, [picture(51), picture(75, key=True)])) == [Leaves, Starts, Takes]


def test_hevc_is_judged_alike():
    key = Picture((*HEVC, b"\x26\x01\xaf\x08"), 0, 0)
    (start, taken) = Gate("hevc").judge(key)
    assert isinstance(start, Starts)
    assert (start.shape.codecs, start.sets) == ("hvc1.1.6.L60.90", HEVC)
    assert isinstance(taken, Takes)


def test_a_damaged_keyframe_begins_nothing_and_its_parameter_sets_still_count():
    gate = Gate("h264")
    damaged = replace(picture(0, key=True), is_damaged=True)
    assert kinds(gate.judge(damaged)) == [Leaves]
    assert kinds(judged(gate, steady(25, 24))) == [Starts, *[Takes] * 24]
    (step,) = gate.judge(replace(picture(49, key=True), is_damaged=True))
    assert isinstance(step, Takes)
    assert not step.is_keyframe
    ends, leaves = gate.judge(replace(picture(50, key=True, sets=FULL_HD), is_damaged=True))
    assert isinstance(ends, Ends)
    assert ends.cause == "stream_changed"
    assert isinstance(leaves, Leaves)
    assert kinds(gate.judge(picture(51, key=True, sets=FULL_HD))) == [Starts, Takes]
