"""The api's application without servers: authentication and response headers need none."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import httpx
from fastapi import APIRouter, FastAPI, Request

from districam_api.access import Authenticator, CurrentCaller, OperatorCaller
from districam_api.app import create_app
from districam_api.core.keys import create_key
from districam_api.core.rate_limits import FailureLimiter
from districam_api.keyring import KeyRing
from districam_api.settings import ApiSettings
from districam_api.token_signer import TokenSigner
from districam_common.runtime.clock import SystemClock

if TYPE_CHECKING:
    from districam_api.routes import Dependencies

VIEWER_KEY, VIEWER_KEY_TEXT = create_key(b"\x00\x01\x02\x03", b"v" * 32, name="", role="viewer", now_us=1)
OPERATOR_KEY, OPERATOR_KEY_TEXT = create_key(b"\x00\x01\x02\x04", b"o" * 32, name="", role="operator", now_us=1)
JSON = {"Content-Type": "application/json"}


def application(keys: KeyRing | None, **settings: object) -> FastAPI:
    """The api with additional routes without access rules of their own; it is never started."""
    clock, signing = SystemClock(), TokenSigner(None)
    dependencies = SimpleNamespace(clock=clock, token_signer=signing, zone=ZoneInfo("UTC"), site="local")
    api = ApiSettings.model_validate(settings)
    access = Authenticator(keys, signing, FailureLimiter(), clock, is_secure=api.is_secure)
    access.revoked_logins.merge({}, 0)
    app = create_app(cast("Dependencies", dependencies), access, api)
    router = APIRouter(prefix="/v1")

    @router.get("/new")
    async def new(caller: CurrentCaller) -> str:
        return caller.key_id

    @router.get("/address")
    async def address(caller: CurrentCaller, request: Request) -> str:
        assert caller
        assert request.client
        return request.client.host

    @router.get("/waits")
    async def waits(caller: CurrentCaller) -> str:
        assert caller
        await asyncio.sleep(0.5)
        return "done"

    @router.post("/held")
    async def held(caller: OperatorCaller) -> str:
        return caller.key_id

    @router.get("/broken")
    async def broken(caller: CurrentCaller) -> str:
        raise AssertionError(caller)

    app.include_router(router)
    return app


def make_client(
    app: FastAPI, key_text: str = "", peer: str = "127.0.0.1", forwarded_for: str = ""
) -> httpx.AsyncClient:
    """A client at address `peer`, which may be a proxy that forwards a client's address."""
    headers = {"Authorization": f"Bearer {key_text}"} if key_text else {}
    headers |= {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)
