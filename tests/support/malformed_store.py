"""An S3 endpoint on loopback with arbitrary responses: HTML, truncated XML, missing bodies."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from districam_common.runtime.settings import S3Settings

BUCKET = "odd"


@dataclass(frozen=True, slots=True)
class S3Request:
    """A request: `key` without the bucket; query parameters, including those without a value."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class S3Response:
    """A response. `headers` override the default ones; an empty value removes one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


def xml(text: str, status: int = 200) -> S3Response:
    return S3Response(status, text.encode(), {"Content-Type": "application/xml"})


def error(code: str, status: int) -> S3Response:
    return xml(f"<Error><Code>{code}</Code><Message>because</Message></Error>", status)


HTML = S3Response(200, b"<!doctype html><html><body>Sign in<br></body></html>", {"Content-Type": "text/html"})
"""A captive portal or proxy that answers everything with 200."""


@contextmanager
def serving(answer: Callable[[S3Request], S3Response]) -> Generator[S3Settings]:
    """Yields the settings of a store that answers with `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            key = unquote(url.path).removeprefix(f"/{BUCKET}").removeprefix("/")
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            response = answer(
                S3Request(self.command, key, query, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            headers = {"Content-Length": str(len(response.body)), **response.headers}
            self.send_response_only(response.status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815  # names required by the base class

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # signature of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield S3Settings(
            endpoint=f"http://127.0.0.1:{server.server_address[1]}",
            access_key="k",
            secret_key=SecretStr("secret-key"),
            bucket=BUCKET,
            timeout_s=2.0,
        )
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
