"""Cameras with one fault each, once per reader, in one run of the whole pipeline on real servers.

Each fault affects only its camera: a gap with the right cause, as long as the fault and the reconnect.
"""

import struct

import pytest

from districam_devkit.accounting import median_frame_interval_us
from districam_devkit.api_client import open_api_client
from districam_devkit.hls_playlist import parse_playlist
from support.scenario import COUNTED_CAMERA_IDS, Scenario, lossy_interval
from support.scenario_cameras import B_FRAMES, STEADY
from support.scenario_faults import (
    CASES,
    FAULT_CASES,
    FPS,
    FRAGMENT_MAX_S,
    LONG_GOP,
    SEGMENT_MAX_S,
    SLACK_S,
    STEADY_UDP,
    RtspReader,
    faulty_camera_id,
)

pytestmark = pytest.mark.timeout(300)

LOSSY = ("lose", "udp-lose")


@pytest.mark.parametrize("camera_id", COUNTED_CAMERA_IDS)
def test_every_picture_is_stored_or_in_a_gap_and_none_is_shown_twice(scenario: Scenario, camera_id: str) -> None:
    counted = scenario.counts[camera_id]
    assert counted.stored > 100
    assert (counted.unaccounted, counted.duplicates) == (0, 0), counted


@pytest.mark.parametrize("camera_id", [STEADY, B_FRAMES, STEADY_UDP])
def test_cameras_without_faults_have_no_gaps(scenario: Scenario, camera_id: str) -> None:
    counted = scenario.counts[camera_id]
    assert scenario.gaps(camera_id) == []
    assert (len(scenario.stored_epochs(camera_id)), len(scenario.connection_numbers(camera_id))) == (1, 1)
    assert counted.stored == counted.sent - counted.before_first_keyframe


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_a_fault_is_one_gap_of_its_cause_as_long_as_fault_and_reconnect(
    scenario: Scenario, name: str, reader: RtspReader
) -> None:
    camera_id, trial = faulty_camera_id(name, reader), FAULT_CASES[name]
    gaps = scenario.gaps(camera_id)
    causes = {(gap.cause, gap.detail) for gap in gaps}
    if trial.cause is not None:
        assert {cause for cause, _ in causes} <= trial.expected_causes(reader), causes
    gap_s = sum(gap.to_us - gap.from_us for gap in gaps) / 1e6
    assert trial.min_gap_s <= gap_s <= trial.max_gap_with(reader), causes
    assert len(scenario.stored_epochs(camera_id)) >= trial.min_epochs
    assert (len(scenario.connection_numbers(camera_id)) > 1) == trial.reconnects


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_no_stored_picture_lies_in_a_gap(scenario: Scenario, name: str, reader: RtspReader) -> None:
    """Pictures more than a frame from a gap's edges, at the time when they were due or sent."""
    camera_id = faulty_camera_id(name, reader)
    due_us = scenario.due_us(camera_id, FPS)
    edge_us = median_frame_interval_us(scenario.sent[camera_id])
    before_its_end_s = [
        (gap.to_us - picture.sent_us) / 1e6
        for gap in scenario.gaps(camera_id)
        for one in scenario.objects[camera_id]
        for picture in one.pictures
        if gap.from_us + edge_us < due_us.get(picture.number, picture.sent_us) and picture.sent_us < gap.to_us - edge_us
    ]
    assert before_its_end_s == []


@pytest.mark.parametrize("name", ["repeat", "size", "udp-reorder", "udp-alone"])
def test_faults_without_duration_lose_no_picture(scenario: Scenario, name: str) -> None:
    counted = scenario.counts[faulty_camera_id(name)]
    assert counted.stored == counted.sent - counted.before_first_keyframe


@pytest.mark.parametrize("name", LOSSY)
def test_segments_are_flagged_lossy_exactly_where_data_was_lost(scenario: Scenario, name: str) -> None:
    incomplete = scenario.incomplete_numbers[faulty_camera_id(name)]
    assert len(incomplete) > 3
    marked = 0
    for one in scenario.objects[faulty_camera_id(name)]:
        numbers = [picture.number for picture in one.pictures]
        first, last = min(numbers), max(numbers)
        is_lossy = lossy_interval(one) is not None
        marked += is_lossy
        if any(first < number < last for number in incomplete):
            assert is_lossy
        if not any(first - 2 <= number <= last + 2 for number in incomplete):  # nor next to it
            assert not is_lossy
    assert marked


def test_segments_of_other_cameras_are_not_lossy(scenario: Scenario) -> None:
    undamaged = [camera_id for camera_id, incomplete in scenario.incomplete_numbers.items() if not incomplete]
    assert len(undamaged) > len(CASES)
    objects = [one for camera_id in undamaged for one in scenario.objects[camera_id]]
    assert [one.key for one in objects if lossy_interval(one) is not None] == []


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("size", [("avc1", 320, 180), ("avc1", 400, 224)]), ("codec", [("avc1", 320, 180), ("hvc1", 320, 192)])],
)
async def test_a_change_of_size_or_codec_has_its_own_init(
    scenario: Scenario, name: str, shapes: list[tuple[str, int, int]]
) -> None:
    async with open_api_client(scenario.api_url) as api:
        text = await api.text(scenario.playlist_url(faulty_camera_id(name)))
        inits = dict.fromkeys((entry.init_url, entry.init_range) for entry in parse_playlist(text))
        assert [_shape_of(await api.media(*init)) for init in inits] == shapes


def _shape_of(init: bytes) -> tuple[str, int, int]:
    """Sample entry, width and height (ISO/IEC 14496-12, 12.1.3.2)."""
    for name in ("avc1", "hvc1"):
        at = init.rfind(name.encode())
        if at >= 0:
            return name, *struct.unpack_from(">HH", init, at + 28)
    raise AssertionError("no video in the init")


def test_a_minute_long_gop_is_cut_by_time(scenario: Scenario) -> None:
    """Joined mid-GOP. Fragments have at most two seconds, segments last until the next keyframe or their maximum."""
    sent = scenario.sent[LONG_GOP]
    assert (len(scenario.stored_epochs(LONG_GOP)), len(scenario.connection_numbers(LONG_GOP))) == (1, 1)
    (gap,) = scenario.gaps(LONG_GOP)
    assert (gap.cause, gap.detail) == ("stream_error", "no keyframe for 10 s")
    keyframes = [one.number for one in sent if one.is_keyframe]
    assert abs(gap.to_us - scenario.due_us(LONG_GOP, FPS)[keyframes[0]]) < 1_000_000 // FPS + 100_000
    assert abs(gap.from_us - sent[0].sent_us - 10_000_000) < SLACK_S * 1e6
    segments = [one.key.split(".") for one in scenario.objects[LONG_GOP]]
    assert [flags for *_, flags, _ in segments] == ["01", *["00"] * (len(segments) - 1)]
    assert len(segments) > 1
    for _, _, _, seqs, duration_us, *_ in segments:
        first, last = map(int, seqs.split("-"))
        assert int(duration_us) <= (SEGMENT_MAX_S + FRAGMENT_MAX_S) * 1_000_000
        assert int(duration_us) <= (last - first + 1) * (FRAGMENT_MAX_S * 1_000_000 + median_frame_interval_us(sent))
