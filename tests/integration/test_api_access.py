"""Access control of a running api with a key file: keys, logins, tokens and origins."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import json
import re
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_api import keyring, schemas
from districam_api.core.keys import Key, create_key, revoke
from districam_api.core.tokens import format_bearer as bearer_of
from districam_api.core.tokens import sign
from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import Servers, valkey
from support import tls_servers
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.segment_objects import segments

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S
EPOCH = "01900000-0000-7000-8000-000000000001"
TOKEN_KEY = "k" * 40
LOGIN = "00112233445566aa"
MADE = segments("cam-1", EPOCH, START_US, count=5)
CAMERA = Camera(camera_id="cam-1", name="Cổng", url="rtsp://10.0.0.1/1", updated_us=START_US - 3600 * S)
WINDOW = {"from": format_rfc3339(START_US), "to": format_rfc3339(START_US + 10 * S)}
WALL = "https://wall.example"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Ring:
    """A key file and its keys."""

    file: Path

    def new(self, role: str = "viewer") -> tuple[Key, str]:
        """Adds a key."""
        assert role in ("viewer", "operator")
        found = keyring.read(self.file) if self.file.exists() else []
        n = len(found).to_bytes(4, "big")
        key, text = create_key(n, n * 8, name=f"key {len(found)}", role=role, now_us=NOW_US)
        keyring.write(self.file, [*found, key])
        return key, text

    def revoke(self, key: Key):
        keyring.write(self.file, revoke(keyring.read(self.file), key.id, NOW_US))


@dataclass(frozen=True, slots=True)
class World:
    """Servers and settings of the apis."""

    s3: S3Settings
    redis: valkey.Redis
    ring: Ring
    viewer: tuple[Key, str]
    operator: tuple[Key, str]

    @property
    def redis_url(self) -> str:
        return self.redis.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    home = tmp_path_factory.mktemp("api-access")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-access-{NOW_US}",
    )
    await create_stocked_bucket(s3, {"cam-1": MADE})
    ring = Ring(home / "keys.json")
    viewer, operator = ring.new("viewer"), ring.new("operator")
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, [CAMERA], {"cam-1": MADE}, watermark_us=NOW_US)
        yield World(s3, server, ring, viewer, operator)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api")
    (home / "token-key").write_text(TOKEN_KEY)
    async with api_running(
        world.s3, world.redis_url, home / "api.log",
        keys_file=world.ring.file, token_key_file=home / "token-key", allowed_origins=json.dumps([WALL]),
    ) as running:  # fmt: skip
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without a key."""
    async with httpx.AsyncClient(base_url=api.url, timeout=15) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    schemas.Problem.model_validate(response.json())
    return response.json()


def unknown(response: httpx.Response):
    """Asserts a response of 401."""
    problem(response, 401)
    assert response.headers["www-authenticate"].split(maxsplit=1)[0] == "Bearer"


async def until(http: httpx.AsyncClient, text: str, status: int):
    """Waits until the api has loaded the key file."""
    async with asyncio.timeout(5):
        while (await http.get("/v1/session", headers=bearer(text))).status_code != status:
            await asyncio.sleep(0.1)


# ---- routes that need a key


class Body(NamedTuple):
    content: bytes
    headers: dict[str, str]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        named = path.replace("{camera_id}", "cam-1").replace("{key}", MADE[0].key)
        for method in methods:
            yield method, re.sub(r"{.*?}", "x", named)


async def test_without_a_key_every_route_is_401(http: httpx.AsyncClient, world: World):
    unknown(await http.get("/openapi.json"))
    unknown(await http.get("/docs"))
    document = (await http.get("/openapi.json", headers=bearer(world.viewer[1]))).json()
    found = list(operations(document))
    assert len(found) > 12
    for method, path in found:
        sent = Body(b'{"key": "x"}', JSON) if method == "post" else Body(b"", {})
        for asked in (path, f"{path}?x=1") if path != "/v1/login" else (path,):
            unknown(await http.request(method, asked, content=sent.content, headers=sent.headers))


