import pytest

from districam_api.core.search import folded, matches
from districam_common.events import Camera, Location

CAMERA = Camera(
    camera_id="q1-nguyen-hue-01",
    name="Ngã tư Nguyễn Huệ – Lê Lợi",
    url="rtsp://10.0.0.1/1",
    groups=("Quận 1", "giao-thông"),
    location=Location(latitude=10.77, longitude=106.7, place="Đường Nguyễn Huệ, phường Bến Nghé"),
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Đường", "duong"),
        ("NGUYỄN HUỆ", "nguyen hue"),
        ("Nguye\u0302\u0303n", "nguyen"),
        ("ĐẶNG", "dang"),
        ("", ""),
    ],
)
def test_case_and_diacritics_do_not_count(text: str, plain: str):
    assert folded(text) == plain


@pytest.mark.parametrize(
    "words", ["", "nguyen hue", "HUE NGUYEN", "duong", "đường", "ben nghe q1", "quan", "giao-thong"]
)
def test_every_word_may_be_anywhere(words: str):
    assert matches(CAMERA, words, None)


@pytest.mark.parametrize("words", ["tran hung dao", "nguyen tran", "rtsp", "10.0.0.1"])
def test_a_word_that_is_nowhere_excludes(words: str):
    assert not matches(CAMERA, words, None)


def test_a_group_is_meant_whole():
    assert matches(CAMERA, "", "quan 1")
    assert matches(CAMERA, "hue", "Giao-Thông")
    assert not matches(CAMERA, "", "quan")
    assert not matches(CAMERA, "tran", "quan 1")


def test_a_camera_without_a_place_is_found_by_the_rest():
    assert matches(Camera(camera_id="a", name="Cổng", url=""), "cong", None)
    bare = Camera(camera_id="a", name="Cổng", url="", location=Location(latitude=1, longitude=2))
    assert matches(bare, "cong", None)
