import pytest

from districam_api.core.geo import Circle
from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.core.search import CameraFilter, matches, normalize_text, page
from districam_common.contract.events import Camera, Location

CAMERA = Camera(
    camera_id="q1-nguyen-hue-01",
    name="Ngã tư Nguyễn Huệ – Lê Lợi",
    url="rtsp://10.0.0.1/1",
    groups=("Quận 1", "giao-thông"),
    location=Location(latitude=10.77, longitude=106.7, place="Đường Nguyễn Huệ, phường Bến Nghé"),
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("Đường", "duong"), ("NGUYỄN HUỆ", "nguyen hue"), ("Nguye\u0302\u0303n", "nguyen"), ("ĐẶNG", "dang"), ("", "")],
)
def test_case_and_diacritics_are_ignored(text: str, plain: str):
    assert normalize_text(text) == plain


@pytest.mark.parametrize(
    "words", ["", "nguyen hue", "HUE NGUYEN", "duong", "đường", "ben nghe q1", "quan", "giao-thong"]
)
def test_every_word_may_occur_in_any_field(words: str):
    assert matches(CAMERA, words, None)


@pytest.mark.parametrize("words", ["tran hung dao", "nguyen tran", "rtsp", "10.0.0.1"])
def test_a_word_that_occurs_nowhere_excludes_the_camera(words: str):
    assert not matches(CAMERA, words, None)


def test_a_group_must_match_as_a_whole():
    assert matches(CAMERA, "", "quan 1")
    assert matches(CAMERA, "hue", "Giao-Thông")
    assert not matches(CAMERA, "", "quan")
    assert not matches(CAMERA, "tran", "quan 1")


def test_a_camera_without_a_place_is_found_by_its_other_fields():
    assert matches(Camera(camera_id="a", name="Cổng", url=""), "cong", None)
    bare = Camera(camera_id="a", name="Cổng", url="", location=Location(latitude=1, longitude=2))
    assert matches(bare, "cong", None)


def test_vietnamese_names_are_found_without_diacritics():
    assert matches(Camera(camera_id="a", name="Ngã tư Liên Nghĩa", url=""), "nga tu lien nghia", None)


PLACES = {"a": 0.003, "b": 0.001, "c": 0.001, "d": 9.0, "e": None, "f": 0.002}
HERE = Circle(10.0, 106.0, 1_000)


def placed(camera_id: str, north: float | None) -> Camera:
    location = None if north is None else Location(latitude=10.0 + north, longitude=106.0)
    return Camera(camera_id=camera_id, name=f"Cổng {camera_id}", url="", groups=("g",), location=location)


ALL = [placed(*item) for item in PLACES.items()]


def pages(asked: CameraFilter, limit: int) -> list[str]:
    ids, cursor = list[str](), None
    while True:
        found = page(ALL, asked, limit, cursor)
        ids += [one.camera.camera_id for one in found.found]
        cursor = found.next_cursor
        if cursor is None:
            return ids
        assert len(found.found) == limit


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_are_ordered_by_id_or_distance_and_list_each_camera_once(limit: int):
    assert pages(CameraFilter(), limit) == ["a", "b", "c", "d", "e", "f"]
    assert pages(CameraFilter(near=HERE), limit) == ["b", "c", "f", "a"]
    assert pages(CameraFilter("cong f", "g", HERE), limit) == ["f"]


def test_matches_have_distances_if_a_circle_is_given():
    found = page(ALL, CameraFilter(near=HERE), 1, None).found[0]
    assert found.distance_m == pytest.approx(111.2, abs=0.1)
    assert page(ALL, CameraFilter(), 1, None).found[0].distance_m is None


def test_a_cursor_of_another_order_is_refused():
    by_id, by_distance = (
        page(ALL, CameraFilter(), 1, None).next_cursor,
        page(ALL, CameraFilter(near=HERE), 1, None).next_cursor,
    )
    with pytest.raises(InvalidParameter):
        page(ALL, CameraFilter(near=HERE), 1, by_id)
    with pytest.raises(InvalidParameter):
        page(ALL, CameraFilter(), 1, by_distance)
