"""Response bodies have exactly the fields that their schemas describe."""

from base64 import b64decode
from zoneinfo import ZoneInfo

from districam_api import schemas
from districam_api.core import responses
from districam_api.core.health import StreamHealth
from districam_api.core.keys import LOOPBACK_OPERATOR, Caller
from districam_api.core.playlist import SegmentWithUrl
from districam_api.core.search import CameraMatch, Page
from districam_api.core.times import Window
from districam_common.contract.events import Camera, Location, Profile
from districam_common.contract.names import parse_rfc3339
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger.ledger import State

SAIGON = ZoneInfo("Asia/Ho_Chi_Minh")
AT_US = parse_rfc3339("2026-11-24T12:00:00Z")
EPOCH = "01900000-0000-7000-8000-000000000001"
CAMERA = Camera(
    camera_id="cam-1",
    name="Cổng chính",
    url="rtsp://10.0.0.1/1",
    groups=("quận 1",),
    location=Location(latitude=10.77, longitude=106.7, place="Đường Nguyễn Huệ"),
    updated_us=AT_US,
)
LOST = StreamHealth(
    camera=CAMERA, state="lost", cause="auth_failed", detail="401", since_us=AT_US, last_end_us=AT_US - 3_500_000
)
ENTRY = IndexEntry(
    epoch=EPOCH, first_seq=0, last_seq=4, start_us=AT_US, end_us=AT_US + 10_000_000, bytes=5000, init_bytes=700, flags=3
)


def test_a_timeline_has_the_window_the_states_and_the_totals():
    window = Window(AT_US, AT_US + 20_000_000)
    states = [
        State("recorded", AT_US, AT_US + 10_000_000),
        State("gap", AT_US + 10_000_000, AT_US + 12_500_000, "auth_failed", "401"),
        State("pending", AT_US + 12_500_000, AT_US + 20_000_000),
    ]
    out = responses.timeline("cam-1", window, states, SAIGON)
    schemas.Timeline.model_validate(out)
    assert (out["recorded_s"], out["gap_s"], out["pending_s"]) == (10, 2.5, 7.5)
    assert (out["from"], out["from_local"]) == ("2026-11-24T12:00:00.000000Z", "2026-11-24T19:00:00.000000+07:00")
    assert (out["to"], out["tz"]) == ("2026-11-24T12:00:20.000000Z", "Asia/Ho_Chi_Minh")
    assert out["states"][1] == {
        "state": "gap",
        "from": "2026-11-24T12:00:10.000000Z",
        "from_local": "2026-11-24T19:00:10.000000+07:00",
        "to": "2026-11-24T12:00:12.500000Z",
        "to_local": "2026-11-24T19:00:12.500000+07:00",
        "cause": "auth_failed",
        "detail": "401",
    }
    assert "cause" not in out["states"][0]


def test_a_segment_has_all_fields_of_its_index_entry():
    out = responses.segment(SegmentWithUrl(ENTRY, "cam-1/x.mp4", "/v1/media/cam-1/x.mp4?token=t"), SAIGON)
    schemas.Segment.model_validate(out)
    assert (out["start_us"], out["end_local"]) == (AT_US, "2026-11-24T19:00:10.000000+07:00")
    assert (out["starts_with_keyframe"], out["lossy"]) == (True, True)


def test_a_camera_has_its_record_and_its_health():
    out = responses.camera(LOST, SAIGON)
    schemas.Camera.model_validate(out)
    assert (out["name"], out["state"], out["cause"]) == ("Cổng chính", "lost", "auth_failed")
    assert out["last_segment_end_local"] == "2026-11-24T18:59:56.500000+07:00"
    assert out["updated"] == "2026-11-24T12:00:00.000000Z"


def test_a_camera_in_full_has_its_profile():
    profile = Profile(
        camera_id="cam-1", at_us=AT_US, instance="host-1", codecs="hvc1", width=1920, height=1080, defects=("no SR",)
    )
    out = responses.camera_detail(LOST, profile, SAIGON)
    schemas.CameraInFull.model_validate(out)
    assert out["profile"]["defects"] == ("no SR",)
    schemas.CameraInFull.model_validate(responses.camera_detail(LOST, None, SAIGON))


