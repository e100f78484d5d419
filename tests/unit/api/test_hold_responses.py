"""What routes say of holds."""

from zoneinfo import ZoneInfo

import pytest

from districam_api.core.hold_responses import expired, hold, parse_hold_id
from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.schemas_holds import Hold as Shape
from districam_common.ledger.holds import UNKNOWN_HOLD_STATE, Hold, HoldState, ReleasedHold

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
PLACED = Hold(id="0" * 16, camera_id="cam-1", from_us=0, to_us=10**6, reason="r", placed_by="k", placed_us=5)


def test_a_hold_says_how_far_it_is_applied() -> None:
    said = hold(PLACED, HoldState(state="enforced", versions=3, held=3, checked_us=1), ZONE)
    Shape.model_validate(said)
    assert (said["state"], said["versions"], said["released"]) == ("enforced", 3, None)
    assert said["to_local"] == "1970-01-01T08:00:01.000000+08:00"
    assert hold(PLACED, UNKNOWN_HOLD_STATE, ZONE)["state"] == "partial"


def test_one_that_is_over_says_how_it_ended() -> None:
    fields = {name: getattr(PLACED, name) for name in Hold.__dataclass_fields__}
    over = ReleasedHold(**fields, released_by="k2", released_us=7, release_reason="done")
    said = hold(over, UNKNOWN_HOLD_STATE, ZONE)
    Shape.model_validate(said)
    assert (said["state"], said["released_by"], said["release_reason"]) == ("released", "k2", "done")


def test_an_id_becomes_part_of_a_key_and_is_looked_at_first() -> None:
    assert parse_hold_id("0123456789abcdef") == "0123456789abcdef"
    for text in ("", "../site", "0123456789ABCDEF", "0" * 17):
        with pytest.raises(InvalidParameter):
            parse_hold_id(text)


def test_what_has_expired_is_told_in_both_times() -> None:
    ((first,),) = [expired([(0, 10**6)], ZONE)["expired"]]
    assert set(first) == {"from", "from_local", "to", "to_local"}
