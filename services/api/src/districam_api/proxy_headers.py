"""The client's address as trusted proxies report it, and a limit of concurrent requests per client."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from districam_api.core.addresses import client_network
from districam_api.core.concurrency_limiter import ConcurrencyLimiter
from districam_api.core.forwarded import TrustedProxies
from districam_api.problems import problem_response

PROXY_HEADERS = ("forwarded", "x-forwarded-for", "via")
"""A request with one of these came through a proxy."""


class ProxyHeadersMiddleware:
    """ASGI middleware that sets the client's address from the headers of trusted proxies.

    A proxy's connections do not show how much one client asks for, so its concurrent requests are limited.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies, max_per_network: int) -> None:
        self._app = app
        self._proxies = proxies
        self._header = proxies.header.encode()
        self._limiter = ConcurrencyLimiter(1 << 30, max_per_network)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if scope["type"] != "http" or not peer or not self._proxies.is_trusted(peer[0]):
            await self._app(scope, receive, send)
            return
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == self._header]
        address = self._proxies.client_address(peer[0], values)
        network = None if self._proxies.is_trusted(address) else client_network(address)
        scope = {**scope, "client": (address, 0)}
        if self._limiter.acquire(network):
            why = "too many concurrent requests from this address (api.connections_per_address)"
            await problem_response(Request(scope), 429, why, headers={"Retry-After": "1"})(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._limiter.release(network)
