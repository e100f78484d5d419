"""Counts and times requests by route template."""

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from districam_common.runtime.clock import Clock

REQUESTS = Counter("districam_api_requests_total", "Requests answered", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "districam_api_request_seconds",
    "From the head of a request to the last byte of its response",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
CLOSED_CONNECTIONS = Counter(
    "districam_api_connections_ended_total", "Connections closed or refused by the api", ["cause"]
)
OPEN_CONNECTIONS = Gauge("districam_api_connections", "Open connections, by protocol", ["kind"])
NO_ROUTE = "-"


class MetricsMiddleware:
    """ASGI middleware that counts and times requests."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_us, status = self._clock.monotonic_us(), 500

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            REQUESTS.labels(route, str(status)).inc()
            REQUEST_SECONDS.labels(route).observe((self._clock.monotonic_us() - start_us) / 1e6)
