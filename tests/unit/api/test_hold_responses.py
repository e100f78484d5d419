"""Response bodies of holds."""

from zoneinfo import ZoneInfo

import pytest

from districam_api.core.hold_responses import expired, hold, parse_hold_id
from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.schemas_holds import Hold as Shape
from districam_common.ledger.holds import UNKNOWN_HOLD_STATE, Hold, HoldState, ReleasedHold

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
PLACED = Hold(id="0" * 16, camera_id="cam-1", from_us=0, to_us=10**6, reason="r", placed_by="k", placed_us=5)


def test_a_hold_has_its_state_and_counts() -> None:
    body = hold(PLACED, HoldState(state="enforced", versions=3, held=3, checked_us=1), ZONE)
    Shape.model_validate(body)
    assert (body["state"], body["versions"], body["released"]) == ("enforced", 3, None)
    assert body["to_local"] == "1970-01-01T08:00:01.000000+08:00"
    assert hold(PLACED, UNKNOWN_HOLD_STATE, ZONE)["state"] == "partial"


def test_a_released_hold_has_by_whom_when_and_why() -> None:
    fields = {name: getattr(PLACED, name) for name in Hold.__dataclass_fields__}
    over = ReleasedHold(**fields, released_by="k2", released_us=7, release_reason="done")
    body = hold(over, UNKNOWN_HOLD_STATE, ZONE)
    Shape.model_validate(body)
    assert (body["state"], body["released_by"], body["release_reason"]) == ("released", "k2", "done")


def test_a_malformed_hold_id_is_refused_before_it_becomes_part_of_a_key() -> None:
    assert parse_hold_id("0123456789abcdef") == "0123456789abcdef"
    for text in ("", "../site", "0123456789ABCDEF", "0" * 17):
        with pytest.raises(InvalidParameter):
            parse_hold_id(text)


def test_expired_intervals_are_in_utc_and_local_time() -> None:
    ((first,),) = [expired([(0, 10**6)], ZONE)["expired"]]
    assert set(first) == {"from", "from_local", "to", "to_local"}
