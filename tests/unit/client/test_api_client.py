"""Error messages for the api's problems, and retries while it is not ready."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from districam_client.api_client import ApiClient
from districam_client.errors import CommandError, Forbidden, NotFound, ParametersChanged, UsageError

PROBLEM = "application/problem+json"


def make_client(answers: list[httpx.Response], wait_s: float = 60, notices: list[str] | None = None) -> ApiClient:
    """An api that gives these responses in turn."""
    given = iter(answers)
    transport = httpx.MockTransport(lambda _: next(given))
    client = httpx.Client(transport=transport, base_url="http://api")
    return ApiClient(client, wait_s, (notices if notices is not None else []).append)


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"type": "about:blank", "status": status, "detail": detail, **more}
    return httpx.Response(status, json=body, headers={"content-type": PROBLEM, **(headers or {})})


def ready() -> httpx.Response:
    return httpx.Response(200, json={"tz": "UTC"})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("districam_client.api_client.time.sleep", found.append)
    return found


@pytest.mark.parametrize(
    ("answer", "kind", "code", "message"),
    [
        (problem(401, "a key is needed"), Forbidden, 3, "--key-file"),
        (problem(429, "too many wrong keys"), Forbidden, 3, "--key-file"),
        (problem(403, "role viewer"), Forbidden, 3, "lacks the permission"),
        (problem(404, "there is no camera 'x'"), NotFound, 1, "there is no camera 'x'"),
        (problem(422, "to: must be later than from"), UsageError, 2, "to: must be later than from"),
        (problem(500, "the api failed"), CommandError, 1, "the api failed (500)"),
        (httpx.Response(502, text="<html>"), CommandError, 1, "is it districam's api?"),
        (httpx.Response(200, text="<html>"), CommandError, 1, "is it districam's api?"),
        (httpx.Response(200, json=[]), CommandError, 1, "is it districam's api?"),
    ],
)
def test_each_error_status_has_its_advice_and_exit_code(
    answer: httpx.Response, kind: type[CommandError], code: int, message: str
):
    with pytest.raises(kind) as ended:
        make_client([answer]).get_json("/v1/cameras", {})
    assert message in str(ended.value)
    assert ended.value.code == code


def test_missing_footage_is_reported_with_its_causes():
    states = [
        {"state": "gap", "from_local": f"a{n}", "to_local": f"b{n}", "cause": "auth_failed", "detail": "401"}
        for n in range(25)
    ]
    with pytest.raises(NotFound) as ended:
        make_client([problem(404, "nothing is stored", states=states)]).get_json("/", {})
    lines = str(ended.value).splitlines()
    assert lines[:2] == ["nothing is stored", "  a0 to b0: gap, auth_failed, 401"]
    assert len(lines) == 22
    assert lines[-1].endswith("and 5 more")


def test_windows_of_changed_codec_parameters_are_passed_on():
    windows = [{"from": "f", "to": "t", "from_local": "fl", "to_local": "tl"}]
    with pytest.raises(ParametersChanged) as ended:
        make_client([problem(409, "changed", windows=windows)]).get_json("/", {})
    assert [(p.from_, p.to, p.from_local, p.to_local) for p in ended.value.windows] == [("f", "t", "fl", "tl")]


def test_requests_are_retried_while_the_api_is_not_ready(slept: list[float]):
    notices: list[str] = []
    busy = problem(503, "the index is being built", {"retry-after": "7"}, progress={"objects": 12})
    silent = problem(503, "away")
    assert make_client([busy, silent, ready()], notices=notices).get_json("/", {}) == {"tz": "UTC"}
    assert slept == [7.0, 5.0]
    assert "objects" in notices[0]
    assert "retrying in 7 s" in notices[0]


def test_retries_end_after_the_wait_time(slept: list[float]):
    answers = [problem(503, "away", {"retry-after": "5"}) for _ in range(9)]
    with pytest.raises(CommandError, match=r"away; waited 10 s; --wait SECONDS waits longer"):
        make_client(answers, wait_s=12).get_json("/", {})
    assert slept == [5.0, 5.0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectError, "cannot be reached"),
        (httpx.ReadTimeout, "connection to the api failed"),
        (httpx.RemoteProtocolError, "connection to the api failed"),
    ],
)
def test_an_unreachable_api_is_reported(error: Callable[[str], Exception], message: str):
    def fails(_: httpx.Request) -> httpx.Response:
        raise error("why")

    client = httpx.Client(transport=httpx.MockTransport(fails), base_url="http://api")
    with pytest.raises(CommandError, match=message) as ended:
        ApiClient(client, 0, lambda _: None).get_json("/", {})
    assert "why" in str(ended.value)
