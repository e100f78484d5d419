"""The footage that a hold keeps, and the events that it copies to explain its window."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from districam_common.contract import wire
from districam_common.contract.events import (
    Camera,
    ClockStep,
    Connected,
    FootageExpired,
    PartitionTruncated,
    Refused,
    Shed,
)
from districam_common.contract.names import HOLDS_PREFIX, HOUR_US, RELEASED_PREFIX, hold_key, released_key
from districam_common.contract.segment_array import array_from_entries
from districam_common.ledger.causes import FOREVER, LoggedEvent
from districam_common.ledger.expectation import Revision
from districam_common.ledger.holds import (
    Hold,
    Holds,
    describe_unreadable_hold,
    encode_cached_hold,
    encode_events,
    encode_truncations,
    explaining_events,
)
from districam_common.ledger.ledger import LedgerInputs, ledger
from districam_common.s3.hold_store import HoldStore
from support.announcements import EPOCHS, NOON_US, S, lost
from support.histories import History, camera, histories
from support.memory_blobs import MemoryBlobs

FROM_US, TO_US = NOON_US, NOON_US + HOUR_US
RECORD = Revision(Camera(camera_id="cam-1", name="", url=""), 1)


def hold(camera_id: str = "cam-1", from_us: int = FROM_US, to_us: int = TO_US) -> Hold:
    return Hold(
        id="0" * 16, camera_id=camera_id, from_us=from_us, to_us=to_us, reason="r", placed_by="k", placed_us=1
    )  # fmt: skip


def connected(at_us: int, epoch: int) -> Connected:
    return Connected(
        camera_id="cam-1", at_us=at_us, instance="i", epoch=EPOCHS[epoch], reader="native", transport="tcp",
        codecs="avc1.640028", width=1, height=1,
    )  # fmt: skip


def shed(start_us: int, end_us: int) -> Shed:
    return Shed(
        camera_id="cam-1", at_us=end_us, instance="i", epoch=EPOCHS[0], first_seq=0, last_seq=1, start_us=start_us,
        end_us=end_us, access_units=1, bytes=1, cause="shed_backpressure",
    )  # fmt: skip


def test_held_intervals_are_per_camera_and_merged() -> None:
    some = Holds((hold(), hold(from_us=TO_US, to_us=TO_US + 5), hold("cam-2", 0, 9)))
    assert some.intervals_of("cam-1") == [(FROM_US, TO_US + 5)]


@pytest.mark.correctness
def test_an_unreadable_hold_holds_everything_it_may_refer_to() -> None:
    newer = json.dumps({"camera_id": "cam-1", "from_us": 5, "to_us": 9, "placed_us": "noon"}).encode()
    windowless = json.dumps({"camera_id": "cam-1", "from_us": "noon"}).encode()
    foreign = json.dumps({"camera_id": "No Camera", "from_us": 5, "to_us": 9}).encode()
    known = Holds((), (describe_unreadable_hold("a" * 16, newer, "why"),))
    assert (known.intervals_of("cam-1"), known.intervals_of("cam-2"), known.of_unknown_camera) == ([(5, 9)], [], [])
    assert Holds((), (describe_unreadable_hold("a" * 16, windowless, "why"),)).intervals_of("cam-1") == [(0, FOREVER)]
    for body in (b"", b"[]", b"\xff", b"[" * 5000, foreign):
        unclear = Holds((hold("cam-2", 0, 9),), (describe_unreadable_hold("b" * 16, body, "why"),))
        assert unclear.intervals_of("cam-1") == unclear.intervals_of("cam-2") == [(0, FOREVER)]
        assert [one.id for one in unclear.of_unknown_camera] == ["b" * 16]


@pytest.mark.correctness
async def test_other_objects_beside_the_holds_are_ignored() -> None:
    """S3 tools write an object for each folder that a user creates, and users may put other files there."""
    good, spoilt = hold(), "f" * 16
    bodies = {HOLDS_PREFIX: b"", f"{HOLDS_PREFIX}notes.txt": b"x", f"{HOLDS_PREFIX}sub/{spoilt}.json": b"{"}
    bodies |= {hold_key(good.id): wire.encode_json(good)}
    bodies |= {RELEASED_PREFIX: b"", released_key(spoilt): b"{"}
    bucket = MemoryBlobs({key: (body, {}) for key, body in bodies.items()})
    store = HoldStore(bucket)
    assert await store.list_active() == Holds((good,))
    assert await store.list_released() == []
    bucket.put_directly(hold_key(spoilt), b"{")
    found = await store.list_active()
    assert found.readable == (good,)
    assert [one.id for one in found.unreadable] == [spoilt]


def test_holds_round_trip_and_the_cached_form_has_no_events() -> None:
    one = replace(hold(), events=("{}",), fell=("{}",))
    assert wire.decode_json(Hold, wire.encode_json(one)) == one
    assert wire.decode_json(Hold, encode_cached_hold(one)) == hold()


def test_events_inside_around_and_current_before_the_window_are_copied() -> None:
    far, before, inside = (connected(FROM_US - 9 * HOUR_US, 2), connected(FROM_US - HOUR_US, 0), lost(FROM_US + 60 * S))
    after, late = connected(TO_US + S, 1), connected(TO_US + HOUR_US, 2)
    over, outside = shed(FROM_US - S, FROM_US + S), shed(FROM_US - 9 * S, FROM_US)
    expired = FootageExpired(camera_id="cam-1", at_us=FROM_US, instance="i", from_us=0, to_us=9, reason="r")
    step = ClockStep(camera_id="cam-1", at_us=FROM_US, instance="i", offset_us=1, step_us=1)
    logged = [LoggedEvent(event) for event in (far, before, inside, after, late, over, outside, expired, step)]
    assert [one.event for one in explaining_events(logged, FROM_US, TO_US)] == [before, inside, after, over, step]


@pytest.mark.correctness
@pytest.mark.parametrize("ahead_us", [0, 24 * HOUR_US])
@pytest.mark.parametrize("lingered_us", [0, 20 * S])
@pytest.mark.parametrize("begun_us", [FROM_US - 40 * S, FROM_US + 40 * S])
def test_the_copied_events_explain_the_window_like_all_events(ahead_us: int, lingered_us: int, begun_us: int) -> None:
    """Also after a handover, and after an epoch of a clock that was ahead."""
    handover = replace(lost(begun_us + 40 * S), epoch=EPOCHS[2], end_us=begun_us + lingered_us, next_retry_s=600.0)
    logged = [
        LoggedEvent(
            Refused(camera_id="cam-1", at_us=begun_us - S + ahead_us, instance="j", cause="auth_failed"), begun_us
        ),
        LoggedEvent(connected(begun_us + ahead_us, 2), begun_us),
        LoggedEvent(connected(begun_us + S, 0), begun_us + 2 * S),
        LoggedEvent(handover, begun_us + 40 * S),
        LoggedEvent(lost(begun_us + 100 * S), begun_us + 100 * S),
        LoggedEvent(connected(TO_US - S, 1), TO_US),
    ]
    again = list[LoggedEvent]()
    for text in encode_events(explaining_events(logged, FROM_US, TO_US)):
        event, appended_us = wire.decode_indexed_event(text.encode())
        assert not isinstance(event, PartitionTruncated)
        again.append(LoggedEvent(event, appended_us))

    def states(some: list[LoggedEvent]) -> object:
        late_us = TO_US + 9 * HOUR_US
        known = LedgerInputs(revisions=[RECORD], segments=array_from_entries([]), events=some, log_us=late_us)
        return ledger((FROM_US, TO_US), known, now_us=late_us)

    assert states(again) == states(logged)


def test_truncations_that_touch_the_window_are_copied() -> None:
    def fell(from_us: int, to_us: int) -> PartitionTruncated:
        return PartitionTruncated(partition=1, at_us=1, instance="i", from_us=from_us, to_us=to_us)

    (text,) = encode_truncations(
        [fell(0, FROM_US), fell(FROM_US - 1, FROM_US + 1), fell(TO_US, TO_US + 1)], FROM_US, TO_US
    )
    assert wire.decode_indexed_event(text.encode())[0] == fell(FROM_US - 1, FROM_US + 1)


@pytest.mark.correctness
def test_a_lost_of_a_replaced_epoch_is_not_copied_as_the_current_event() -> None:
    """A handover before the window; the other replica, which had connected, stopped inside the window."""
    late = replace(lost(FROM_US), cause="handover", next_retry_s=600.0)
    logged = [LoggedEvent(one) for one in (connected(FROM_US - 9 * S, 0), connected(FROM_US - 2 * S, 1), late)]
    begun = [
        connected(FROM_US - 9 * S, 0),
        connected(FROM_US - 2 * S, 1),
    ]  # holes are counted from the epoch's beginning
    assert [one.event for one in explaining_events(logged, FROM_US, TO_US)] == begun


@settings(max_examples=40)
@given(histories(), st.integers(0, 1500), st.integers(0, 600))
def test_the_copied_events_give_the_same_ledger_as_all_events(history: History, start: int, length: int) -> None:
    """For any events before, in and after the window; a `lost` without effect must not be copied as the current event."""
    from_us, to_us = start * 100_000, (start + length + 1) * 100_000

    def states(some: Sequence[LoggedEvent]) -> object:
        late_us = to_us + 9 * HOUR_US
        segments = array_from_entries(history.entries)
        known = LedgerInputs(
            revisions=[camera()], segments=segments, events=some, truncations=history.log_truncations, log_us=late_us
        )
        return ledger((from_us, to_us), known, now_us=late_us)

    logged = [one for one in history.events if not isinstance(one.event, FootageExpired)]
    assert states(explaining_events(logged, from_us, to_us)) == states(logged)
