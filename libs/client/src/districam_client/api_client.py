"""HTTP client of the api: waits while it is not ready, and turns problems (RFC 9457) into errors with advice."""

import ssl
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import httpx

from districam_client.errors import ClipWindow, CommandError, Forbidden, NotFound, ParametersChanged, UsageError
from districam_client.settings import VARIABLES, Settings

Json = dict[str, Any]

_RETRY_S = 5.0
_MAX_GAP_LINES = 20
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""The read timeout is between two reads. A long clip's first byte takes a second; a busy store may need more."""


@dataclass(slots=True)
class ApiClient:
    """The api. `wait_s`: total time to wait while it is not ready (503); `notify` is called before each wait."""

    client: httpx.Client
    wait_s: float
    notify: Callable[[str], None]
    _waited_s: float = field(default=0.0, init=False)

    def get_json(self, path: str, params: Mapping[str, str]) -> Json:
        """The response's JSON object.

        Raises:
            CommandError: as `stream`, or the response is not a JSON object.
        """
        with self.stream(path, params) as answer:
            answer.read()
            return _object(answer)

    @contextmanager
    def stream(self, path: str, params: Mapping[str, str]) -> Generator[httpx.Response]:
        """A response of status 200 whose body is still to be read.

        Raises:
            CommandError: it is refused, the api is unreachable or not ready for too long, or the transfer breaks off.
        """
        try:
            while True:
                with self.client.stream("GET", path, params=dict(params)) as answer:
                    if answer.status_code == 200:
                        yield answer
                        return
                    answer.read()
                    after_s = _retry_after_s(answer)
                self._wait(answer, after_s)
        except httpx.ConnectError as error:
            raise CommandError(
                f"{self.client.base_url} cannot be reached ({error}); set the api's address with --url or {VARIABLES['url']}"
            ) from error
        except httpx.HTTPError as error:
            raise CommandError(f"the connection to the api failed: {error or type(error).__name__}") from error

    def _wait(self, answer: httpx.Response, after_s: float | None) -> None:
        """Sleeps before a retry.

        Raises:
            CommandError: a retry makes no sense, or `wait_s` is used up.
        """
        problem = _problem(answer)
        if after_s is None:
            raise _to_error(answer.status_code, problem)
        if self._waited_s + after_s > self.wait_s:
            raise CommandError(
                f"{_format_problem(problem)}; waited {self._waited_s:.0f} s; --wait SECONDS waits longer"
            )
        self.notify(f"{_format_problem(problem)}; retrying in {after_s:.0f} s")
        time.sleep(after_s)
        self._waited_s += after_s


@contextmanager
def open_client(settings: Settings, *, wait_s: float, notify: Callable[[str], None]) -> Generator[ApiClient]:
    """The client for the length of a block. The key is sent to this address only: redirects are not followed."""
    headers = {"Accept-Encoding": "identity"}
    if settings.key:
        headers["Authorization"] = f"Bearer {settings.key}"
    verify = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
    with httpx.Client(base_url=settings.url, headers=headers, timeout=_TIMEOUT, verify=verify) as client:
        yield ApiClient(client, wait_s, notify)


def camera_path(camera_id: str, what: str) -> str:
    """The path of a camera's resource."""
    return f"/v1/cameras/{quote(camera_id, safe='')}/{what}"


def _retry_after_s(answer: httpx.Response) -> float | None:
    """How long to wait before a retry; None: do not retry."""
    if answer.status_code != 503:
        return None
    text = answer.headers.get("retry-after", "")
    return max(0.1, float(text)) if text.isdecimal() else _RETRY_S


def _problem(answer: httpx.Response) -> Json:
    """The problem. Another content type means that something else answers at that address."""
    if answer.headers.get("content-type", "").partition(";")[0] != "application/problem+json":
        return {"detail": f"{answer.url.copy_with(query=None)} answered {answer.status_code}: is it districam's api?"}
    return _object(answer)


def _object(answer: httpx.Response) -> Json:
    try:
        found = answer.json()
    except ValueError as error:
        raise CommandError(f"{answer.url.copy_with(query=None)} did not answer JSON: is it districam's api?") from error
    if not isinstance(found, dict):
        raise CommandError(f"{answer.url.copy_with(query=None)} did not answer a JSON object: is it districam's api?")
    return cast("Json", found)


def _format_problem(problem: Json) -> str:
    progress = problem.get("progress")
    return f"{problem.get('detail', 'refused')}{f' (progress: {progress})' if progress else ''}"


def _to_error(status: int, problem: Json) -> CommandError:
    detail = _format_problem(problem)
    match status:
        case 401 | 429:
            return Forbidden(
                f"{detail}. The api requires a key: put it into a file that only you can read, and pass that with "
                f"--key-file or {VARIABLES['key_file']}"
            )
        case 403:
            return Forbidden(f"{detail}. This key lacks the permission")
        case 404:
            return NotFound("\n".join([detail, *_format_gaps(problem.get("states", []))]))
        case 409:
            return ParametersChanged(detail, [_parse_window(one) for one in problem.get("windows", [])])
        case 422:
            return UsageError(detail)
        case _:
            return CommandError(f"{detail} ({status})")


def _format_gaps(states: Iterable[Json]) -> list[str]:
    """One line for each state that is not stored."""
    lines = [
        f"  {one['from_local']} to {one['to_local']}: {_state(one)}" for one in states if one["state"] != "recorded"
    ]
    more = len(lines) - _MAX_GAP_LINES
    return [*lines[:_MAX_GAP_LINES], *([f"  … and {more} more"] if more > 0 else [])]


def _state(one: Json) -> str:
    return ", ".join(str(one[name]) for name in ("state", "cause", "detail") if one.get(name))


def _parse_window(one: Json) -> ClipWindow:
    return ClipWindow(one["from"], one["to"], one["from_local"], one["to_local"])