async def test_without_a_key_only_the_pages_static_files_are_served(http: httpx.AsyncClient):
    assert (await http.get("/")).status_code == 200
    assert (await http.get("/page/nothing")).status_code == 404
    for path in ("/page/../v1/cameras", "/page/..%2fv1%2fcameras", "//v1/cameras", "/v1//cameras", "/V1/cameras"):
        assert (await http.get(path)).status_code in (401, 404)


async def test_a_key_grants_access_and_identifies_the_caller(http: httpx.AsyncClient, world: World):
    for key, text in (world.viewer, world.operator):
        body = (await http.get("/v1/session", headers=bearer(text))).json()
        schemas.Session.model_validate(body)
        assert (body["how"], body["role"], body["key_id"], body["name"]) == ("bearer", key.role, key.id, key.name)
        assert (body["site"], body["tz"], body["expires"]) == ("local", "Asia/Ho_Chi_Minh", None)
        assert (await http.get("/v1/cameras", headers=bearer(text))).status_code == 200
    assert (await http.get("/v1/cameras", headers={"Authorization": f"bearer  {world.viewer[1]}"})).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer dc_00000000_" + "C" * 43, "Basic eDp5", "dc_x", "Bearer \xff", "Token"]
)
async def test_other_credentials_are_401(http: httpx.AsyncClient, header: str):
    unknown(await http.get("/v1/cameras", headers=[(b"Authorization", header.encode("latin-1"))]))


async def test_a_key_in_the_url_is_ignored(http: httpx.AsyncClient, world: World):
    unknown(await http.get("/v1/cameras", params={"token": world.viewer[1], "key": world.viewer[1]}))


# ---- tokens


async def object_url(http: httpx.AsyncClient, text: str) -> str:
    answer = await http.get("/v1/cameras/cam-1/segments", params=WINDOW, headers=bearer(text))
    return answer.json()["segments"][0]["url"]


async def test_a_token_grants_its_object_without_a_key(http: httpx.AsyncClient, world: World):
    url = await object_url(http, world.viewer[1])
    assert (await http.get(url)).content == MADE[0].content
    token = url.partition("?token=")[2]
    assert "forged" in problem(await http.get(f"/v1/media/{MADE[1].key}?token={token}"), 403)["detail"]
    now_us = time.time_ns() // 1000
    old = sign(TOKEN_KEY.encode(), "media", MADE[0].key, world.viewer[0].id, now_us - 1)
    assert "expired" in problem(await http.get(f"/v1/media/{MADE[0].key}?token={old}"), 403)["detail"]
    nobodys = sign(TOKEN_KEY.encode(), "media", MADE[0].key, "-", now_us + S)
    assert "revoked" in problem(await http.get(f"/v1/media/{MADE[0].key}?token={nobodys}"), 403)["detail"]


async def test_a_token_grants_no_other_route(http: httpx.AsyncClient, world: World):
    token = (await object_url(http, world.viewer[1])).partition("?token=")[2]
    unknown(await http.get("/v1/cameras", params={"token": token}))
    unknown(await http.get("/v1/session", headers={"Cookie": f"districam_session={token}"}))


async def test_the_audit_names_the_key_of_lists_and_of_objects(api: ApiProcess, http: httpx.AsyncClient, world: World):
    key, text = world.viewer
    await http.get("/v1/cameras/cam-1/playlist.m3u8", params=WINDOW, headers=bearer(text))
    await http.get(await object_url(http, text))
    served = {line["route"]: line["key_id"] for line in api.events("footage_served")}
    assert (served["playlist"], served["media"]) == (key.id, key.id)
    assert text.split("_", 2)[2] not in api.log.read_text()


# ---- logins


