"""The api's listening socket, admission of connections, and uvicorn."""

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import ssl
from collections.abc import Generator

import structlog
import uvicorn
from starlette.types import ASGIApp

from districam_api.certificate import Certificate
from districam_api.connections import Connection, ConnectionLimits, Connections, refuse_connection, run_deadline_checks
from districam_api.http_protocol import HttpProtocol
from districam_api.settings import ApiSettings
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import SettingsError, variable_name

log = structlog.get_logger()

CERTIFICATE_CHECK_INTERVAL_S = 5.0
MAX_HEAD_BYTES = 16 << 10
"""Maximum size of request line and headers. Our paths, cursors, cookies and tokens take less than 2 KiB."""
SHUTDOWN_GRACE_S = 5
"""How long a stopping server waits for responses in progress."""
KEEP_ALIVE_S = 5
"""How long an idle connection is kept after a response."""
BACKLOG = 2048
ACCEPT_RETRY_S = 0.2
"""Delay after a failed accept: the resource that it lacked is not back at once."""
RESERVED_FILES = 128
"""Open files other than clients': Redis, the store, health, child processes, keys, logs."""
FILES_PER_CONNECTION = 2
"""The client's socket, and a connection to the store for what is being sent."""
MIN_CONNECTIONS = 16


def listen(api: ApiSettings) -> socket.socket:
    """A socket bound to where the settings say.

    Raises:
        SettingsError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    try:
        sock = socket.create_server((api.host, api.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"{variable_name('api', 'port')}: cannot serve on {api.host}:{api.port} ({error.strerror or error}); "
            f"choose another port, or 0 for a free one"
        ) from error
    sock.setblocking(False)  # noqa: FBT003  # the standard library's own argument
    return sock


def connection_limits(api: ApiSettings) -> ConnectionLimits:
    """The limits of the settings, reduced to what RLIMIT_NOFILE allows; its soft limit is raised first.

    Without a free file descriptor no connection can be accepted, not even health's.

    Raises:
        SettingsError: fewer than MIN_CONNECTIONS would be left.
    """
    needed_files = RESERVED_FILES + FILES_PER_CONNECTION * api.connections + api.upgraded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed_files:
        soft = needed_files if hard == resource.RLIM_INFINITY else min(needed_files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed_files:
        return ConnectionLimits(api.connections, api.connections_per_address, api.upgraded)
    max_total = (soft - RESERVED_FILES) // (FILES_PER_CONNECTION + 1)
    if max_total < MIN_CONNECTIONS:
        raise SettingsError(
            f"this process may open {soft} files, which leaves room for {max(max_total, 0)} connections; "
            f"allow it {needed_files} (`ulimit -n`, LimitNOFILE= of systemd, `ulimits: nofile` of compose)"
        )
    log.warning(
        "RLIMIT_NOFILE allows fewer connections than configured",
        connections=max_total,
        open_files=soft,
        wanted_files=needed_files,
    )
    return ConnectionLimits(min(max_total, api.connections), api.connections_per_address, min(max_total, api.upgraded))


class _Server(uvicorn.Server):
    """uvicorn without signal handlers (the service has them) and without accepting (`accept` does)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        await self.lifespan.startup()
        self.servers = []
        self.started = True


async def serve(
    app: ASGIApp, sock: socket.socket, api: ApiSettings, connections: Connections, runtime: Runtime
) -> None:
    """Serves the application on `sock` until the runtime is asked to stop."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, proxy_headers=False, ws="none",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S, timeout_keep_alive=KEEP_ALIVE_S, h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ssl_certfile=api.tls_cert_file, ssl_keyfile=api.tls_key_file,
    )  # fmt: skip
    certificate = Certificate(api.tls_cert_file, api.tls_key_file) if api.tls_cert_file and api.tls_key_file else None
    config.load()
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else every malformed request is logged
    server = _Server(config)
    host, port = sock.getsockname()[:2]
    gc.collect()
    gc.freeze()  # 100,000 objects of libraries, which each full collection would traverse
    log.info("listening", host=host, port=port, tls=config.is_ssl, keys=api.keys_file is not None)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve())
        stop = tasks.create_task(runtime.stopping.wait())
        background = [
            tasks.create_task(_run_certificate_refresh(certificate, config.ssl, runtime)),
            tasks.create_task(run_deadline_checks(connections)),
        ]
        accepting = tasks.create_task(accept(sock, _ConnectionHandler(server, config, connections)))
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        await asyncio.wait([accepting])
        sock.close()
        server.should_exit = True
        stop.cancel()
        await serving
        for task in background:
            task.cancel()


class _ConnectionHandler:
    """Attaches uvicorn's protocol to accepted connections."""

    def __init__(self, server: uvicorn.Server, config: uvicorn.Config, connections: Connections) -> None:
        self._server = server
        self._config = config
        self.connections = connections

    @property
    def is_plain(self) -> bool:
        return self._config.ssl is None

    async def handle(self, connection: socket.socket, accepted: Connection) -> None:
        """Performs the TLS handshake, if any, and attaches the protocol; closes the connection if that fails."""
        context: ssl.SSLContext | None = self._config.ssl
        request_timeout_s = self.connections.deadlines.request_us / 1e6
        timeouts = (
            {"ssl_handshake_timeout": request_timeout_s, "ssl_shutdown_timeout": request_timeout_s} if context else {}
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: HttpProtocol(self.connections, accepted, self._config, self._server.server_state),
                connection, ssl=context, **timeouts,
            )  # fmt: skip
        except (
            OSError,
            RuntimeError,
        ) as error:  # ssl.SSLError is an OSError; uvloop raises RuntimeError for a closed socket
            self.connections.release(accepted)
            connection.close()
            if isinstance(error, ConnectionAbortedError):
                self.connections.record_closed("handshake", accepted.address)


async def accept(sock: socket.socket, handler: _ConnectionHandler) -> None:
    """Accepts connections up to the limits until it is cancelled. A failed one does not affect the others."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                connection, (address, *_) = await loop.sock_accept(sock)
            except OSError as error:
                log.warning("connection not accepted", why=error.strerror or str(error))
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            accepted = handler.connections.acquire(address)
            if accepted is None:
                refuse_connection(connection, is_plain=handler.is_plain)
            else:
                tasks.create_task(handler.handle(connection, accepted))


async def _run_certificate_refresh(
    certificate: Certificate | None, context: ssl.SSLContext | None, runtime: Runtime
) -> None:
    while certificate and context and not await runtime.wait_stopping(CERTIFICATE_CHECK_INTERVAL_S):
        await certificate.refresh(context)
