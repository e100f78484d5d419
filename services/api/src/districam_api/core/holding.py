"""What routes say of holds, as plain JSON values."""

import re
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from districam_api.core.answers import Json, instants
from districam_api.core.asked import Unacceptable
from districam_common.ledger.holds import Hold, HoldState, ReleasedHold
from districam_common.ledger.intervals import Interval

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


def hold_id(text: str) -> str:
    """The id, if it is of the form of one: it becomes part of an object's key.

    Raises:
        Unacceptable: it is not.
    """
    if _ID.fullmatch(text) is None:
        raise Unacceptable("hold_id", "is 16 hex digits, as GET /v1/holds shows it")
    return text


def hold(one: Hold, state: HoldState, zone: ZoneInfo) -> Json:
    """A hold, and how far it is applied; of one that is over, how it ended."""
    over = one if isinstance(one, ReleasedHold) else None
    return {
        "id": one.id,
        "camera_id": one.camera_id,
        **dict(instants(zone, **{"from": one.from_us, "to": one.to_us})),
        "reason": one.reason,
        "case_number": one.case_number,
        "placed_by": one.placed_by,
        "placed_by_name": one.placed_by_name,
        **dict(instants(zone, placed=one.placed_us)),
        "state": "released" if over else state.state,
        "versions": state.versions,
        "held": state.held,
        "released_by": over and over.released_by,
        "released_by_name": over and over.released_by_name,
        **dict(instants(zone, released=over.released_us if over else None)),
        "release_reason": over and over.release_reason,
    }


def expired(found: Iterable[Interval], zone: ZoneInfo) -> Json:
    """What retention has let go of."""
    return {"expired": [dict(instants(zone, **{"from": a, "to": b})) for a, b in found]}
