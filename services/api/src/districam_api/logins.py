"""Login by cookie for pages, and who is asking."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import schemas
from districam_api.access import Access, By, access_of
from districam_api.core import answers
from districam_api.core.keys import EVERYBODY
from districam_api.problems import PROBLEM, REFUSALS
from districam_api.routes import Asked

NO_STORE = {"Cache-Control": "no-store"}
_LOGIN: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key is unknown or revoked", **PROBLEM},
    415: {"description": "The body is not JSON", **PROBLEM},
}
router = APIRouter(prefix="/v1", responses=REFUSALS)


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
async def logout(request: Request) -> Response:
    """Takes the cookie back."""
    answer = Response(status_code=204, headers=NO_STORE)
    access_of(request).hand_out(answer, "")
    return answer
