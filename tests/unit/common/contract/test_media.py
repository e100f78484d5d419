from dataclasses import replace

from hypothesis import given

from districam_common.contract.events import Camera
from districam_common.contract.media import Fragment
from support.histories import camera
from support.values import CAMERAS, fragments


@given(fragments())
def test_init_and_media_are_the_value(fragment: Fragment) -> None:
    assert fragment.init + fragment.media == fragment.value
    assert fragment.media[4:8] == b"moof"
    assert fragment.info.end_us - fragment.info.start_us == fragment.info.duration_us


@given(CAMERAS)
def test_footage_is_expected_of_enabled_cameras_that_exist(record: Camera) -> None:
    assert not replace(record, deleted=True).is_expected
    assert not replace(record, enabled=False).is_expected
    assert camera().camera.is_expected