async def test_a_login_cookie_is_httponly_and_samesite_strict(http: httpx.AsyncClient, world: World):
    key, text = world.operator
    answer = await http.post("/v1/login", json={"key": f" {text}\n"})
    schemas.Session.model_validate(answer.json())
    assert (answer.json()["how"], answer.json()["role"], answer.json()["key_id"]) == ("cookie", "operator", key.id)
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/", "max-age=43200"}
    assert text not in answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"
    body = (await http.get("/v1/session")).json()
    assert (body["how"], body["key_id"]) == ("cookie", key.id)
    assert abs(answer.elapsed.total_seconds()) < 5
    assert (await http.get("/v1/cameras/cam-1/timeline", params=WINDOW)).status_code == 200
    out = await http.post("/v1/logout")
    assert out.status_code == 204
    assert "districam_session" not in http.cookies
    unknown(await http.get("/v1/session"))


async def test_a_login_lasts_twelve_hours(http: httpx.AsyncClient, world: World):
    now_us, bearer_name = time.time_ns() // 1000, bearer_of(world.viewer[0].id, LOGIN)
    for for_us, status in ((S * 60, 200), (-1, 401)):
        token = sign(TOKEN_KEY.encode(), "session", "", bearer_name, now_us + for_us)
        answer = await http.get("/v1/session", headers={"Cookie": f"districam_session={token}"})
        assert answer.status_code == status
    for secret, of in (
        (b"x" * 40, bearer_name),
        (TOKEN_KEY.encode(), world.viewer[0].id),
    ):  # tokens of other signing keys
        token = sign(secret, "session", "", of, now_us + S * 60)
        unknown(await http.get("/v1/session", headers={"Cookie": f"districam_session={token}"}))


async def test_a_login_from_a_cross_site_form_is_rejected(http: httpx.AsyncClient, world: World):
    body = json.dumps({"key": world.viewer[1]}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await http.post("/v1/login", content=body, headers={"Content-Type": kind} if kind else {})
        problem(answer, 415)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"\xffk\xfe", "body"),
        (b"[]", "body"),
        (b"{}", "key"),
        (b'{"key": 1}', "key"),
        (b'{"key": "x", "role": "operator"}', "role"),
    ],
)
async def test_an_invalid_login_names_the_field(http: httpx.AsyncClient, body: bytes, field: str):
    answer = await http.post("/v1/login", content=body, headers=JSON)
    assert [error["field"] for error in problem(answer, 422)["errors"]] == [field]


async def test_a_too_large_body_is_rejected_unread(http: httpx.AsyncClient):
    problem(await http.post("/v1/login", content=b"x" * (1 << 20), headers=JSON), 413)

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"{"

    problem(await http.post("/v1/login", content=pieces(), headers=JSON), 411)


# ---- logging out


def replica(world: World, folder: Path, name: str) -> AbstractAsyncContextManager[ApiProcess]:
    """Another replica with the same signing key."""
    (folder / "token-key").write_text(TOKEN_KEY)
    return api_running(
        world.s3, world.redis_url, folder / f"{name}.log",
        keys_file=world.ring.file, token_key_file=folder / "token-key",
    )  # fmt: skip


async def refused_within(url: str, cookie: dict[str, str], media: str, within_s: float):
    """Waits until a replica rejects that login and a media URL made for it."""
    async with asyncio.timeout(within_s), httpx.AsyncClient(base_url=url, timeout=5) as http:
        while (await http.get("/v1/session", headers=cookie)).status_code != 401:
            await asyncio.sleep(0.05)
        while (await http.get(media)).status_code != 403:
            await asyncio.sleep(0.05)


async def logged_in(http: httpx.AsyncClient, text: str) -> tuple[dict[str, str], str]:
    """A login's cookie, which may have been copied, and a media URL made for it."""
    answer = await http.post("/v1/login", json={"key": text})
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    http.cookies.clear()
    listed = await http.get("/v1/cameras/cam-1/segments", params=WINDOW, headers=cookie)
    return cookie, listed.json()["segments"][0]["url"]


