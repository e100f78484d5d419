"""Login by cookie for pages, and who is asking."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Request
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import schemas
from districam_api.access import Access, By, access_of
from districam_api.core import answers
from districam_api.core.ended import Ended
from districam_api.core.keys import EVERYBODY
from districam_api.problems import PROBLEM, REFUSALS
from districam_api.routes import Asked
from districam_common.errors import Retriable
from districam_common.index.ended_logins import EndedLogins
from districam_common.runtime.service import Runtime

log = structlog.get_logger()

SHARED_EACH_S = 1.0
"""A login that was ended must be worth nothing soon, on every replica."""
NO_STORE = {"Cache-Control": "no-store"}
_LOGIN: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key is unknown or revoked", **PROBLEM},
    415: {"description": "The body is not JSON", **PROBLEM},
}
router = APIRouter(prefix="/v1", responses=REFUSALS)


async def sharing(ended: Ended, door: EndedLogins, runtime: Runtime) -> None:
    """Tells other replicas which logins were ended here, and hears of theirs, until the runtime is asked to stop.

    While Redis is away, this replica goes by what it knows, and tells the rest as soon as it is back.
    """
    is_told = True
    while True:
        try:
            news = ended.meet(await door.known(), runtime.clock.now_us())
            if news:
                await door.add(news, runtime.clock.now_us())
        except Retriable as error:
            if is_told:
                log.warning("ended logins not shared", why=str(error))
            is_told = False
        else:
            is_told = True
        if await runtime.stops_within(SHARED_EACH_S):
            return


@router.get("/session", response_model=schemas.Session)
async def session(doors: Asked, caller: By, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """Who asks, and how long the login lasts."""
    return JSONResponse(answers.session(caller, doors.site, query.zone(doors.zone)), headers=NO_STORE)


@router.post("/login", response_model=schemas.Session, responses=_LOGIN)
async def login(doors: Asked, request: Request, body: schemas.Login) -> Response:
    """Opens the api to this browser for 12 hours, or until the key is revoked."""
    access: Access = access_of(request)
    if access.keys is None:
        return JSONResponse(answers.session(EVERYBODY, doors.site, doors.zone), headers=NO_STORE)
    token, caller = access.log_in(body.key.strip(), request)
    answer = JSONResponse(answers.session(caller, doors.site, doors.zone), headers=NO_STORE)
    access.hand_out(answer, token)
    return answer


@router.post("/logout", status_code=204, response_class=Response, responses=_LOGIN)
async def logout(request: Request, caller: By) -> Response:
    """Ends the login on every replica, takes the cookie back and has the browser forget what it kept of footage."""
    access = access_of(request)
    if caller.expires_us is not None:
        access.ended.end(caller.login, caller.expires_us)
    answer = Response(status_code=204, headers={**NO_STORE, "Clear-Site-Data": '"cache"'})
    access.hand_out(answer, "")
    return answer
