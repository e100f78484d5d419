"""The api's HTTP semantics (RFC 9110): HEAD, conditional ranges, HTTP/1.0, and aborted responses."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import time
from collections.abc import AsyncGenerator
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract.events import Camera
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit import bitstream
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

pytestmark = [
    pytest.mark.integration,
    pytest.mark.correctness,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S + 1800 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(4)]
AVC = Generated(width=320, height=180, bitrate=300_000, label="AVC")
WHOLE, HOLED = open_footage("whole", START_US, AVC), open_footage("holed", START_US, AVC)
MADE: dict[str, list[SegmentObject]] = {
    # 20 s, a hole of 0.4 s, 20 s of another epoch
    "whole": [
        *make_numbered_segments(WHOLE, EPOCHS[0], range(500)),
        *make_numbered_segments(WHOLE, EPOCHS[1], range(510, 1010)),
    ],
    "holed": make_numbered_segments(HOLED, EPOCHS[2], range(1000)),
}
CAMERAS = [
    Camera(camera_id=name, name=name, url=f"rtsp://10.0.0.1/{name}", updated_us=START_US - 3600 * S) for name in MADE
]
CLIP = "/v1/cameras/{}/clip.mp4"


def at(seconds: float) -> str:
    return format_rfc3339(START_US + round(seconds * S))


def window(from_s: float, to_s: float, **more: str) -> dict[str, str]:
    return {"from": at(from_s), "to": at(to_s), **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api-http")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-http-{NOW_US}",
    )
    gone = MADE["holed"][2].key  # indexed, but missing in the store
    await create_stocked_bucket(s3, {name: [one for one in made if one.key != gone] for name, made in MADE.items()})
    async with valkey.running(home / "data", log_dir=home) as server:
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, MADE, watermark_us=NOW_US)
        async with api_running(s3, server.url, home / "api.log", clips_at_once=1) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        yield client


async def raw(api: ApiProcess, path: str, version: str) -> tuple[bytes, bytes, bool]:
    """Head and body of the raw response, and whether the connection was reset."""
    url = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"GET {path} HTTP/{version}\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
    got, is_reset = b"", False
    try:
        async with asyncio.timeout(20):
            while data := await reader.read(1 << 16):
                got += data
    except ConnectionResetError:
        is_reset = True
    finally:
        writer.close()
    head, _, body = got.partition(b"\r\n\r\n")
    return head.lower(), body, is_reset


# ---- aborted responses


async def test_a_clip_over_http_1_0_is_rejected_with_advice(api: ApiProcess):
    head, body, _ = await raw(api, f"{CLIP.format('whole')}?{urlencode(window(0, 5))}", "1.0")
    assert head.startswith(b"http/1.1 426 upgrade required")
    assert b"upgrade: http/1.1" in head
    assert b"connection: upgrade" in head
    assert b"content-type: application/problem+json" in head
    assert b"proxy_http_version 1.1" in body


async def test_responses_with_a_length_are_served_over_http_1_0(api: ApiProcess, http: httpx.AsyncClient):
    listed = (await http.get("/v1/cameras/whole/segments", params=window(0, 5))).json()["segments"]
    head, body, is_reset = await raw(api, listed[0]["url"], "1.0")
    assert (head.split(b"\r\n")[0], is_reset) == (b"http/1.1 200 ok", False)
    assert f"content-length: {listed[0]['bytes']}".encode() in head
    assert body == MADE["whole"][0].content
    head, body, _ = await raw(api, f"/v1/cameras/whole/playlist.m3u8?{urlencode(window(0, 5))}", "1.0")
    assert f"content-length: {len(body)}".encode() in head


async def test_a_clip_that_breaks_off_resets_the_connection(api: ApiProcess):
    head, body, is_reset = await raw(api, f"{CLIP.format('holed')}?{urlencode(window(0, 40))}", "1.1")
    assert is_reset, (head, body[-20:])
    whole, body, is_reset = await raw(api, f"{CLIP.format('whole')}?{urlencode(window(0, 15))}", "1.1")
    assert (whole.split(b"\r\n")[0], body.endswith(b"0\r\n\r\n"), is_reset) == (b"http/1.1 200 ok", True, False)


# ---- HEAD


async def test_head_has_the_headers_of_get_without_a_body(http: httpx.AsyncClient):
    media = (await http.get("/v1/cameras/whole/segments", params=window(0, 5))).json()["segments"][0]["url"]
    paths = {
        media: {},
        "/v1/cameras": {},
        "/v1/cameras/whole/timeline": window(0, 30),
        "/v1/cameras/whole/playlist.m3u8": window(0, 30),
        CLIP.format("whole"): window(0, 5),
        "/v1/cameras/whole/snapshot.jpg": {"at": at(3)},
        "/v1/cameras/nobody": {},
        "/openapi.json": {},
        "/": {},
    }
    for path, params in paths.items():
        got, head = await http.get(path, params=params), await http.head(path, params=params)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        varying = {"date", "transfer-encoding"}
        assert {k: v for k, v in head.headers.items() if k not in varying} == {
            k: v for k, v in got.headers.items() if k not in varying
        }, path


async def test_head_holds_no_slot_and_is_not_audited(api: ApiProcess, http: httpx.AsyncClient):
    before = len(api.events("footage_served"))
    for _ in range(3):
        assert (await http.head(CLIP.format("whole"), params=window(0, 40))).status_code == 200
    assert len(api.events("footage_served")) == before


async def test_head_is_405_on_routes_without_get(http: httpx.AsyncClient):
    answer = await http.head("/v1/login")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


# ---- conditional requests


async def test_a_range_is_honoured_only_if_if_range_matches(http: httpx.AsyncClient):
    listed = (await http.get("/v1/cameras/whole/segments", params=window(0, 30))).json()["segments"]
    url, content = listed[0]["url"], MADE["whole"][0].content
    whole = await http.get(url)
    tag = whole.headers["etag"]
    assert whole.content == content
    assert whole.headers["cache-control"] == "private, max-age=600, immutable"
    assert (await http.get(listed[1]["url"])).headers["etag"] != tag
    for value, status in {tag: 206, f"W/{tag}": 200, '"other"': 200, "Tue, 24 Nov 2026 12:00:00 GMT": 200}.items():
        answer = await http.get(url, headers={"Range": "bytes=10-19", "If-Range": value})
        assert (answer.status_code, answer.content) == (status, content[10:20] if status == 206 else content), value
    assert (await http.get(url, headers={"Range": "bytes=999999999-", "If-Range": '"other"'})).status_code == 200


async def test_if_none_match_gives_304(http: httpx.AsyncClient):
    url = (await http.get("/v1/cameras/whole/segments", params=window(0, 5))).json()["segments"][0]["url"]
    tag = (await http.head(url)).headers["etag"]
    answer = await http.get(url, headers={"If-None-Match": f'"x", {tag}'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


# ---- a single epoch, and a negligible hole


async def test_headers_of_a_clip_by_epoch_describe_that_epoch_only(http: httpx.AsyncClient):
    for leaf in ("playlist.m3u8", "clip.mp4"):
        answer = await http.get(f"/v1/cameras/whole/{leaf}", params=window(0, 40.4, epoch=EPOCHS[1]))
        sums = [float(answer.headers[f"districam-{name}-seconds"]) for name in ("recorded", "gap")]
        assert sums == [20, 0], leaf


async def test_a_snapshot_in_a_negligible_gap_is_the_picture_before_it(http: httpx.AsyncClient):
    timeline = (await http.get("/v1/cameras/whole/timeline", params=window(20.1, 20.3))).json()
    assert [state["state"] for state in timeline["states"]] == ["recorded"]
    still = await http.get("/v1/cameras/whole/snapshot.jpg", params={"at": at(20.2)})
    assert (still.status_code, still.headers["districam-time"]) == (200, at(19.96))
    clip = await http.get(CLIP.format("whole"), params=window(20.1, 20.3))
    numbers = [picture.number for picture in bitstream.parse_stored_pictures(clip.content)]
    assert (clip.status_code, numbers[-1], clip.headers["districam-to"]) == (200, 499, at(20))
    playlist = await http.get("/v1/cameras/whole/playlist.m3u8", params=window(20.1, 20.3))
    assert (playlist.status_code, playlist.headers["districam-to"]) == (200, at(20))