@pytest.mark.hostile
async def test_a_logout_ends_the_login_and_its_urls_on_every_replica(
    api: ApiProcess, http: httpx.AsyncClient, world: World, tmp_path: Path
):
    async with replica(world, tmp_path, "second") as second:
        cookie, media = await logged_in(http, world.viewer[1])
        other, others = await logged_in(http, world.viewer[1])
        async with httpx.AsyncClient(base_url=second.url, timeout=5) as there:
            assert (await there.get("/v1/session", headers=cookie)).status_code == 200
            assert (await there.get(media)).status_code == 200
            assert (await http.post("/v1/logout", headers=cookie)).status_code == 204
            await refused_within(api.url, cookie, media, 0.5)
            await refused_within(second.url, cookie, media, 3)
            assert (await there.get("/v1/session", headers=other)).status_code == 200
            assert (await there.get(others)).status_code == 200
    async with replica(world, tmp_path, "third") as third:
        await refused_within(third.url, cookie, media, 0.5)  # started after the logout


@pytest.mark.hostile
async def test_a_logout_without_redis_applies_locally_and_elsewhere_once_it_is_back(
    api: ApiProcess, http: httpx.AsyncClient, world: World, tmp_path: Path
):
    async with replica(world, tmp_path, "second") as second:
        cookie, media = await logged_in(http, world.viewer[1])
        await world.redis.child.kill()
        try:
            assert (await http.post("/v1/logout", headers=cookie)).status_code == 204
            await refused_within(api.url, cookie, media, 1)
        finally:
            await world.redis.child.start()
        await refused_within(second.url, cookie, media, 15)


# ---- revocation and wrong keys


async def test_revoking_a_key_ends_its_logins_and_its_urls(http: httpx.AsyncClient, world: World):
    key, text = world.ring.new()
    await until(http, text, 200)
    url = await object_url(http, text)
    assert (await http.post("/v1/login", json={"key": text})).status_code == 200
    assert (await http.get("/v1/session")).status_code == 200
    assert (await http.get(url)).status_code == 200
    world.ring.revoke(key)
    await until(http, text, 401)
    unknown(await http.get("/v1/session"))
    assert "revoked" in problem(await http.get(url), 403)["detail"]
    assert (await http.get("/v1/session", headers=bearer(world.viewer[1]))).status_code == 200


async def test_wrong_keys_are_rate_limited_and_right_ones_are_not(world: World, tmp_path: Path):
    wrong = "dc_00000000_" + "B" * 43
    log = tmp_path / "api.log"
    async with (
        api_running(world.s3, world.redis_url, log, keys_file=world.ring.file) as api,
        httpx.AsyncClient(base_url=api.url, timeout=15) as http,
    ):
        statuses = [(await http.get("/v1/cameras", headers=bearer(wrong))).status_code for _ in range(6)]
        statuses += [(await http.post("/v1/login", json={"key": wrong})).status_code for _ in range(6)]
        assert statuses == [401] * 10 + [429] * 2
        slowed = await http.get("/v1/cameras", headers=bearer(wrong))
        problem(slowed, 429)
        assert 1 <= int(slowed.headers["retry-after"]) <= 6
        assert (await http.get("/v1/cameras", headers=bearer(world.viewer[1]))).status_code == 200
        assert (await http.post("/v1/login", json={"key": world.viewer[1]})).status_code == 200
        assert [line["key_id"] for line in api.events("API key refused")] == ["00000000"] * 10
        assert wrong not in log.read_text()


# ---- other origins


