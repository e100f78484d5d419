"""Holds: footage that must stay. For operators alone."""

import secrets
from dataclasses import replace
from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from fastapi import Path as FromPath
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import schemas_holds as schemas
from districam_api.access import ByOperator
from districam_api.core import cursors, holding
from districam_api.core.times import TIMELINE_MOST_US
from districam_api.hold_book import Listed, TooLate, explained
from districam_api.problems import PROBLEM, REFUSALS, Refusal
from districam_api.routes import Asked
from districam_common.ledger.holds import Hold

log = structlog.get_logger()

_FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"description": "Not an operator's key", **PROBLEM}}
_PLACED: dict[int | str, dict[str, Any]] = {
    201: {"model": schemas.Hold},
    409: {"description": "Retention has let go of some of the window; `expired` says of what", **PROBLEM},
    413: {"description": "The body is over 64 KiB", **PROBLEM},
    415: {"description": "The body is not JSON", **PROBLEM},
}
_UNREAD: dict[int | str, dict[str, Any]] = {
    409: {
        "description": "The hold is stored and keeps its footage, but this version cannot read it",
        **PROBLEM,
    }
}
router = APIRouter(prefix="/v1", responses=REFUSALS | _FORBIDDEN)
HoldId = Annotated[str, FromPath(max_length=64)]


@router.post("/holds", status_code=201, response_class=JSONResponse, responses=_PLACED)
async def place_hold(doors: Asked, caller: ByOperator, body: schemas.Placing) -> Response:
    """Keeps a camera's footage of a window of at most 31 days, whatever retention and the budget say."""
    window, zone = body.window(TIMELINE_MOST_US), body.zone(doors.zone)
    evidence = await doors.footage.evidence(body.camera_id, window)
    log_us = await doors.holds.log_us()
    hold = Hold(
        id=secrets.token_hex(8),
        camera_id=body.camera_id,
        from_us=window.from_us,
        to_us=window.to_us,
        reason=body.reason,
        case_number=body.case_number,
        placed_by=caller.key_id,
        placed_by_name=caller.name,
        placed_us=max(doors.clock.now_us(), log_us),
        placed_log_us=log_us,
    )
    hold = replace(hold, **explained(hold, evidence))
    try:
        placed = await doors.holds.place(hold, doors.footage)
    except TooLate as error:
        raise Refusal(409, str(error), holding.expired(error.expired, zone)) from error
    log.info("hold placed", id=hold.id, key_id=caller.key_id, camera_id=hold.camera_id, reason=hold.reason)
    return JSONResponse(holding.hold(placed.hold, placed.state, zone), status_code=201)


@router.get("/holds", response_model=schemas.Holds)
async def holds(
    doors: Asked, caller: ByOperator, query: Annotated[schemas.HoldsQuery, FromQuery()]
) -> Response:
    """Holds in force, oldest first, and how far each is applied."""
    del caller
    zone = query.zone(doors.zone)
    after = cursors.decode(query.cursor, (int, str)) if query.cursor else None
    listing = await doors.holds.all()
    found = [one for one in listing.holds if query.camera_id in (None, one.hold.camera_id)]
    found = [one for one in found if after is None or _position(one) > after]
    page = found[: query.limit]
    following = cursors.encode(_position(page[-1])) if len(found) > len(page) else None
    lines = [holding.hold(one.hold, one.state, zone) for one in page]
    return JSONResponse({"holds": lines, "unread": listing.unread, "next": following, "tz": zone.key})


def _position(one: Listed) -> tuple[int, str]:
    return one.hold.placed_us, one.hold.id


@router.get("/holds/{hold_id}", response_model=schemas.Hold, responses=_UNREAD)
async def hold(
    doors: Asked, caller: ByOperator, hold_id: HoldId, query: Annotated[schemas.HoldQuery, FromQuery()]
) -> Response:
    """A hold, also one that is released: who placed and who released it, when and why."""
    del caller
    found = await doors.holds.one(holding.hold_id(hold_id))
    return JSONResponse(holding.hold(found.hold, found.state, query.zone(doors.zone)))


@router.delete("/holds/{hold_id}", status_code=204, response_class=Response, responses=_UNREAD)
async def release_hold(
    doors: Asked, caller: ByOperator, hold_id: HoldId, query: Annotated[schemas.Releasing, FromQuery()]
) -> Response:
    """Gives the footage back to retention."""
    await doors.holds.release(
        holding.hold_id(hold_id), by=caller.key_id, name=caller.name, now_us=doors.clock.now_us(),
        reason=query.reason,
    )  # fmt: skip
    log.info("hold released", id=hold_id, key_id=caller.key_id, reason=query.reason)
    return Response(status_code=204)
