"""Logins: what ends them, and the cookie's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog.testing
from fastapi import FastAPI, Request

from districam_api import keyring
from districam_api.core.keys import Caller
from districam_api.core.rate_limits import LOGIN_LIMIT
from districam_api.core.revoked_logins import RevokedLogins
from districam_api.keyring import KeyRing
from districam_api.logins import run_login_sync
from districam_common.errors import Retriable
from districam_common.index.ended_logins import EndedLogins
from districam_common.runtime.service import Runtime
from support.api_without_dependencies import (
    OPERATOR_KEY,
    OPERATOR_KEY_TEXT,
    VIEWER_KEY,
    VIEWER_KEY_TEXT,
    application,
    make_client,
)

if TYPE_CHECKING:
    from districam_api.access import Authenticator

pytestmark = pytest.mark.hostile

PLAIN, SECURE = "districam_session", "__Host-districam_session"
OBJECT = "cam-1/2026-11-24/14/47-00.000000Z.01900000-0000-7000-8000-000000000001.0-9.10000000.700.01.mp4"


def served(folder: Path, **settings: object) -> FastAPI:
    keyring.write(folder / "keys.json", [VIEWER_KEY, OPERATOR_KEY])
    return application(KeyRing(folder / "keys.json"), **settings)


async def logged_in(app: FastAPI, text: str = VIEWER_KEY_TEXT) -> dict[str, str]:
    """The Cookie header of a new login."""
    async with make_client(app) as http:
        answer = await http.post("/v1/login", json={"key": text})
    assert answer.status_code == 200
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def test_a_logout_revokes_only_its_own_login(tmp_path: Path):
    app = served(tmp_path)
    first, second = await logged_in(app), await logged_in(app)
    assert first != second
    async with make_client(app) as http:
        out = await http.post("/v1/logout", headers=first)
        assert out.status_code == 204
        assert out.headers["clear-site-data"] == '"cache"'
        assert (await http.get("/v1/session", headers=first)).status_code == 401
        assert (await http.get("/v1/session", headers=second)).status_code == 200
        assert (
            await http.get("/v1/session", headers={"Authorization": f"Bearer {VIEWER_KEY_TEXT}"})
        ).status_code == 200


async def test_a_logout_with_a_bearer_key_revokes_nothing(tmp_path: Path):
    app = served(tmp_path)
    login = await logged_in(app)
    async with make_client(app, VIEWER_KEY_TEXT) as http:
        assert (await http.post("/v1/logout")).status_code == 204
    async with make_client(app) as http:
        assert (await http.get("/v1/session", headers=login)).status_code == 200


async def test_media_urls_of_a_login_are_invalid_after_logout(tmp_path: Path):
    app = served(tmp_path)
    login = await logged_in(app)
    access: Authenticator = app.state.authenticator
    token = login["Cookie"].partition("=")[2]
    checked = access.token_signer.verify_session(token, access.clock.now_us())
    async with make_client(app) as http:
        with structlog.testing.capture_logs():  # the application has no store
            (url,) = access.token_signer.sign_media_urls([OBJECT], _caller(app, login), access.clock.now_us())
            assert (await http.get(url)).status_code != 403
        assert access.is_active(checked)
        await http.post("/v1/logout", headers=login)
        assert (await http.get(url)).status_code == 403


def _caller(app: FastAPI, login: dict[str, str]) -> Caller:
    """The session of that login."""
    access: Authenticator = app.state.authenticator
    scope = {"type": "http", "headers": [(b"cookie", login["Cookie"].encode())], "method": "GET", "path": "/"}
    return access.authenticate(Request(scope))


async def test_over_https_the_cookie_has_the_host_prefix(tmp_path: Path):
    app = served(tmp_path, public_scheme="https")
    login = await logged_in(app)
    name, _, token = login["Cookie"].partition("=")
    assert name == SECURE
    async with make_client(app) as http:
        answer = await http.post("/v1/login", json={"key": VIEWER_KEY_TEXT})
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"secure", "path=/", "httponly", "samesite=strict"} < attributes
        assert not any(one.startswith("domain") for one in attributes)
        http.cookies.clear()
        assert (await http.get("/v1/session", headers=login)).status_code == 200
        assert (await http.get("/v1/session", headers={"Cookie": f"{PLAIN}={token}"})).status_code == 401
    async with make_client(served(tmp_path)) as http:
        assert (
            (await http.post("/v1/login", json={"key": VIEWER_KEY_TEXT})).headers["set-cookie"].startswith(f"{PLAIN}=")
        )


async def test_logins_with_one_key_are_rate_limited(tmp_path: Path):
    app = served(tmp_path)
    for _ in range(LOGIN_LIMIT.burst):
        await logged_in(app)
    async with make_client(app) as http:
        answer = await http.post("/v1/login", json={"key": VIEWER_KEY_TEXT})
        assert (answer.status_code, "set-cookie" in answer.headers) == (429, False)
        assert 1 <= int(answer.headers["retry-after"]) <= 10
    await logged_in(app, OPERATOR_KEY_TEXT)


async def test_before_the_first_sync_logins_are_not_accepted_but_keys_are(tmp_path: Path):
    app = served(tmp_path)
    login = await logged_in(app)
    access: Authenticator = app.state.authenticator
    access.revoked_logins.is_synced = False
    async with make_client(app) as http:
        answer = await http.get("/v1/session", headers=login)
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5")
    async with make_client(app, VIEWER_KEY_TEXT) as http:
        assert (await http.get("/v1/session")).status_code == 200


class UnavailableLogins(EndedLogins):
    """Redis that is unavailable for the first attempts."""

    def __init__(self, runtime: Runtime, tries: int) -> None:
        self.runtime, self.tries, self.published = runtime, tries, dict[str, int]()

    async def read_all(self) -> dict[str, int]:
        self.tries -= 1
        if self.tries > 0:
            raise Retriable("away")
        return dict(self.published)

    async def add(self, ended: Mapping[str, int], now_us: int) -> None:
        assert now_us
        self.published |= ended
        self.runtime.stopping.set()


async def test_logins_revoked_while_redis_was_unavailable_are_published_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("districam_api.logins.SYNC_INTERVAL_S", 0.01)
    runtime, ended = Runtime("api"), RevokedLogins()
    ended.revoke("0011223344556677", 1 << 62)
    store = UnavailableLogins(runtime, 5)
    with structlog.testing.capture_logs() as lines:
        await run_login_sync(ended, store, runtime)
    assert store.published == {"0011223344556677": 1 << 62}
    assert [line["event"] for line in lines] == ["revoked logins not synchronised with other replicas"]
