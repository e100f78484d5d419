"""The api put together: the application, its listening socket, and what it waits for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp

from districam_api import access, docs, logins, page, problems, routes_holds, server
from districam_api.access import Access
from districam_api.clips import Places
from districam_api.connections import Connections
from districam_api.core.attempts import Attempts
from districam_api.footage import Footage
from districam_api.forwarded import Forwarded
from districam_api.hardened import Hardened
from districam_api.heads import Headed
from districam_api.hold_book import HoldBook
from districam_api.keyring import KeyRing
from districam_api.limits import Bounded
from districam_api.measure import Measured
from districam_api.origins import Shared
from districam_api.routes import Doors, router
from districam_api.settings import ApiSettings, Settings
from districam_api.signing import Signing
from districam_api.stills import Decoders
from districam_common.errors import Retriable
from districam_common.index.ended_logins import EndedLogins
from districam_common.index.index_reader import IndexReader
from districam_common.runtime.service import Runtime, retrying
from districam_common.s3.blobs import Blobs

DEPENDENCIES = ("redis", "s3")
WATCH_S = 5.0
KEYS_WATCH_S = 1.0
"""A revoked key must be worth nothing soon."""


class _Application(FastAPI):
    def __init__(self, api: ApiSettings, **more: Any) -> None:
        super().__init__(**more)
        self._api = api

    def build_middleware_stack(self) -> ASGIApp:
        """Around all of it: Starlette answers what nobody foresaw outside of any middleware that is added."""
        inner = super().build_middleware_stack()
        return Hardened(inner, is_secure=self._api.is_secure, origins=self._api.allowed_origins)

    def openapi(self) -> dict[str, Any]:
        return access.described(problems.described(super().openapi()))


def create_app(doors: Doors, asked: Access, api: ApiSettings | None = None) -> FastAPI:
    """The application; `doors` and `asked` are its only state. Every route stands behind `access.admitted`."""
    api = api or ApiSettings()
    app = _Application(
        api,
        redirect_slashes=False,
        title="districam",
        version=version("districam-api"),
        description="Questions about footage: what is stored, what is missing and why, and the footage itself.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.admitted)],
    )
    app.state.doors, app.state.access = doors, asked
    app.include_router(router)
    app.include_router(logins.router)
    app.include_router(page.router)
    app.include_router(routes_holds.router)
    app.add_middleware(Bounded)
    if api.allowed_origins:
        app.add_middleware(Shared, origins=api.allowed_origins)
    app.add_middleware(Measured, clock=doors.clock)
    app.add_middleware(Headed)
    if api.trusted_proxies:
        app.add_middleware(Forwarded, proxies=api.proxies, most_each=api.connections_per_address)
    problems.install(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def for_machines() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def for_people() -> HTMLResponse:
        return HTMLResponse(docs.page(app.openapi()))

    return app


async def main(settings: Settings, runtime: Runtime) -> None:
    """Serves until the runtime is asked to stop."""
    runtime.health.needs(*DEPENDENCIES)
    signing = await asyncio.to_thread(Signing, settings.api.token_key_file)
    keys = await asyncio.to_thread(KeyRing, settings.api.keys_file) if settings.api.keys_file else None
    asked = Access(keys, signing, Attempts(), runtime.clock, settings.api.is_secure)
    connections = Connections(
        server.limits(settings.api), settings.api.patience, runtime.clock, settings.api.proxies.has
    )
    with server.listen(settings.api) as sock:
        async with (
            IndexReader.open(settings.redis) as index,
            Blobs.open(settings.s3) as blobs,
            Decoders.open() as decoders,
            EndedLogins.open(settings.redis) as ended,
            asyncio.TaskGroup() as tasks,
        ):
            footage = Footage(index, runtime.clock, round(settings.api.settle_s * 1e6))
            zone = ZoneInfo(settings.api.timezone)
            places = Places(settings.api.clips_at_once, settings.api.clips_per_key)
            doors = Doors(
                footage,
                blobs,
                signing,
                places,
                decoders,
                runtime.clock,
                zone,
                settings.site,
                HoldBook(blobs, index),
                settings.api.kept,
            )
            app = create_app(doors, asked, settings.api)
            tasks.create_task(_watch(runtime, "redis", index.ping))
            tasks.create_task(_watch(runtime, "s3", lambda: blobs.check_site(settings.site)))
            tasks.create_task(_keep(signing.reread, runtime, WATCH_S))
            if keys:
                tasks.create_task(_keep(keys.reread, runtime, KEYS_WATCH_S))
                tasks.create_task(logins.sharing(asked.ended, ended, runtime))
            await server.serve(app, sock, settings.api, connections, runtime)


async def _watch(runtime: Runtime, name: str, check: Callable[[], Awaitable[None]]) -> None:
    """Tells Health of a dependency."""
    with contextlib.suppress(Retriable):  # stopping, and Health has been told
        while True:
            await retrying(check, runtime, name)
            if await runtime.stops_within(WATCH_S):
                return


async def _keep(reread: Callable[[], None], runtime: Runtime, each_s: float) -> None:
    """Takes up what has changed in a file."""
    while not await runtime.stops_within(each_s):
        await asyncio.to_thread(reread)
