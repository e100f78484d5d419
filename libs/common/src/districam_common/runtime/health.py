"""Readiness of a service by its dependencies, and the HTTP server for /healthz, /readyz and /metrics."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from districam_common.runtime import metrics
from districam_common.runtime.settings import HealthSettings, SettingsError, variable_name

log = structlog.get_logger()

_REQUEST_TIMEOUT_S = 5.0
"""For reading the request, and for writing the response: clients that stall are disconnected."""
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Dependency:
    """State of a dependency. `detail`: why it is not ok; or, if it is, what is degraded (may be empty)."""

    ok: bool
    detail: str


class Health:
    """The dependencies of a service, reported by its loops. Each change of state is logged once."""

    def __init__(self) -> None:
        self._dependencies: dict[str, Dependency] = {}
        self._was_ready = False

    def declare(self, *names: str) -> None:
        """Declares dependencies; the service is not ready until each has been reported ok."""
        for name in names:
            self._dependencies.setdefault(name, Dependency(ok=False, detail="not reached yet"))

    def report_ok(self, name: str, detail: str = "") -> None:
        before = self._dependencies.get(name)
        now = Dependency(ok=True, detail=detail)
        if before == now:
            return
        self._dependencies[name] = now
        log.info("dependency ok", dependency=name, **({"detail": detail} if detail else {}))
        if self.is_ready and not self._was_ready:
            self._was_ready = True
            log.info("ready", dependencies=sorted(self._dependencies))

    def report_failing(self, name: str, why: str) -> None:
        before = self._dependencies.get(name)
        self._dependencies[name] = Dependency(ok=False, detail=why)
        if before is None or before.ok or before.detail != why:
            log.warning("dependency failing", dependency=name, why=why)

    @property
    def is_ready(self) -> bool:
        return all(dependency.ok for dependency in self._dependencies.values())

    def snapshot(self) -> dict[str, Dependency]:
        """The current state of each dependency."""
        return dict(self._dependencies)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes


def handle_request(method: str, path: str, accept: str, health: Health) -> Response:
    """The response of /healthz, /readyz or /metrics. /healthz is always 200: an answer proves that the loop runs."""
    if method not in {"GET", "HEAD"}:
        return Response(405, "text/plain; charset=utf-8", b"only GET\n")
    match path.partition("?")[0]:
        case "/healthz":
            return Response(200, "text/plain; charset=utf-8", b"ok\n")
        case "/readyz":
            return _readiness(health)
        case "/metrics":
            content_type, body = metrics.exposition(accept)
            return Response(200, content_type, body)
        case _:
            return Response(404, "text/plain; charset=utf-8", b"/healthz, /readyz or /metrics\n")


def _readiness(health: Health) -> Response:
    dependencies = {
        name: {"ok": dependency.ok, "detail": dependency.detail} for name, dependency in health.snapshot().items()
    }
    body = json.dumps({"ready": health.is_ready, "dependencies": dependencies}, ensure_ascii=False).encode()
    return Response(200 if health.is_ready else 503, "application/json", body + b"\n")


@asynccontextmanager
async def serve_health(settings: HealthSettings, health: Health) -> AsyncGenerator[int]:
    """Serves health for the duration of the block; yields the port.

    Raises:
        SettingsError: the address cannot be bound.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve_connection(reader, writer, health)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client disconnected or sent no complete request
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(handle, settings.host, settings.port)
    except OSError as error:
        name = variable_name("health", "port")
        raise SettingsError(
            f"{name}: cannot serve health on {settings.host}:{settings.port} ({error.strerror or error}); "
            f"choose another port, or 0 for a free one"
        ) from error
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health) -> None:
    """One request per connection (RFC 9112, `Connection: close`): probes and scrapes are seconds apart."""
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *fields = head.split("\r\n")
    words = request.split(" ")
    accept = next((field[7:].strip() for field in fields if field.lower().startswith("accept:")), "")
    if len(words) == 3:
        out = await _handle_request(words[0], words[1], accept, health)
    else:
        out = Response(400, "text/plain; charset=utf-8", b"not an HTTP request\n")
    head_out = (
        f"HTTP/1.1 {out.status} {_REASONS[out.status]}\r\nContent-Type: {out.content_type}\r\n"
        f"Content-Length: {len(out.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    writer.write(head_out.encode() + (b"" if words[0] == "HEAD" else out.body))
    async with asyncio.timeout(_REQUEST_TIMEOUT_S):
        await writer.drain()


async def _handle_request(method: str, path: str, accept: str, health: Health) -> Response:
    """Renders metrics in a thread: those of thousands of cameras take a second."""
    if path.startswith("/metrics"):
        return await asyncio.to_thread(handle_request, method, path, accept, health)
    return handle_request(method, path, accept, health)
