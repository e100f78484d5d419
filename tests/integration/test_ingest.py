"""Ingest's records on Kafka in the shared scenario: fragments, events, stills."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from districam_common.contract.events import ClockStep, Connected, Lost, Profile, Refused, StreamEvent
from districam_devkit.accounting import median_frame_interval_us
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.simcam import SentPicture
from districam_ingest.recording.epoch_splitter import FREEZE_US
from support.scenario import Scenario
from support.scenario_cameras import (
    B_FRAMES,
    DISABLED,
    DROPPED,
    MALFORMED,
    NO_CREDENTIAL,
    NOISE,
    NOT_FOUND,
    PARTIAL,
    STEADY,
    STOPPED,
    STOPPED_B_FRAMES,
    UNREACHABLE,
)
from support.scenario_faults import faulty_camera_id

pytestmark = pytest.mark.timeout(300)

SILENT = faulty_camera_id("silence")
RECORDED = (STEADY, DROPPED, SILENT, B_FRAMES, DISABLED, NOISE, STOPPED, STOPPED_B_FRAMES)


def causes(events: list[StreamEvent]) -> list[str]:
    return [event.cause for event in events if isinstance(event, Lost | Refused)]


def test_it_stops_cleanly_and_logs_errors_about_poison_only(scenario: Scenario):
    lines = [json.loads(line) for line in scenario.ingest_log.splitlines()]
    assert lines[-1]["event"] == "stopped"
    errors = [line["event"] for line in lines if line["level"] not in {"info", "warning"}]
    of_a_fresh_broker = "GroupCoordinatorNotAvailable"
    of_the_poison = ["camera record rejected"]
    assert [event for event in errors if of_a_fresh_broker not in event] == of_the_poison


@pytest.mark.parametrize("camera_id", RECORDED)
def test_fragments_of_an_epoch_are_numbered_and_contiguous(scenario: Scenario, camera_id: str):
    assert scenario.fragments_by_epoch(camera_id)
    for fragments in scenario.fragments_by_epoch(camera_id):
        infos = [fragment.info for fragment in fragments]
        assert [info.seq for info in infos] == list(range(len(infos)))
        assert all(earlier.end_us == later.start_us for earlier, later in pairwise(infos))
        assert infos[0].is_keyframe
        assert infos[0].starts_segment
        assert [info.ends for info in infos].index("epoch") == len(infos) - 1
        assert all((a.ends == "segment") is b.starts_segment for a, b in pairwise(infos))
        assert len({fragment.init for fragment in fragments}) == 1
        assert all(
            info.access_units == len(parse_stored_pictures(f.value)) for info, f in zip(infos, fragments, strict=True)
        )


def is_in_a_gap(scenario: Scenario, camera_id: str) -> Callable[[SentPicture], bool]:
    """Whether no epoch covers the instant at which a picture was sent, give or take one picture and the delay."""
    frame = median_frame_interval_us(scenario.sent[camera_id])
    spans = [
        (fragments[0].info.start_us, fragments[-1].info.end_us) for fragments in scenario.fragments_by_epoch(camera_id)
    ]
    return lambda one: (
        not any(start_us - frame - 20_000 <= one.sent_us < end_us - frame - 60_000 for start_us, end_us in spans)
    )


@pytest.mark.parametrize("camera_id", RECORDED)
def test_every_picture_from_the_first_keyframe_on_is_in_the_log_once(scenario: Scenario, camera_id: str):
    in_order = scenario.fragment_numbers(camera_id)
    stored = set(in_order)
    assert len(stored) == len(in_order)
    sent = [one for one in scenario.sent[camera_id] if not one.before_first_keyframe]
    assert len(sent) > 100
    missing = [one for one in sent if one.number not in stored]
    assert [one.number for one in missing if not is_in_a_gap(scenario, camera_id)(one)] == []
    numbers = {one.number for one in scenario.sent[camera_id]}
    extra = [number for number in stored if number not in numbers]
    assert len(extra) <= len(scenario.fragments_by_epoch(camera_id))  # cut off while being sent: the send log omits it


@pytest.mark.parametrize("camera_id", [STOPPED, STOPPED_B_FRAMES])
def test_a_steady_camera_is_one_epoch_that_ends_by_handover(scenario: Scenario, camera_id: str):
    assert len(scenario.stored_epochs(camera_id)) == 1
    stored = scenario.fragment_numbers(camera_id)
    assert sorted(stored) == list(range(stored[0], stored[0] + len(stored)))
    events = [event for event, _ in scenario.events[camera_id]]
    assert [type(one) for one in events if not isinstance(one, Profile | ClockStep)] == [Connected, Lost]
    assert causes(events) == ["handover"]


def test_the_profile_describes_the_observed_stream(scenario: Scenario):
    """Published after ten seconds of pictures; the simulator uses the same clock."""
    profiles = [event for event in scenario.events_before_end(B_FRAMES) if isinstance(event, Profile)]
    assert profiles[0].b_frames
    assert profiles[0].fps == pytest.approx(25, abs=1.5)
    assert any("B-frames" in defect for defect in profiles[0].defects)
    steady = [event for event in scenario.events_before_end(STEADY) if isinstance(event, Profile)]
    assert not steady[0].b_frames
    assert steady[0].defects == ()
    clocks = [event for event in scenario.events_before_end(STEADY) if isinstance(event, ClockStep)]
    assert [event.step_us for event in clocks] == [0]
    assert abs(clocks[0].offset_us) < 1_000_000


@pytest.mark.parametrize("camera_id", RECORDED)
def test_connected_precedes_an_epochs_fragments_and_lost_follows_them(scenario: Scenario, camera_id: str):
    appended = {
        fragment.info.epoch: [
            r.append_us for f, r in scenario.fragments[camera_id] if f.info.epoch == fragment.info.epoch
        ]
        for fragment, _ in scenario.fragments[camera_id]
    }
    for fragments in scenario.fragments_by_epoch(camera_id):
        first, last = fragments[0].info, fragments[-1].info
        of_epoch = [(e, r) for e, r in scenario.events[camera_id] if getattr(e, "epoch", None) == first.epoch]
        (connected, began), (lost, ended) = of_epoch
        assert isinstance(connected, Connected)
        assert isinstance(lost, Lost)
        assert began.append_us <= min(appended[first.epoch])
        assert ended.append_us >= max(appended[first.epoch])
        assert (connected.at_us, connected.codecs) == (first.start_us, first.codecs)
        assert (lost.last_seq, lost.end_us) == (last.seq, last.end_us)


def test_a_dropped_connection_is_published_and_reconnected(scenario: Scenario):
    assert causes(scenario.events_before_end(DROPPED)) == ["camera_unreachable"]
    first, second = scenario.fragments_by_epoch(DROPPED)
    gap_us = second[0].info.start_us - first[-1].info.end_us
    assert 0 < gap_us < 4_000_000


def test_a_silent_camera_is_published_and_reconnected(scenario: Scenario):
    assert set(causes(scenario.events_before_end(SILENT))) == {"source_silent"}
    first, *_, last = scenario.fragments_by_epoch(SILENT)
    assert last[0].info.start_us - first[-1].info.end_us > FREEZE_US


def test_a_disabled_camera_is_stopped_at_once(scenario: Scenario):
    assert causes([event for event, _ in scenario.events[DISABLED]]) == ["stream_changed"]


@pytest.mark.parametrize(
    ("camera_id", "cause"),
    [(UNREACHABLE, "camera_unreachable"), (NOT_FOUND, "not_found"), (NO_CREDENTIAL, "auth_failed")],
)
def test_an_unreadable_stream_is_rejected_at_each_attempt(scenario: Scenario, camera_id: str, cause: str):
    events = scenario.events_before_end(camera_id)
    assert len(causes(events)) >= 3
    assert set(causes(events)) == {cause}
    assert camera_id not in scenario.fragments
    times = [event.at_us for event in events]
    retries = [event.next_retry_s for event in events if isinstance(event, Refused)]
    for (earlier, later), retry_s in zip(pairwise(times), retries, strict=False):
        assert later - earlier < (retry_s + 4) * 1_000_000


@pytest.mark.parametrize("camera_id", [MALFORMED, PARTIAL])
def test_an_undecodable_stream_is_a_stream_error(scenario: Scenario, camera_id: str):
    assert camera_id not in scenario.fragments
    assert set(causes(scenario.events_before_end(camera_id))) == {"stream_error"}


def test_noise_is_stored_unchanged_without_stills(scenario: Scenario):
    assert causes(scenario.events_before_end(NOISE)) == []
    assert len(scenario.fragment_numbers(NOISE)) > 200
    assert NOISE not in scenario.stills


@pytest.mark.parametrize("camera_id", [STEADY, DROPPED, B_FRAMES])
def test_stills_are_jpegs_of_fragments_that_start_with_a_keyframe(scenario: Scenario, camera_id: str):
    keyframes = {
        (f.info.epoch, f.info.seq): f.info.start_us for f, _ in scenario.fragments[camera_id] if f.info.is_keyframe
    }
    assert scenario.stills[camera_id]
    for still, _ in scenario.stills[camera_id]:
        assert keyframes[still.epoch, still.seq] == still.at_us
        assert still.jpeg[:2] == b"\xff\xd8"


def test_fragments_start_when_their_first_picture_was_due(scenario: Scenario):
    due_us = scenario.due_us(STEADY, fps=25)
    for fragment, _ in scenario.fragments[STEADY]:
        first = parse_stored_pictures(fragment.value)[0]
        assert abs(fragment.info.start_us - due_us[first.number]) < 100_000