@pytest.mark.parametrize("path", ["/v1/cameras/cam-1/playlist.m3u8", f"/v1/media/{MADE[0].key}"])
async def test_pages_of_an_allowed_origin_may_play(http: httpx.AsyncClient, path: str):
    asks = {
        "Origin": WALL,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,range",
    }
    answer = await http.options(path, headers=asks)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == WALL
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert "authorization" in allowed
    assert "range" in allowed
    assert "access-control-allow-credentials" not in answer.headers
    refused = await http.options(path, headers={**asks, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in refused.headers


async def test_a_page_of_an_allowed_origin_reads_simple_responses(http: httpx.AsyncClient, world: World):
    key = bearer(world.viewer[1])
    answer = await http.get("/v1/cameras/cam-1/playlist.m3u8", params=WINDOW, headers={**key, "Origin": WALL})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == WALL
    assert "Districam-From" in answer.headers["access-control-expose-headers"]
    url = re.findall(r"^/v1/media/.*$|URI=\"([^\"]+)\"", answer.text, re.MULTILINE)[0]
    assert (await http.get(url, headers={"Origin": WALL})).headers["access-control-allow-origin"] == WALL
    unknown(await http.get("/v1/cameras/cam-1/playlist.m3u8", params=WINDOW, headers={"Origin": WALL}))


async def test_a_page_of_an_allowed_origin_reads_no_other_route(http: httpx.AsyncClient, world: World):
    for path in ("/v1/cameras", "/v1/session", "/v1/streams"):
        answer = await http.get(path, headers={**bearer(world.viewer[1]), "Origin": WALL})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
        assert (
            await http.options(path, headers={"Origin": WALL, "Access-Control-Request-Method": "GET"})
        ).status_code == 405


# ---- TLS


async def test_tls_is_served_when_a_certificate_is_set(world: World, tmp_path: Path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -out {certificate} -keyout {key}"
    await asyncio.to_thread(subprocess.run, words.split(), check=True, capture_output=True, timeout=30)
    trust = ssl.create_default_context(cafile=certificate)
    async with (
        api_running(
            world.s3, world.redis_url, tmp_path / "api.log",
            keys_file=world.ring.file, tls_cert_file=certificate, tls_key_file=key,
        ) as api,
        httpx.AsyncClient(base_url=api.url, timeout=15, verify=trust) as http,
    ):  # fmt: skip
        assert api.url.startswith("https://")
        answer = await http.post("/v1/login", json={"key": world.viewer[1]})
        assert answer.status_code == 200
        assert "; Secure" in answer.headers["set-cookie"]
        assert (await http.get("/v1/cameras")).status_code == 200
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(api.url.replace("https", "http") + "/v1/cameras")


async def test_a_renewed_certificate_is_loaded_and_a_broken_one_is_not(world: World, tmp_path: Path):
    """A key that does not match is logged; it affects no connection, and the next valid pair is loaded."""
    signer = await asyncio.to_thread(tls_servers.create_ca, tmp_path)
    old, new = [await asyncio.to_thread(tls_servers.certificate, tmp_path, signer, name) for name in ("old", "new")]
    served = tls_servers.KeyPair(tmp_path / "tls.crt", tmp_path / "tls.key")
    _take(served.certificate, old.certificate)
    _take(served.key, old.key)
    async with api_running(
        world.s3, world.redis_url, tmp_path / "api.log",
        keys_file=world.ring.file, tls_cert_file=served.certificate, tls_key_file=served.key,
    ) as api:  # fmt: skip
        assert await _presented(api) == _as_der(old.certificate)
        _take(served.certificate, new.certificate)
        await _until_logged(api, "certificate not reloaded")
        assert await _presented(api) == _as_der(old.certificate)
        _take(served.key, new.key)
        await _until_logged(api, "certificate reloaded")
        assert await _presented(api) == _as_der(new.certificate)
        assert len(api.events("certificate not reloaded")) == 1


def _take(place: Path, content: Path) -> None:
    """Replaces a file atomically, as certificate managers do."""
    temporary = place.with_suffix(".tmp")
    temporary.write_bytes(content.read_bytes())
    temporary.replace(place)


async def _until_logged(api: ApiProcess, event: str):
    async with asyncio.timeout(30):
        while not api.events(event):
            await asyncio.sleep(0.2)


async def _presented(api: ApiProcess) -> bytes:
    """The certificate that a new connection gets."""
    address = httpx.URL(api.url)
    words = ssl.get_server_certificate
    return ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(words, (address.host, address.port or 0), timeout=10))


def _as_der(file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(file.read_text())
