from collections.abc import Sequence
from dataclasses import replace

import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, FootageExpired
from districam_common.contract.media import Still
from districam_common.contract.wire import WireError
from districam_indexer.core.decode import (
    MIN_UNCERTAIN_AGE_US,
    IndexedValue,
    cameras_with_old_footage,
    decode,
    expired_by_camera,
    plan,
)
from districam_indexer.core.plan import plan_camera, plan_event, plan_still, plan_stored
from support.announcements import EPOCHS, NOON_US, S, lost, segment

CAMERA = Camera(camera_id="cam-1", name="Cổng", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
STILL = Still(camera_id="cam-1", epoch=EPOCHS[0], seq=0, at_us=NOON_US, width=64, height=36, jpeg=b"\xff\xd8")
EXPIRED = FootageExpired(
    camera_id="cam-1", at_us=NOON_US, instance="i", from_us=0, to_us=1, reason="older than retention_days"
)
MESSAGES = [
    (names.SEGMENTS, segment(), wire.stored_message(segment(), site="local")),
    (names.STREAMS, lost(), wire.event_message(lost(), 1, site="local", service="ingest")),
    (names.RETENTION, EXPIRED, wire.event_message(EXPIRED, 1, site="local", service="indexer")),
    (names.CAMERAS, CAMERA, wire.camera_message(CAMERA, site="local")),
    (names.KEYFRAMES, STILL, wire.still_message(STILL, site="local")),
]


@pytest.mark.parametrize(("topic", "value", "message"), MESSAGES, ids=[topic for topic, *_ in MESSAGES])
def test_each_topic_has_its_kind_of_record(topic: str, value: IndexedValue, message: wire.Message):
    assert decode(topic, message.key, message.headers, message.value) == value
    formerly = {names.STREAMS} if topic == names.RETENTION else set[str]()
    for other in {topic for topic, *_ in MESSAGES} - {topic} - formerly:
        with pytest.raises(WireError):
            decode(other, message.key, message.headers, message.value)


def test_each_kind_of_value_is_planned_by_its_own_function():
    assert plan(segment(), 7, {}) == plan_stored(segment(), append_us=7)
    assert plan(CAMERA, 7, {}) == plan_camera(CAMERA, 7)
    assert plan(STILL, NOON_US, {}) == plan_still(STILL)
    assert plan(lost(), 7, {}) == plan_event(lost(), 7)


def expired(from_us: int, to_us: int, camera_id: str = "cam-1") -> FootageExpired:
    return FootageExpired(
        camera_id=camera_id, at_us=to_us, instance="i", from_us=from_us, to_us=to_us, reason="retention"
    )


@pytest.mark.parametrize(
    ("events", "is_kept"),
    [
        ([expired(0, NOON_US + 10 * S)], False),
        ([expired(NOON_US + 4 * S, NOON_US + 10 * S), expired(0, NOON_US + 4 * S)], False),
        ([expired(0, NOON_US + 10 * S, "cam-2")], True),
    ],
    ids=["one range", "two that touch", "another camera's"],
)
def test_segments_in_expired_intervals_are_not_indexed_again(events: Sequence[FootageExpired], *, is_kept: bool):
    assert bool(plan(segment(), 7, expired_by_camera([lost(), *events]))) == is_kept


def test_expired_intervals_are_read_only_for_cameras_with_old_segments():
    now_us = NOON_US + MIN_UNCERTAIN_AGE_US + 60 * S
    values: tuple[IndexedValue, ...] = (
        segment("old"),
        segment("new", start_us=now_us - S),
        replace(CAMERA, camera_id="c"),
    )
    assert cameras_with_old_footage(values, now_us) == {"old"}