def test_streams_lists_each_camera_that_is_not_deleted():
    bare = StreamHealth(camera=Camera(camera_id="cam-2", name="", url=""), state="late")
    gone = StreamHealth(camera=Camera(camera_id="cam-3", name="", url="", deleted=True), state="disabled")
    lines = [responses.stream(one, AT_US, SAIGON) for one in responses.not_deleted([LOST, bare, gone])]
    out = responses.streams(lines, AT_US, SAIGON)
    schemas.Streams.model_validate(out)
    assert [(line["camera_id"], line["age_s"]) for line in out["streams"]] == [("cam-1", 3.5), ("cam-2", None)]
    assert [line["place"] for line in out["streams"]] == ["Đường Nguyễn Huệ", None]


def test_playlist_headers_have_what_it_holds():
    states = [
        State("recorded", AT_US + 2_000_000, AT_US + 10_000_000),
        State("gap", AT_US + 10_000_000, AT_US + 12_500_000, "auth_failed"),
    ]
    assert responses.playlist_headers([SegmentWithUrl(ENTRY, "k", "u")], states) == {
        "Districam-From": "2026-11-24T12:00:00.000000Z",
        "Districam-To": "2026-11-24T12:00:10.000000Z",
        "Districam-Recorded-Seconds": "8.000000",
        "Districam-Gap-Seconds": "2.500000",
    }


def test_windows_have_bounds_that_can_be_requested():
    out = responses.windows([(AT_US, AT_US + 10_000_000), (AT_US + 12_500_000, AT_US + 20_000_000)], SAIGON)
    assert [window["from"] for window in out["windows"]] == [
        "2026-11-24T12:00:00.000000Z",
        "2026-11-24T12:00:12.500000Z",
    ]
    assert out["windows"][0]["to_local"] == "2026-11-24T19:00:10.000000+07:00"


def test_a_session_has_the_caller_and_the_expiry_of_its_login():
    caller = Caller(auth_method="cookie", role="viewer", key_id="k1", name="Lan", expires_us=AT_US)
    out = responses.session(caller, "duc-trong", SAIGON)
    schemas.Session.model_validate(out)
    assert (out["key_id"], out["role"], out["expires"]) == ("k1", "viewer", "2026-11-24T12:00:00.000000Z")
    assert responses.session(LOOPBACK_OPERATOR, "duc-trong", SAIGON)["expires"] is None


def test_a_page_of_cameras_has_distances_if_a_circle_was_given():
    near = responses.cameras(Page([CameraMatch(CAMERA, 12.5)], "more"), {"cam-1": LOST}, SAIGON)
    schemas.Cameras.model_validate(near)
    assert (near["cameras"][0]["distance_m"], near["next"]) == (12.5, "more")
    everywhere = responses.cameras(Page([CameraMatch(CAMERA)], None), {"cam-1": LOST}, SAIGON)
    assert "distance_m" not in everywhere["cameras"][0]


def test_coverage_of_an_instant_has_state_and_cause_per_camera():
    gap = State("gap", AT_US, AT_US + 1, "auth_failed", "401")
    out = responses.coverage_at(AT_US, Page([CameraMatch(CAMERA)], None), {"cam-1": gap}, SAIGON)
    schemas.CoverageAt.model_validate(out)
    (line,) = out["cameras"]
    assert (line["camera_id"], line["state"], line["cause"]) == ("cam-1", "gap", "auth_failed")


def test_coverage_of_a_window_is_a_bitmap_of_its_slots():
    window = Window(AT_US, AT_US + 80_000_000)
    day = bytearray(8640 // 8)
    first = 12 * 360
    for slot in (first, first + 7):
        day[slot // 8] |= 0x80 >> slot % 8
    out = responses.coverage_within(window, Page([CameraMatch(CAMERA)], None), {"cam-1": [bytes(day)]}, SAIGON)
    schemas.CoverageWithin.model_validate(out)
    (line,) = out["cameras"]
    assert (out["slot_s"], out["slots"], line["recorded_slots"]) == (10, 8, 2)
    assert b64decode(line["recorded"]) == bytes([0x81])
