"""cameras.yaml: every field checked, every problem named with camera, field and fix; revisions only for what changes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.admin.cameras_file import (
    CamerasFileError,
    deletion,
    diff_cameras,
    format_cameras_file,
    parse_cameras_file,
)
from districam_common.contract import wire
from districam_common.contract.camera_fields import CameraEntry
from districam_common.contract.events import Camera, Location

CAMERA = """
  - camera_id: cam-001
    name: Cổng chợ
    url: rtsp://10.0.0.11:554/live?channel=1
"""


def read(text: str, days: float = 35) -> list[Camera]:
    return parse_cameras_file("cameras:" + text, topic_retention_days=days)


def problems(text: str, days: float = 35) -> str:
    with pytest.raises(CamerasFileError) as error:
        read(text, days)
    return str(error.value)


def test_a_minimal_entry_has_the_contracts_defaults() -> None:
    assert read(CAMERA) == [Camera(camera_id="cam-001", name="Cổng chợ", url="rtsp://10.0.0.11:554/live?channel=1")]


def test_an_entry_has_the_fields_and_defaults_of_camera() -> None:
    record = {field.name: field.default for field in dataclasses.fields(Camera)}
    entry = {name: field.get_default(call_default_factory=True) for name, field in CameraEntry.model_fields.items()}
    assert record.keys() - entry.keys() == {"deleted", "revision", "updated_us"}
    needed = {"camera_id", "name", "url"}
    assert {name: value for name, value in entry.items() if name not in needed} | {"groups": ()} == {
        name: record[name] for name in entry.keys() - needed
    }


def test_every_field_is_read() -> None:
    (camera,) = read(
        CAMERA
        + """
    credential: market
    transport: udp
    reader: native
    single_client: true
    enabled: false
    audio: false
    segment_s: 20
    keyframe_interval_s: 8
    retention_days: 14
    groups: [market, district-1]
    location: {latitude: 10.77, longitude: 106, heading_deg: 90, place: Quận 1}
