"""Login by cookie for the page, and the caller's session."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Request
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import schemas
from districam_api.access import Authenticator, CurrentCaller, authenticator_of
from districam_api.core import responses
from districam_api.core.keys import LOOPBACK_OPERATOR
from districam_api.core.revoked_logins import RevokedLogins
from districam_api.problems import PROBLEM_CONTENT, PROBLEM_RESPONSES
from districam_api.routes import Deps
from districam_common.errors import Retriable
from districam_common.index.ended_logins import EndedLogins
from districam_common.runtime.service import Runtime

log = structlog.get_logger()

SYNC_INTERVAL_S = 1.0
"""Short, so that a logout takes effect on every replica within 3 s."""
NO_STORE = {"Cache-Control": "no-store"}
_LOGIN: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key is unknown or revoked", **PROBLEM_CONTENT},
    415: {"description": "The body is not JSON", **PROBLEM_CONTENT},
}
router = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES)


async def run_login_sync(revoked_logins: RevokedLogins, store: EndedLogins, runtime: Runtime) -> None:
    """Exchanges revoked logins with the other replicas through Redis, until the runtime stops.

    While Redis is unavailable, this replica uses those it knows, and publishes its own as soon as Redis is back.
    """
    is_synced = True
    while True:
        try:
            unpublished = revoked_logins.merge(await store.read_all(), runtime.clock.now_us())
            if unpublished:
                await store.add(unpublished, runtime.clock.now_us())
        except Retriable as error:
            if is_synced:
                log.warning("revoked logins not synchronised with other replicas", why=str(error))
            is_synced = False
        else:
            is_synced = True
        if await runtime.wait_stopping(SYNC_INTERVAL_S):
            return


@router.get("/session", response_model=schemas.Session)
async def session(deps: Deps, caller: CurrentCaller, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """The caller's identity and role, and when the login expires."""
    return JSONResponse(responses.session(caller, deps.site, query.zone(deps.zone)), headers=NO_STORE)


@router.post("/login", response_model=schemas.Session, responses=_LOGIN)
async def login(deps: Deps, request: Request, body: schemas.Login) -> Response:
    """Logs this browser in for 12 hours, or until the key is revoked."""
    access: Authenticator = authenticator_of(request)
    if access.keys is None:
        return JSONResponse(responses.session(LOOPBACK_OPERATOR, deps.site, deps.zone), headers=NO_STORE)
    token, caller = access.log_in(body.key.strip(), request)
    answer = JSONResponse(responses.session(caller, deps.site, deps.zone), headers=NO_STORE)
    access.set_cookie(answer, token)
    return answer


@router.post("/logout", status_code=204, response_class=Response, responses=_LOGIN)
async def logout(request: Request, caller: CurrentCaller) -> Response:
    """Ends the login on every replica, deletes the cookie and clears what the browser has cached of footage."""
    access = authenticator_of(request)
    if caller.expires_us is not None:
        access.revoked_logins.revoke(caller.login, caller.expires_us)
    answer = Response(status_code=204, headers={**NO_STORE, "Clear-Site-Data": '"cache"'})
    access.set_cookie(answer, "")
    return answer
