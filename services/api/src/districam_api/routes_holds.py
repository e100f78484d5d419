"""Holds: footage that must not be deleted. Operators only."""

import secrets
from dataclasses import replace
from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from fastapi import Path as FromPath
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import schemas_holds as schemas
from districam_api.access import OperatorCaller
from districam_api.core import cursors, hold_responses
from districam_api.core.times import MAX_TIMELINE_US
from districam_api.hold_service import FootageExpired, HoldWithState, explanation_fields
from districam_api.problems import PROBLEM_CONTENT, PROBLEM_RESPONSES, ProblemError
from districam_api.routes import Deps
from districam_common.ledger.holds import Hold

log = structlog.get_logger()

_FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"description": "Not an operator's key", **PROBLEM_CONTENT}}
_PLACED: dict[int | str, dict[str, Any]] = {
    201: {"model": schemas.Hold},
    409: {"description": "Retention has deleted part of the window; `expired` has the intervals", **PROBLEM_CONTENT},
    413: {"description": "The body is over 64 KiB", **PROBLEM_CONTENT},
    415: {"description": "The body is not JSON", **PROBLEM_CONTENT},
}
_UNREADABLE: dict[int | str, dict[str, Any]] = {
    409: {
        "description": "The hold is stored and protects its footage, but this version cannot read it",
        **PROBLEM_CONTENT,
    }
}
router = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES | _FORBIDDEN)
HoldId = Annotated[str, FromPath(max_length=64)]


@router.post("/holds", status_code=201, response_class=JSONResponse, responses=_PLACED)
async def place_hold(deps: Deps, caller: OperatorCaller, body: schemas.Placing) -> Response:
    """Protects a camera's footage in a window of at most 31 days from retention and the storage budget."""
    window, zone = body.window(MAX_TIMELINE_US), body.zone(deps.zone)
    records = await deps.footage.window_records(body.camera_id, window)
    watermark_us = await deps.holds.watermark_us()
    hold = Hold(
        id=secrets.token_hex(8),
        camera_id=body.camera_id,
        from_us=window.from_us,
        to_us=window.to_us,
        reason=body.reason,
        case_number=body.case_number,
        placed_by=caller.key_id,
        placed_by_name=caller.name,
        placed_us=max(deps.clock.now_us(), watermark_us),
        placed_log_us=watermark_us,
    )
    hold = replace(hold, **explanation_fields(hold, records))
    try:
        placed = await deps.holds.place(hold, deps.footage)
    except FootageExpired as error:
        raise ProblemError(409, str(error), hold_responses.expired(error.expired, zone)) from error
    log.info("hold placed", hold_id=hold.id, key_id=caller.key_id, camera_id=hold.camera_id, reason=hold.reason)
    return JSONResponse(hold_responses.hold(placed.hold, placed.state, zone), status_code=201)


@router.get("/holds", response_model=schemas.Holds)
async def holds(deps: Deps, caller: OperatorCaller, query: Annotated[schemas.HoldsQuery, FromQuery()]) -> Response:
    """Active holds, oldest first, and how far each is applied."""
    del caller
    zone = query.zone(deps.zone)
    after = cursors.decode(query.cursor, (int, str)) if query.cursor else None
    listing = await deps.holds.list_active()
    found = [one for one in listing.holds if query.camera_id in (None, one.hold.camera_id)]
    found = [one for one in found if after is None or _sort_key(one) > after]
    page = found[: query.limit]
    following = cursors.encode(_sort_key(page[-1])) if len(found) > len(page) else None
    lines = [hold_responses.hold(one.hold, one.state, zone) for one in page]
    return JSONResponse({"holds": lines, "unread": listing.unread, "next": following, "tz": zone.key})


def _sort_key(one: HoldWithState) -> tuple[int, str]:
    return one.hold.placed_us, one.hold.id


@router.get("/holds/{hold_id}", response_model=schemas.Hold, responses=_UNREADABLE)
async def hold(
    deps: Deps, caller: OperatorCaller, hold_id: HoldId, query: Annotated[schemas.HoldQuery, FromQuery()]
) -> Response:
    """A hold, active or released: who placed and who released it, when and why."""
    del caller
    found = await deps.holds.get(hold_responses.parse_hold_id(hold_id))
    return JSONResponse(hold_responses.hold(found.hold, found.state, query.zone(deps.zone)))


@router.delete("/holds/{hold_id}", status_code=204, response_class=Response, responses=_UNREADABLE)
async def release_hold(
    deps: Deps, caller: OperatorCaller, hold_id: HoldId, query: Annotated[schemas.ReleaseHoldQuery, FromQuery()]
) -> Response:
    """Releases the hold: retention applies to its footage again."""
    await deps.holds.release(
        hold_responses.parse_hold_id(hold_id), by=caller.key_id, name=caller.name, now_us=deps.clock.now_us(),
        reason=query.reason,
    )  # fmt: skip
    log.info("hold released", hold_id=hold_id, key_id=caller.key_id, reason=query.reason)
    return Response(status_code=204)
