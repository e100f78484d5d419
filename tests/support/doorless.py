"""The api's application without doors: who may ask, and what is said to everybody, needs none of them."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import httpx
from fastapi import APIRouter, FastAPI, Request

from districam_api.access import Access, By, ByOperator
from districam_api.app import create_app
from districam_api.core.attempts import Attempts
from districam_api.core.keys import make
from districam_api.keyring import KeyRing
from districam_api.settings import ApiSettings
from districam_api.signing import Signing
from districam_common.runtime.clock import SystemClock

if TYPE_CHECKING:
    from districam_api.routes import Doors

VIEWER, VIEWERS = make(b"\x00\x01\x02\x03", b"v" * 32, name="", role="viewer", now_us=1)
OPERATOR, OPERATORS = make(b"\x00\x01\x02\x04", b"o" * 32, name="", role="operator", now_us=1)
JSON = {"Content-Type": "application/json"}


def application(keys: KeyRing | None, **settings: object) -> FastAPI:
    """The api with routes that nobody has secured; its doors are never opened here."""
    clock, signing = SystemClock(), Signing(None)
    doors = SimpleNamespace(clock=clock, signing=signing, zone=ZoneInfo("UTC"), site="local")
    api = ApiSettings.model_validate(settings)
    asked = Access(keys, signing, Attempts(), clock, is_secure=api.is_secure)
    asked.ended.meet({}, 0)
    app = create_app(cast("Doors", doors), asked, api)
    router = APIRouter(prefix="/v1")

    @router.get("/new")
    async def new(caller: By) -> str:
        return caller.key_id

    @router.get("/address")
    async def address(caller: By, request: Request) -> str:
        assert caller
        assert request.client
        return request.client.host

    @router.get("/waits")
    async def waits(caller: By) -> str:
        assert caller
        await asyncio.sleep(0.5)
        return "done"

    @router.post("/held")
    async def held(caller: ByOperator) -> str:
        return caller.key_id

    @router.get("/broken")
    async def broken(caller: By) -> str:
        raise AssertionError(caller)

    app.include_router(router)
    return app


def asking(app: FastAPI, text: str = "", peer: str = "127.0.0.1", said: str = "") -> httpx.AsyncClient:
    """A client at `peer`, which may be a proxy that says for whom it asks."""
    headers = {"Authorization": f"Bearer {text}"} if text else {}
    headers |= {"X-Forwarded-For": said} if said else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)