"""
    )
    assert camera == Camera(
        camera_id="cam-001",
        name="Cổng chợ",
        url="rtsp://10.0.0.11:554/live?channel=1",
        credential="market",
        transport="udp",
        reader="native",
        single_client=True,
        enabled=False,
        audio=False,
        segment_s=20,
        keyframe_interval_s=8,
        retention_days=14,
        groups=("market", "district-1"),
        location=Location(latitude=10.77, longitude=106, heading_deg=90, place="Quận 1"),
    )


def test_credential_and_location_may_be_null() -> None:
    (camera,) = read(CAMERA + "    credential: null\n    location: null\n")
    assert (camera.credential, camera.location) == (None, None)


def test_a_file_without_cameras_is_valid() -> None:
    assert read(" []") == read("") == []


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("segment_s: 0", "segment_s: should be greater than or equal to 2, not 0"),
        ("segment_s: true", "segment_s: must be a whole number"),
        ("enabled: 1", "enabled: must be true or false"),
        ("credential: 7", "credential: must be text (put it in quotes), not 7"),
        ("credential: 2026-11-24", "credential: must be text (put it in quotes)"),
        ("groups: [market, 1]", "groups.1: must be text"),
        ("7: x", "7: keys should be strings"),
        ("location: {latitude: .nan, longitude: 0}", "location.latitude: should be"),
        ("transport: http", "transport: should be 'tcp' or 'udp', not 'http'"),
        ("reader: vlc", "reader: should be 'auto', 'native' or 'ffmpeg', not 'vlc'"),
        ("groups: market", "groups: must be a list"),
        ("location: here", "location: must be fields and values, as in {latitude: "),
        ("location: {latitude: 91, longitude: 0}", "location.latitude: should be less than or equal to 90, not 91"),
        ("location: {latitude: 1}", "location.longitude: is missing"),
        ("location: {latitude: 1, longitude: 1, lat: 2}", "location.lat: no such field; did you mean latitude?"),
        ("credential: ' '", "credential: must be 1 to 300 printable characters"),
        ("credential: 'user:password'", "credential: must be the name of an entry"),
        ("segments_s: 10", "segments_s: no such field; did you mean segment_s?"),
        ("zzz: 10", "zzz: no such field; remove it"),
        ("revision: 3", "revision: is set by districam-cameras itself; remove it"),
        ("deleted: true", "deleted: is set"),
    ],
)
def test_an_invalid_field_is_reported_with_camera_and_fix(field: str, message: str) -> None:
    assert f"camera cam-001: {message}" in problems(CAMERA + f"    {field}\n")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://10.0.0.1/", "scheme 'http' is not rtsp or rtsps"),
        ("10.0.0.1/live", "is not rtsp or rtsps"),
        ("rtsp:///live", "needs a host"),
        ("rtsp://host:99999/live", "is not a URL"),
        ("rtsp://admin:s3cret@10.0.0.1/", "contains a user or password"),
        ("rtsp://admin@10.0.0.1/", "credential: NAME"),
        ("rtsp://10.0.0.1/user=admin&password=s3cret&channel=1", "contains a user or password"),
    ],
)
def test_an_invalid_url_or_one_with_a_password_is_rejected(url: str, message: str) -> None:
    errors = problems(CAMERA.replace("rtsp://10.0.0.11:554/live?channel=1", f"'{url}'"))
    assert f"camera cam-001: url: {message}" in errors or message in errors
    assert "s3cret" not in errors


@pytest.mark.parametrize("camera_id", ["Cam-001", "-cam", "cổng", "a" * 64, "12", "true"])
def test_a_camera_id_must_be_valid_in_keys_and_topics(camera_id: str) -> None:
    assert "camera_id: " in problems(CAMERA.replace("cam-001", camera_id))


def test_all_problems_are_reported_together() -> None:
    errors = problems(CAMERA + "    audio: 3\n" + CAMERA + "  - 7\n  - {name: x}\n")
    assert "camera cam-001: audio" in errors
    assert "camera number 3: must be fields and values" in errors
    assert "camera number 4: camera_id: is missing" in errors
    assert "camera number 4: url: is missing" in errors


def test_a_duplicate_camera_id_is_rejected() -> None:
    assert "camera cam-001: camera_id: given twice" in problems(CAMERA + CAMERA)


def test_retention_longer_than_the_topics_is_rejected() -> None:
    assert read(CAMERA + "    retention_days: 30\n")
    errors = problems(CAMERA + "    retention_days: 31\n")
    assert "DISTRICAM_TOPICS__SEGMENTS_RETENTION_DAYS to 36" in errors
    assert read(CAMERA + "    retention_days: 31\n", days=36)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: [", "not YAML"),
        ("cameras: []\ncameras: []", "cameras is given twice"),
        ("cameras: []\nother: 1", "nothing else"),
        ("[]", "nothing else"),
        ("? [a, b]\n: 1", "not YAML"),
        ("cameras: 3", "must be a list"),
        ("cameras: !!python/object:os.system {}", "not YAML"),
        ("cameras: [{camera_id: a, camera_id: b}]", "camera_id is given twice"),
    ],
)
def test_a_file_that_is_not_a_list_of_cameras_is_rejected(text: str, message: str) -> None:
    with pytest.raises(CamerasFileError, match=message):
        parse_cameras_file(text, topic_retention_days=35)


# ---- changes


ONE = Camera(camera_id="cam-001", name="One", url="rtsp://a/1", revision=3, updated_us=1_000)
TWO = Camera(camera_id="cam-002", name="Two", url="rtsp://a/2", revision=1, updated_us=2_000)


def test_unchanged_cameras_are_not_published() -> None:
    wanted = [dataclasses.replace(ONE, revision=1, updated_us=0)]
    assert diff_cameras({"cam-001": ONE}, wanted, prune=False, now_us=9_000) == []


def test_a_change_has_the_next_revision_and_lists_its_fields() -> None:
    (change,) = diff_cameras(
        {"cam-001": ONE}, [dataclasses.replace(ONE, name="Eins", audio=False)], prune=False, now_us=9_000
    )
    assert change.kind == "change"
    assert change.fields == (("name", "One", "Eins"), ("audio", True, False))
    assert (change.camera.revision, change.camera.updated_us) == (4, 9_000)


def test_updated_us_increases_although_the_clock_went_back() -> None:
    (change,) = diff_cameras({"cam-001": ONE}, [dataclasses.replace(ONE, name="x")], prune=False, now_us=5)
    assert change.camera.updated_us == 1_001


@pytest.mark.hostile
def test_a_revision_far_in_the_future_is_followed_by_one_at_the_current_time() -> None:
    end_us, now_us = (1 << 53) - 1, 1_790_000_000_000_000
    forged = dataclasses.replace(ONE, updated_us=end_us)
    (change,) = diff_cameras({"cam-001": forged}, [dataclasses.replace(ONE, name="x")], prune=False, now_us=now_us)
    assert change.camera.updated_us == now_us
    made = wire.camera_message(change.camera, site="here")
    assert wire.decode_camera(made.key, made.headers, made.value) == change.camera


def test_a_new_camera_has_revision_1() -> None:
    (change,) = diff_cameras({}, [ONE], prune=True, now_us=9_000)
    assert (change.kind, change.camera.revision, change.camera.updated_us) == ("add", 1, 9_000)


def test_only_prune_deletes_cameras_missing_in_the_file() -> None:
    current = {"cam-001": ONE, "cam-002": TWO}
    assert diff_cameras(current, [ONE], prune=False, now_us=9_000) == []
    (change,) = diff_cameras(current, [ONE], prune=True, now_us=9_000)
    assert change == deletion(TWO, now_us=9_000)
    assert change.camera == dataclasses.replace(TWO, deleted=True, revision=2, updated_us=9_000)
    current["cam-002"] = change.camera
    assert diff_cameras(current, [ONE], prune=True, now_us=9_000) == []


def test_a_deleted_camera_in_the_file_is_restored() -> None:
    gone = deletion(ONE, now_us=9_000).camera
    (change,) = diff_cameras({"cam-001": gone}, [ONE], prune=False, now_us=10_000)
    assert (change.kind, change.camera.deleted, change.camera.revision) == ("restore", False, 5)


texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip()) and text.isprintable()
)
cameras = st.builds(
    Camera,
    camera_id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    name=texts,
    url=st.just("rtsp://host/path"),
    credential=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True),
    transport=st.sampled_from(["tcp", "udp"]),
    enabled=st.booleans(),
    segment_s=st.integers(2, 60),
    retention_days=st.integers(1, 30),
    groups=st.lists(texts, max_size=3).map(tuple),
    location=st.none()
    | st.builds(
        Location,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
        heading_deg=st.none() | st.floats(0, 360),
        place=st.none() | texts,
    ),
)


@given(st.lists(cameras, max_size=4, unique_by=lambda camera: camera.camera_id))
def test_an_exported_file_parses_to_the_same_cameras(given_cameras: list[Camera]) -> None:
    assert parse_cameras_file(format_cameras_file(given_cameras), topic_retention_days=35) == [
        dataclasses.replace(camera, revision=1, updated_us=0) for camera in given_cameras
    ]
