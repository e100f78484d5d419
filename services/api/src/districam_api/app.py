"""Composition root of the api: the application, its listening socket and its dependencies."""

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
from districam_api.access import Authenticator
from districam_api.body_limit import BodyLimitMiddleware
from districam_api.clips import ClipSlots
from districam_api.connections import Connections
from districam_api.core.rate_limits import FailureLimiter
from districam_api.cors import FootageCorsMiddleware
from districam_api.footage import FootageReader
from districam_api.head_requests import HeadMiddleware
from districam_api.hold_service import HoldService
from districam_api.keyring import KeyRing
from districam_api.metrics import MetricsMiddleware
from districam_api.proxy_headers import ProxyHeadersMiddleware
from districam_api.routes import Dependencies, router
from districam_api.security_headers import SecurityHeadersMiddleware
from districam_api.settings import ApiSettings, Settings
from districam_api.still_decoder import StillDecoder
from districam_api.token_signer import TokenSigner
from districam_common.errors import Retriable
from districam_common.index.ended_logins import EndedLogins
from districam_common.index.hold_cache import HoldCache
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_redis
from districam_common.runtime.service import Runtime, retry_dependency
from districam_common.s3.blobs import Blobs

DEPENDENCIES = ("redis", "s3")
CHECK_INTERVAL_S = 5.0
KEYS_CHECK_INTERVAL_S = 1.0
"""Short, so that a revoked key stops working within 2 s."""


class _Application(FastAPI):
    def __init__(self, api: ApiSettings, **more: Any) -> None:
        super().__init__(**more)
        self._api = api

    def build_middleware_stack(self) -> ASGIApp:
        """Wraps the whole stack: Starlette handles unexpected errors outside any middleware that is added."""
        inner = super().build_middleware_stack()
        return SecurityHeadersMiddleware(inner, is_secure=self._api.is_secure, origins=self._api.allowed_origins)

    def openapi(self) -> dict[str, Any]:
        return access.add_security_schemes(problems.add_problem_schemas(super().openapi()))


def create_app(deps: Dependencies, authenticator: Authenticator, api: ApiSettings | None = None) -> FastAPI:
    """The application; its only state is `deps` and `authenticator`. Every route depends on `require_caller`."""
    api = api or ApiSettings()
    app = _Application(
        api,
        redirect_slashes=False,
        title="districam",
        version=version("districam-api"),
        description="Recorded footage: what is stored, what is missing and why, and the footage itself.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(access.require_caller)],
    )
    app.state.deps, app.state.authenticator = deps, authenticator
    app.include_router(router)
    app.include_router(logins.router)
    app.include_router(page.router)
    app.include_router(routes_holds.router)
    app.add_middleware(BodyLimitMiddleware)
    if api.allowed_origins:
        app.add_middleware(FootageCorsMiddleware, origins=api.allowed_origins)
    app.add_middleware(MetricsMiddleware, clock=deps.clock)
    app.add_middleware(HeadMiddleware)
    if api.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, proxies=api.proxies, max_per_network=api.connections_per_address)
    problems.install(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs_page() -> HTMLResponse:
        return HTMLResponse(docs.page(app.openapi()))

    return app


async def main(settings: Settings, runtime: Runtime) -> None:
    """Serves until the runtime is asked to stop."""
    runtime.health.declare(*DEPENDENCIES)
    token_signer = await asyncio.to_thread(TokenSigner, settings.api.token_key_file)
    keys = await asyncio.to_thread(KeyRing, settings.api.keys_file) if settings.api.keys_file else None
    authenticator = Authenticator(keys, token_signer, FailureLimiter(), runtime.clock, settings.api.is_secure)
    connections = Connections(
        server.connection_limits(settings.api), settings.api.deadlines, runtime.clock, settings.api.proxies.is_trusted
    )
    with server.listen(settings.api) as sock:
        async with (
            open_redis(settings.redis) as redis,
            Blobs.open(settings.s3) as blobs,
            StillDecoder.open() as still_decoder,
            EndedLogins.open(settings.redis) as ended_logins,
            asyncio.TaskGroup() as tasks,
        ):
            index = IndexReader(redis)
            footage = FootageReader(index, runtime.clock, round(settings.api.settle_s * 1e6))
            zone = ZoneInfo(settings.api.timezone)
            clip_slots = ClipSlots(settings.api.clips_at_once, settings.api.clips_per_key)
            deps = Dependencies(
                footage,
                blobs,
                token_signer,
                clip_slots,
                still_decoder,
                runtime.clock,
                zone,
                settings.site,
                HoldService(blobs, index, HoldCache(redis)),
                settings.api.media_cache_control,
            )
            app = create_app(deps, authenticator, settings.api)
            tasks.create_task(_monitor_dependency(runtime, "redis", index.ping))
            tasks.create_task(_monitor_dependency(runtime, "s3", lambda: blobs.require_site(settings.site)))
            tasks.create_task(_run_refresh(token_signer.refresh, runtime, CHECK_INTERVAL_S))
            if keys:
                tasks.create_task(_run_refresh(keys.refresh, runtime, KEYS_CHECK_INTERVAL_S))
                tasks.create_task(logins.run_login_sync(authenticator.revoked_logins, ended_logins, runtime))
            await server.serve(app, sock, settings.api, connections, runtime)


async def _monitor_dependency(runtime: Runtime, name: str, check: Callable[[], Awaitable[None]]) -> None:
    """Reports a dependency's state to health, until the runtime stops."""
    with contextlib.suppress(Retriable):  # raised when stopping; health has the state
        while True:
            await retry_dependency(check, runtime, name)
            if await runtime.wait_stopping(CHECK_INTERVAL_S):
                return


async def _run_refresh(refresh: Callable[[], None], runtime: Runtime, interval_s: float) -> None:
    """Calls `refresh`, which re-reads a changed file, every `interval_s` until the runtime stops."""
    while not await runtime.wait_stopping(interval_s):
        await asyncio.to_thread(refresh)
