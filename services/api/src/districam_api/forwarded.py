"""Who asks, as the proxies in front of the api say, and how much of that at once."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from districam_api.core.addresses import neighbourhood
from districam_api.core.crowd import Crowd
from districam_api.core.forwarded import Proxies
from districam_api.problems import problem

FROM_PROXIES = ("forwarded", "x-forwarded-for", "via")
"""Whoever reads one of these in a request does not talk with the one who asks."""


class Forwarded:
    """An ASGI application whose requests have the address of who asks, whoever brings them.

    Behind a proxy connections tell nothing of how much one client wants, so its requests under way are counted.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies, most_each: int) -> None:
        self._app = app
        self._proxies = proxies
        self._header = proxies.header.encode()
        self._under_way = Crowd(1 << 30, most_each)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if scope["type"] != "http" or not peer or not self._proxies.has(peer[0]):
            await self._app(scope, receive, send)
            return
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == self._header]
        address = self._proxies.client(peer[0], values)
        who = None if self._proxies.has(address) else neighbourhood(address)
        scope = {**scope, "client": (address, 0)}
        if self._under_way.enter(who):
            why = "as many requests of this address as may be are under way (api.connections_per_address)"
            await problem(Request(scope), 429, why, headers={"Retry-After": "1"})(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way.leave(who)
