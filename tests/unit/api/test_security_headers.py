"""Security headers of every response, errors included."""

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
import structlog.testing

from districam_api import keyring
from districam_api.keyring import KeyRing
from support.api_without_dependencies import JSON, VIEWER_KEY, VIEWER_KEY_TEXT, application, make_client

pytestmark = pytest.mark.hostile

PATHS = {
    "/": 200, "/page/main.js": 200, "/page/nothing": 404, "/docs": 200, "/openapi.json": 200, "/v1/session": 200,
    "/v1/nothing": 404, "/v1/new": 200, "/v1/broken": 500, "/v1/session?x=1": 422, "/v1/login": 405,
}  # fmt: skip
WALL = "https://wall.example"


@pytest.fixture(autouse=True)
def kept_logs() -> Generator[None]:
    """Tracebacks of deliberate failures are not rendered: one with all locals takes seconds."""
    with structlog.testing.capture_logs():
        yield


def client(folder: Path, key: str = VIEWER_KEY_TEXT, **settings: object) -> httpx.AsyncClient:
    keyring.write(folder / "keys.json", [VIEWER_KEY])
    return make_client(application(KeyRing(folder / "keys.json"), **settings), key)


async def test_every_response_has_the_security_headers(tmp_path: Path):
    async with client(tmp_path) as http:
        answers = {path: await http.get(path) for path in PATHS}
        answers["a body without its length"] = await http.post(
            "/v1/login", headers={**JSON, "Transfer-Encoding": "chunked"}
        )
        answers["HEAD"] = await http.head("/v1/session")
    assert {path: answers[path].status_code for path in PATHS} == PATHS
    for path, answer in answers.items():
        headers = answer.headers
        assert headers.get("x-content-type-options", "") == "nosniff", path
        assert "frame-ancestors 'none'" in headers.get("content-security-policy", ""), path
        assert "unsafe-eval" not in headers.get("content-security-policy", ""), path
        assert headers.get("x-frame-options", "") == "DENY", path
        assert headers.get("cross-origin-opener-policy", "") == "same-origin", path
        assert headers.get("cross-origin-resource-policy", "") == "same-origin", path
        assert headers.get("referrer-policy", "") == "no-referrer", path
        assert "strict-transport-security" not in headers, path
        assert len(headers.get_list("cache-control")) == len(headers.get_list("content-security-policy")) == 1, path


async def test_camera_responses_are_not_stored(tmp_path: Path):
    async with client(tmp_path) as http:
        for path in ("/v1/session", "/v1/new", "/openapi.json", "/docs", "/v1/nothing", "/v1/broken"):
            assert (await http.get(path)).headers.get("cache-control", "") == "no-store", path
        assert (await http.get("/page/main.js")).headers.get("cache-control", "") == "no-cache"


async def test_only_the_page_may_run_scripts(tmp_path: Path):
    async with client(tmp_path) as http:
        for path in ("/docs", "/openapi.json", "/v1/new", "/v1/broken"):
            policy = (await http.get(path)).headers.get("content-security-policy", "")
            assert policy.startswith("default-src 'none';"), path
            assert "script-src" not in policy, path
        page = (await http.get("/")).headers.get("content-security-policy", "")
        assert "require-trusted-types-for 'script'" in page
        assert "unsafe-inline" not in page


async def test_over_https_hsts_is_set(tmp_path: Path):
    async with client(tmp_path, public_scheme="https") as http:
        for path in PATHS:
            assert (await http.get(path)).headers.get("strict-transport-security", "") == "max-age=31536000", path


async def test_an_allowed_origin_may_read_playlists_and_media_only(tmp_path: Path):
    shared = {"/v1/media/x": "cross-origin", "/v1/cameras/x/playlist.m3u8": "cross-origin", "/v1/new": "same-origin"}
    for origins in ([], [WALL]):
        async with client(tmp_path, key="", allowed_origins=origins) as http:
            for path, expected in shared.items():
                found = (await http.get(path)).headers.get("cross-origin-resource-policy", "")
                assert found == (expected if origins else "same-origin"), path


@pytest.mark.parametrize("path", ["/v1/cameras/", "/v1/session/", "/docs/", "/v1/cameras/x/"])
async def test_no_response_redirects_to_a_location_from_the_request(tmp_path: Path, path: str):
    for key in ("", VIEWER_KEY_TEXT):
        async with client(tmp_path, key) as http:
            answer = await http.get(path, headers={"Host": "evil.example"})
        assert answer.status_code in (401, 404)
        assert "location" not in answer.headers
        assert "evil" not in answer.text
