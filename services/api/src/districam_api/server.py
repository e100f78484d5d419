"""The api's listening socket, who is let in through it, and uvicorn behind it."""

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
from districam_api.connections import Connection, Connections, Limits, turned_away, watched
from districam_api.protocol import Protocol
from districam_api.settings import ApiSettings
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import SettingsError, variable

log = structlog.get_logger()

WATCH_S = 5.0
HEAD_MOST = 16 << 10
"""Bytes of a request's line and headers. Paths, cursors, cookies and tokens of ours come to less than 2 KiB."""
GRACE_S = 5
"""How long a stopping server waits for answers under way."""
IDLE_S = 5
"""How long a connection is kept between an answer and the next request."""
BACKLOG = 2048
PAUSE_S = 0.2
"""Before the next try to accept, where the last one failed: what it lacked is not there a moment later."""
OTHER_FILES = 128
"""Open files that are not a client's: Redis, the store, health, children, keys, logs."""
FILES_EACH = 2
"""A client's own, and a connection to the store for what is being sent to it."""
FEWEST = 16


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
            f"{variable('api', 'port')}: cannot serve on {api.host}:{api.port} ({error.strerror or error}); "
            f"choose another port, or 0 for a free one"
        ) from error
    sock.setblocking(False)  # noqa: FBT003  # the standard library's own argument
    return sock


def limits(api: ApiSettings) -> Limits:
    """How many connections there may be: as the settings say, and no more than files may be opened.

    Without room for one more file no connection can be accepted, nor health be asked. The soft limit is raised first.

    Raises:
        SettingsError: there is room for hardly any.
    """
    wanted = OTHER_FILES + FILES_EACH * api.connections + api.upgraded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Limits(api.connections, api.connections_per_address, api.upgraded)
    most = (soft - OTHER_FILES) // (FILES_EACH + 1)
    if most < FEWEST:
        raise SettingsError(
            f"this process may open {soft} files, which leaves room for {max(most, 0)} connections; "
            f"allow it {wanted} (`ulimit -n`, LimitNOFILE= of systemd, `ulimits: nofile` of compose)"
        )
    log.warning("fewer connections than asked for", connections=most, open_files=soft, wanted_files=wanted)
    return Limits(min(most, api.connections), api.connections_per_address, min(most, api.upgraded))


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to the service, and accepting to `_accept`."""

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
    """Answers at `sock` until the runtime is asked to stop."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False, proxy_headers=False, ws="none",
        timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=IDLE_S, h11_max_incomplete_event_size=HEAD_MOST,
        ssl_certfile=api.tls_cert_file, ssl_keyfile=api.tls_key_file,
    )  # fmt: skip
    certificate = (
        Certificate(api.tls_cert_file, api.tls_key_file) if api.tls_cert_file and api.tls_key_file else None
    )
    config.load()
    logging.getLogger("uvicorn.error").setLevel(
        logging.ERROR
    )  # else each bad request of anybody is a line in the log
    server = _Server(config)
    host, port = sock.getsockname()[:2]
    gc.collect()
    gc.freeze()  # a hundred thousand objects of libraries that stay: each full collection would look at them all
    log.info("listening", host=host, port=port, tls=config.is_ssl, keys=api.keys_file is not None)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve())
        stop = tasks.create_task(runtime.stopping.wait())
        beside = [
            tasks.create_task(_renew(certificate, config.ssl, runtime)),
            tasks.create_task(watched(connections)),
        ]
        accepting = tasks.create_task(accept(sock, _Handler(server, config, connections)))
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        await asyncio.wait([accepting])
        sock.close()
        server.should_exit = True
        stop.cancel()
        await serving
        for task in beside:
            task.cancel()


class _Handler:
    """Hands accepted connections over to uvicorn."""

    def __init__(self, server: uvicorn.Server, config: uvicorn.Config, connections: Connections) -> None:
        self._server = server
        self._config = config
        self.connections = connections

    @property
    def is_plain(self) -> bool:
        return self._config.ssl is None

    async def take(self, connection: socket.socket, one: Connection) -> None:
        """Makes the transport, after the TLS handshake if there is one, with uvicorn's protocol on it; or closes the connection."""
        context: ssl.SSLContext | None = self._config.ssl
        patience_s = self.connections.patience.request_us / 1e6
        timeouts = (
            {"ssl_handshake_timeout": patience_s, "ssl_shutdown_timeout": patience_s} if context else {}
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Protocol(self.connections, one, self._config, self._server.server_state),
                connection, ssl=context, **timeouts,
            )  # fmt: skip
        except (
            OSError,
            RuntimeError,
        ) as error:  # ssl.SSLError is an OSError; RuntimeError says uvloop of a closed one
            self.connections.leave(one)
            connection.close()
            if isinstance(error, ConnectionAbortedError):
                self.connections.ended("handshake", one.address)


async def accept(sock: socket.socket, handler: _Handler) -> None:
    """Lets in whoever comes and finds room, until it is cancelled. Nothing that befalls one costs the others."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                connection, (address, *_) = await loop.sock_accept(sock)
            except OSError as error:
                log.warning("not accepted", why=error.strerror or str(error))
                await asyncio.sleep(PAUSE_S)
                continue
            one = handler.connections.enter(address)
            if one is None:
                turned_away(connection, is_plain=handler.is_plain)
            else:
                tasks.create_task(handler.take(connection, one))


async def _renew(certificate: Certificate | None, context: ssl.SSLContext | None, runtime: Runtime) -> None:
    while certificate and context and not await runtime.stops_within(WATCH_S):
        await certificate.reread(context)
