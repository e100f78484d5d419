"""The api put together: the application, its listening socket, and what it waits for."""

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Sequence
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

import structlog
import uvicorn
from fastapi import Depends, FastAPI
from starlette.responses import HTMLResponse, JSONResponse

from districam_api import access, docs, logins, page, problems, routes_holds
from districam_api.aborting import Protocol
from districam_api.access import Access
from districam_api.certificate import Certificate
from districam_api.clips import Places
from districam_api.core.attempts import Attempts
from districam_api.footage import Footage
from districam_api.heads import Headed
from districam_api.hold_book import HoldBook
from districam_api.keyring import KeyRing
from districam_api.limits import Bounded
from districam_api.measure import Measured
from districam_api.origins import Shared
from districam_api.routes import Doors, router
from districam_api.settings import ApiBlock, ApiSettings
from districam_api.signing import Signing
from districam_api.stills import Decoders
from districam_common.blobs import Blobs
from districam_common.errors import Retriable
from districam_common.index_reader import IndexReader
from districam_common.service import Runtime, retrying
from districam_common.settings import SettingsError, variable

log = structlog.get_logger()

DEPENDENCIES = ("redis", "s3")
WATCH_S = 5.0
KEYS_WATCH_S = 1.0
"""A revoked key must be worth nothing soon."""
HEAD_MOST = 16 << 10
"""Bytes of a request's line and headers. Paths, cursors, cookies and tokens of ours come to less than 2 KiB."""
GRACE_S = 5
"""How long a stopping server waits for answers under way."""


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return access.described(problems.described(super().openapi()))


def create_app(doors: Doors, asked: Access, origins: Sequence[str] = ()) -> FastAPI:
    """The application; `doors` and `asked` are its only state. Every route stands behind `access.admitted`."""
    app = _Application(
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
    if origins:
        app.add_middleware(Shared, origins=origins)
    app.add_middleware(Measured, clock=doors.clock)
    app.add_middleware(Headed)
    problems.install(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def for_machines() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def for_people() -> HTMLResponse:
        return HTMLResponse(docs.page(app.openapi()))

    return app


def listen(api: ApiBlock) -> socket.socket:
    """A socket bound to where the settings say.

    Raises:
        SettingsError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    try:
        return socket.create_server((api.host, api.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"{variable('api', 'port')}: cannot serve on {api.host}:{api.port} ({error.strerror or error}); "
            f"choose another port, or 0 for a free one"
        ) from error


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to the service."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def main(settings: ApiSettings, runtime: Runtime) -> None:
    """Serves until the runtime is asked to stop."""
    runtime.health.needs(*DEPENDENCIES)
    signing = await asyncio.to_thread(Signing, settings.api.token_key_file)
    keys = await asyncio.to_thread(KeyRing, settings.api.keys_file) if settings.api.keys_file else None
    asked = Access(keys, signing, Attempts(), runtime.clock, settings.api.tls_cert_file is not None)
    with listen(settings.api) as sock:
        async with (
            IndexReader.open(settings.redis) as index,
            Blobs.open(settings.s3) as blobs,
            Decoders.open() as decoders,
            asyncio.TaskGroup() as tasks,
        ):
            footage = Footage(index, runtime.clock, round(settings.api.settle_s * 1e6))
            zone = ZoneInfo(settings.api.timezone)
            places = Places(settings.api.clips_at_once)
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
            )
            app = create_app(doors, asked, settings.api.allowed_origins)
            tasks.create_task(_watch(runtime, "redis", index.ping))
            tasks.create_task(_watch(runtime, "s3", lambda: blobs.check_site(settings.site)))
            tasks.create_task(_keep(signing.reread, runtime, WATCH_S))
            if keys:
                tasks.create_task(_keep(keys.reread, runtime, KEYS_WATCH_S))
            await _serve(app, sock, settings.api, runtime)


async def _serve(app: FastAPI, sock: socket.socket, api: ApiBlock, runtime: Runtime) -> None:
    config = uvicorn.Config(
        app, http=Protocol, log_config=None, access_log=False, lifespan="off", server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S, ssl_certfile=api.tls_cert_file, ssl_keyfile=api.tls_key_file,
        h11_max_incomplete_event_size=HEAD_MOST,
    )  # fmt: skip
    certificate = (
        Certificate(api.tls_cert_file, api.tls_key_file) if api.tls_cert_file and api.tls_key_file else None
    )
    config.load()
    server = _Server(config)
    host, port = sock.getsockname()[:2]
    gc.collect()
    gc.freeze()  # a hundred thousand objects of libraries that stay: each full collection would look at them all
    log.info("listening", host=host, port=port, tls=config.is_ssl, keys=api.keys_file is not None)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[sock]))
        stop = tasks.create_task(runtime.stopping.wait())
        renewing = tasks.create_task(_renew(certificate, config.ssl, runtime))
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.cancel()
        renewing.cancel()


async def _watch(runtime: Runtime, name: str, check: Callable[[], Awaitable[None]]) -> None:
    """Tells Health of a dependency."""
    with contextlib.suppress(Retriable):  # stopping, and Health has been told
        while True:
            await retrying(check, runtime, name)
            if await runtime.stops_within(WATCH_S):
                return


async def _renew(certificate: Certificate | None, context: ssl.SSLContext | None, runtime: Runtime) -> None:
    while certificate and context and not await runtime.stops_within(WATCH_S):
        await certificate.reread(context)


async def _keep(reread: Callable[[], None], runtime: Runtime, each_s: float) -> None:
    """Takes up what has changed in a file."""
    while not await runtime.stops_within(each_s):
        await asyncio.to_thread(reread)
