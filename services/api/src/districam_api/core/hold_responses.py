"""Response bodies of holds, as plain JSON values."""

import re
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.core.responses import Json, format_instants
from districam_common.ledger.holds import Hold, HoldState, ReleasedHold
from districam_common.ledger.intervals import Interval

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def parse_hold_id(text: str) -> str:
    """Validates the id, which becomes part of an object key.

    Raises:
        InvalidParameter: it is not 16 hex digits.
    """
    if _ID.fullmatch(text) is None:
        raise InvalidParameter("hold_id", "must be 16 hex digits, as GET /v1/holds shows it")
    return text


def hold(one: Hold, state: HoldState, zone: ZoneInfo) -> Json:
    """A hold, and how far it is applied; of a released one, also by whom, when and why."""
    released = one if isinstance(one, ReleasedHold) else None
    return {
        "id": one.id,
        "camera_id": one.camera_id,
        **dict(format_instants(zone, **{"from": one.from_us, "to": one.to_us})),
        "reason": one.reason,
        "case_number": one.case_number,
        "placed_by": one.placed_by,
        "placed_by_name": one.placed_by_name,
        **dict(format_instants(zone, placed=one.placed_us)),
        "state": "released" if released else state.state,
        "versions": state.versions,
        "held": state.held,
        "released_by": released and released.released_by,
        "released_by_name": released and released.released_by_name,
        **dict(format_instants(zone, released=released.released_us if released else None)),
        "release_reason": released and released.release_reason,
    }


def expired(found: Iterable[Interval], zone: ZoneInfo) -> Json:
    """Intervals that retention has deleted."""
    return {"expired": [dict(format_instants(zone, **{"from": a, "to": b})) for a, b in found]}
