from dataclasses import replace

import pytest

from districam_api.core.health import NewestSegment, compute_health
from districam_common.contract.events import Camera, Cause, Connected, Lost, Profile, Refused
from districam_common.ledger.causes import LoggedEvent

NOW_US = 1_764_000_000_000_000
CAMERA = Camera(camera_id="cam-1", name="Cổng", url="rtsp://10.0.0.1/1", segment_s=10)


def ago(seconds: float) -> int:
    return NOW_US - round(seconds * 1e6)


def connected(seconds: float, epoch: str = "e1") -> LoggedEvent:
    event = Connected(
        camera_id="cam-1", at_us=ago(seconds), instance="i", epoch=epoch, reader="libav",
        transport="tcp", codecs="avc1.640028", width=1920, height=1080,
    )  # fmt: skip
    return LoggedEvent(event)


def lost(seconds: float, cause: Cause = "camera_unreachable", *, epoch: str = "e1", retry_s: float = 5) -> LoggedEvent:
    event = Lost(
        camera_id="cam-1", at_us=ago(seconds), instance="i", epoch=epoch, last_seq=9,
        end_us=ago(seconds + 1), cause=cause, detail="EOF", next_retry_s=retry_s,
    )  # fmt: skip
    return LoggedEvent(event)


def refused(seconds: float, retry_s: float = 30) -> LoggedEvent:
    event = Refused(
        camera_id="cam-1", at_us=ago(seconds), instance="i", cause="auth_failed", detail="401", next_retry_s=retry_s
    )
    return LoggedEvent(event)


def newest(seconds: float, length_s: float = 10) -> NewestSegment:
    return NewestSegment(end_us=ago(seconds), length_us=round(length_s * 1e6))


@pytest.mark.parametrize("camera", [replace(CAMERA, enabled=False), replace(CAMERA, deleted=True)])
def test_a_disabled_or_deleted_camera_is_disabled_whatever_its_events(camera: Camera):
    out = compute_health(camera, [lost(1)], newest(1), NOW_US)
    assert (out.state, out.cause, out.last_end_us) == ("disabled", None, ago(1))


def test_lost_has_its_cause_and_time():
    out = compute_health(CAMERA, [connected(60), lost(10)], newest(11), NOW_US)
    assert (out.state, out.cause, out.detail, out.since_us) == ("lost", "camera_unreachable", "EOF", ago(11))


def test_refused_is_lost_with_its_cause():
    out = compute_health(CAMERA, [connected(600), lost(500), refused(20)], newest(501), NOW_US)
    assert (out.state, out.cause, out.detail) == ("lost", "auth_failed", "401")


def test_connected_again_is_not_lost():
    assert compute_health(CAMERA, [connected(60), lost(10), connected(5, "e2")], newest(2), NOW_US).state == "recording"


def test_the_end_of_a_replaced_epoch_is_not_lost():
    logged = [connected(60), connected(8, "e2"), lost(2, "handover")]
    assert compute_health(CAMERA, logged, newest(1), NOW_US).state == "recording"


@pytest.mark.parametrize(("seconds", "state"), [(34.9, "lost"), (35.1, "late")])
def test_an_event_whose_announced_retry_is_overdue_no_longer_applies(seconds: float, state: str):
    assert compute_health(CAMERA, [lost(seconds, retry_s=5)], newest(seconds), NOW_US).state == state


def test_an_event_whose_retry_delay_is_not_a_number_does_not_apply():
    assert compute_health(CAMERA, [lost(1, retry_s=float("nan"))], newest(1), NOW_US).state == "recording"


@pytest.mark.parametrize(
    ("age_s", "length_s", "state"),
    [(24.9, 10, "recording"), (25, 10, "late"), (25, 0, "late"), (60, 60, "recording"), (75, 60, "late")],
)
def test_recording_lasts_until_the_next_segment_is_overdue(age_s: float, length_s: float, state: str):
    out = compute_health(CAMERA, [connected(600)], newest(age_s, length_s), NOW_US)
    assert (out.state, out.last_end_us) == (state, ago(age_s))


def test_a_camera_without_footage_is_late():
    out = compute_health(CAMERA, [], None, NOW_US)
    assert (out.state, out.since_us, out.last_end_us) == ("late", None, None)


def test_other_events_do_not_matter():
    profile = LoggedEvent(
        Profile(camera_id="cam-1", at_us=ago(1), instance="i", codecs="avc1.640028", width=1920, height=1080)
    )
    assert compute_health(CAMERA, [lost(10), profile], newest(12), NOW_US).state == "lost"


# ---- events from a clock that was ahead


@pytest.mark.correctness
@pytest.mark.parametrize("ahead_h", [7, 1 / 60])
def test_an_event_in_the_future_does_not_hide_current_events(ahead_h: float):
    """A host that boots with its clock on local time is seven hours ahead until the clock is set."""
    ahead = [connected(-ahead_h * 3600), lost(-ahead_h * 3600 - 1, "clock_step")]
    out = compute_health(CAMERA, [*ahead, connected(3600, "e2"), refused(10)], newest(3500), NOW_US)
    assert (out.state, out.cause, out.since_us) == ("lost", "auth_failed", ago(10))


def test_an_event_one_second_in_the_future_counts():
    assert compute_health(CAMERA, [connected(60), refused(-1)], newest(50), NOW_US).state == "lost"
