"""Access is denied by default: every route but the public ones requires a key."""

import asyncio
import re
from pathlib import Path

import pytest
import structlog.testing
from fastapi import FastAPI

from districam_api import keyring
from districam_api.body_limit import MAX_BODY_BYTES
from districam_api.keyring import KeyRing
from support.api_without_dependencies import (
    JSON,
    OPERATOR_KEY,
    OPERATOR_KEY_TEXT,
    VIEWER_KEY,
    VIEWER_KEY_TEXT,
    application,
    make_client,
)


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    keyring.write(tmp_path / "keys.json", [VIEWER_KEY, OPERATOR_KEY])
    return application(KeyRing(tmp_path / "keys.json"))


async def test_a_new_route_requires_a_key_by_default(app: FastAPI):
    async with make_client(app) as http:
        answers = [await http.get("/v1/new"), await http.post("/v1/held", content=b"{}", headers=JSON)]
        assert [answer.status_code for answer in answers] == [401, 401]
        assert [answer.headers["www-authenticate"] for answer in answers] == ["Bearer", "Bearer"]
        assert (await http.get("/v1/new", params={"token": "x"})).status_code == 401


async def test_every_documented_route_but_the_public_ones_requires_a_key(app: FastAPI):
    async with make_client(app) as http:
        for path, methods in app.openapi()["paths"].items():
            for method in methods:
                answer = await http.request(
                    method, re.sub(r"{.*?}", "x", path),
                    content=b'{"key": "x"}' if method == "post" else b"",
                    headers=JSON if method == "post" else {},
                )  # fmt: skip
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_viewers_key_is_refused_on_operator_routes(app: FastAPI):
    for text, key, status in ((VIEWER_KEY_TEXT, VIEWER_KEY, 403), (OPERATOR_KEY_TEXT, OPERATOR_KEY, 200)):
        async with make_client(app, text) as http:
            assert (await http.get("/v1/new")).json() == key.id
            answer = await http.post("/v1/held", content=b"{}", headers=JSON)
            assert answer.status_code == status
            assert (status == 200) == (answer.json() == key.id)
            if status == 403:
                assert "role operator" in answer.json()["detail"]


async def test_without_keys_a_loopback_caller_is_an_operator():
    async with make_client(application(None)) as http:
        assert (await http.get("/v1/new")).json() == "-"
        assert (await http.post("/v1/held", content=b"{}", headers=JSON)).status_code == 200
        assert (await http.get("/v1/new", headers={"Host": "evil.example"})).status_code == 403


async def test_bodies_without_a_length_or_over_the_limit_are_refused(app: FastAPI):
    async with make_client(app, OPERATOR_KEY_TEXT) as http:
        for length, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
            answer = await http.post("/v1/held", content=b" " * length, headers=JSON)
            assert answer.status_code == status
            assert "connection" not in answer.headers, "the end of the body is known"
        answer = await http.post("/v1/held", headers={**JSON, "Transfer-Encoding": "chunked"})
        assert answer.status_code == 411
        assert answer.headers["connection"] == "close", "the end of the body is not known"


@pytest.mark.hostile
async def test_the_log_line_of_a_refused_key_truncates_the_path(app: FastAPI):
    with structlog.testing.capture_logs() as lines:
        async with make_client(app, "dc_wrong") as http:
            assert (await http.get("/v1/cameras/" + "a" * 10_000)).status_code == 401
    (line,) = [line for line in lines if line["event"] == "API key refused"]
    assert line["path"] == ("/v1/cameras/" + "a" * 10_000)[:200]


# ---- clients of proxies

BEHIND = {"trusted_proxies": ["10.0.3.0/24"], "connections_per_address": 2}
PROXY = "10.0.3.7"


@pytest.fixture
def proxied_app(tmp_path: Path) -> FastAPI:
    keyring.write(tmp_path / "keys.json", [VIEWER_KEY, OPERATOR_KEY])
    return application(KeyRing(tmp_path / "keys.json"), **BEHIND)


@pytest.mark.hostile
async def test_behind_a_proxy_each_client_has_its_own_address(proxied_app: FastAPI):
    for peer, header_value, expected in (
        (PROXY, "203.0.113.9", "203.0.113.9"),
        (PROXY, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.4.1", "203.0.113.9", "10.0.4.1"),
        (PROXY, "", PROXY),
    ):
        async with make_client(proxied_app, VIEWER_KEY_TEXT, peer, header_value) as http:
            assert (await http.get("/v1/address")).json() == expected


@pytest.mark.hostile
async def test_wrong_keys_of_one_client_do_not_limit_others_behind_the_same_proxy(proxied_app: FastAPI):
    async with make_client(proxied_app, "dc_wrong", PROXY, "203.0.113.9") as http:
        statuses = [(await http.get("/v1/new")).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    with structlog.testing.capture_logs() as lines:
        async with make_client(proxied_app, "dc_wrong", PROXY, "203.0.113.10") as http:
            assert (await http.get("/v1/new")).status_code == 401
    assert [line["address"] for line in lines if line["event"] == "API key refused"] == ["203.0.113.10"]


@pytest.mark.hostile
async def test_concurrent_requests_through_a_proxy_are_limited_per_client(proxied_app: FastAPI):
    async with make_client(proxied_app, VIEWER_KEY_TEXT, PROXY, "203.0.113.9") as http:
        answers = await asyncio.gather(*[http.get("/v1/waits") for _ in range(3)])
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
        assert (await http.get("/v1/waits")).status_code == 200, "their slots are free"
    others = [make_client(proxied_app, VIEWER_KEY_TEXT, PROXY, f"203.0.113.{n}") for n in range(20, 25)]
    answers = await asyncio.gather(*[http.get("/v1/waits") for http in others])
    assert [answer.status_code for answer in answers] == [200] * 5
    for http in others:
        await http.aclose()


@pytest.mark.hostile
async def test_without_keys_proxied_requests_are_refused():
    """Through a proxy on the same machine every client would be an operator."""
    for header in ("X-Forwarded-For", "Forwarded", "Via"):
        async with make_client(application(None)) as http:
            answer = await http.get("/v1/new", headers={header: "for=203.0.113.9"})
            assert answer.status_code == 403, header
