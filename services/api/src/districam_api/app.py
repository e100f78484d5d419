"""The api put together: the application, its listening socket, and what it waits for."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.responses import HTMLResponse

from districam_api import docs, problems
from districam_api.clips import Places
from districam_api.footage import Footage
from districam_api.measure import Measured
from districam_api.media import Links
from districam_api.routes import Doors, router
from districam_api.settings import ApiBlock, ApiSettings
from districam_api.stills import Decoders
from districam_common.blobs import Blobs
from districam_common.errors import Retriable
from districam_common.index_reader import IndexReader
from districam_common.service import Runtime, retrying
from districam_common.settings import SettingsError, variable

log = structlog.get_logger()

DEPENDENCIES = ("redis", "s3")
WATCH_S = 5.0
GRACE_S = 5
"""How long a stopping server waits for answers under way."""


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return problems.described(super().openapi())


def create_app(doors: Doors) -> FastAPI:
    """The application; `doors` are its only state."""
    app = _Application(
        title="districam",
        version=version("districam-api"),
        description="Questions about footage: what is stored, what is missing and why, and the footage itself.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.doors = doors
    app.include_router(router)
    app.add_middleware(Measured, clock=doors.clock)
    problems.install(app)

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
    links = await asyncio.to_thread(Links, settings.api.token_key_file)
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
            app = create_app(Doors(footage, blobs, links, places, decoders, runtime.clock, zone))
            tasks.create_task(_watch(runtime, "redis", index.ping))
            tasks.create_task(_watch(runtime, "s3", lambda: blobs.check_site(settings.site)))
            tasks.create_task(_keep(links, runtime.stopping))
            await _serve(app, sock, runtime.stopping)


async def _serve(app: FastAPI, sock: socket.socket, stopping: asyncio.Event) -> None:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    server = _Server(config)
    host, port = sock.getsockname()[:2]
    log.info("listening", host=host, port=port)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[sock]))
        stop = tasks.create_task(stopping.wait())
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.cancel()


async def _watch(runtime: Runtime, name: str, check: Callable[[], Awaitable[None]]) -> None:
    """Tells Health of a dependency."""
    with contextlib.suppress(Retriable):  # stopping, and Health has been told
        while True:
            await retrying(check, runtime, name)
            if await _stops(runtime.stopping):
                return


async def _keep(links: Links, stopping: asyncio.Event) -> None:
    """Takes up a token key that has changed."""
    while not await _stops(stopping):
        await asyncio.to_thread(links.reread)


async def _stops(stopping: asyncio.Event) -> bool:
    """Whether stopping was asked for within the watch's interval."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WATCH_S):
            await stopping.wait()
    return stopping.is_set()
