"""The api in a process of its own on real Valkey and S3: responses, also while a server is unreachable."""

# PyAV's and redis-py's types are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import av.logging
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_api import schemas
from districam_api.core.keys import NO_KEY
from districam_api.core.tokens import MEDIA_TTL_US, sign
from districam_common.contract import names, segment_array, wire
from districam_common.contract.events import Camera, CameraEvent, Connected, Location, Lost, Profile
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import Servers, ports, valkey
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.segment_objects import FPS, SegmentObject, segments

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

TOKEN_KEY = "k" * 40
FIRST, SECOND = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S - 10 * S  # so that the footage spans two hours
CAM_1 = Camera(
    camera_id="cam-1",
    name="Ngã tư Nguyễn Huệ",
    url="rtsp://10.0.0.1:554/main",
    groups=("Quận 1",),
    location=Location(latitude=10.77, longitude=106.7, place="Đường Nguyễn Huệ"),
    updated_us=START_US - 86_400 * S,
)
CAMERAS = [
    replace(CAM_1, name="Chưa đặt tên", updated_us=CAM_1.updated_us - S),
    CAM_1,
    Camera(camera_id="cam-2", name="Cổng chính", url="rtsp://10.0.0.2/1", segment_s=60, updated_us=START_US),
    Camera(camera_id="cam-3", name="Kho", url="rtsp://10.0.0.3/1", enabled=False, updated_us=START_US),
    Camera(camera_id="cam-4", name="Cũ", url="rtsp://10.0.0.4/1", deleted=True, updated_us=START_US),
]
MADE = [*segments("cam-1", FIRST, START_US, count=10), *segments("cam-1", SECOND, START_US + 50 * S, count=5)]


def connected(epoch: str, at_us: int) -> Connected:
    return Connected(
        camera_id="cam-1", at_us=at_us, instance="host-1", epoch=epoch, reader="libav", transport="tcp",
        codecs="avc1.640028", width=160, height=120,
    )  # fmt: skip


EVENTS: list[CameraEvent] = [
    connected(FIRST, START_US),
    Lost(
        camera_id="cam-1", at_us=START_US + 20 * S, instance="host-1", epoch=FIRST, last_seq=19,
        end_us=START_US + 20 * S, cause="camera_unreachable", detail="connection reset", next_retry_s=30,
    ),
    connected(SECOND, START_US + 50 * S),
    Lost(
        camera_id="cam-1", at_us=START_US + 60 * S, instance="host-1", epoch=SECOND, last_seq=9,
        end_us=START_US + 60 * S, cause="auth_failed", detail="401", next_retry_s=86_400,
    ),
    Profile(
        camera_id="cam-1", at_us=START_US + 5 * S, instance="host-1", codecs="avc1.640028", width=160, height=120,
        defects=("no sender reports",),
    ),
]  # fmt: skip


def at(seconds: float) -> str:
    return names.format_rfc3339(START_US + round(seconds * S))


WHOLE = {"from": at(-10), "to": at(70)}


# ---- fixtures


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[valkey.Redis]:
    """A Valkey of this module's own, as tests kill it."""
    home = tmp_path_factory.mktemp("api-redis")
    async with valkey.running(home / "data", log_dir=home) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(redis_server: valkey.Redis) -> AsyncGenerator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stocked(servers: Servers, redis: Redis) -> S3Settings:
    """Index and store with four cameras and the footage of one of them."""
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-api-{NOW_US}",
    )
    await create_stocked_bucket(s3, {"cam-1": MADE})
    await fill_index(redis)
    return s3


async def fill_index(redis: Redis):
    await populate_index(redis, CAMERAS, {"cam-1": MADE}, watermark_us=NOW_US)
    for event in EVENTS:
        await redis.zadd(names.events_key("cam-1"), {wire.encode_indexed_event(event, event.at_us + S): event.at_us})
    await redis.zadd(names.LATEST, {"cam-1": START_US + 60 * S, "cam-2": NOW_US})
    await set_index_meta(redis, READY)


READY = {"site": "local", "schema": "1", "partitions": "60", "state": "ready", "build": "b1", "progress": "{}"}

REBUILDING = {**READY, "state": "rebuilding", "progress": '{"objects": 12}'}


async def set_index_meta(redis: Redis, meta: Mapping[str, str]):
    """Sets the index's metadata."""
    for name, value in meta.items():
        await redis.hset(names.META, name, value)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(
    stocked: S3Settings, redis_server: valkey.Redis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[ApiProcess]:
    home = tmp_path_factory.mktemp("api")
    (home / "token-key").write_text(TOKEN_KEY)
    key = home / "token-key"
    async with api_running(stocked, redis_server.url, home / "api.log", token_key_file=key) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(api: ApiProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=15) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Returns the response's body, which must be a problem with that status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    schemas.Problem.model_validate(body)
    assert body["status"] == status
    return body


def fields(response: httpx.Response) -> dict[str, str]:
    return {error["field"]: error["message"] for error in problem(response, 422)["errors"]}


# ---- cameras and streams


async def test_camera_search_ignores_accents_and_returns_health(http: httpx.AsyncClient, redis: Redis):
    await redis.zadd(names.LATEST, {"cam-2": time.time_ns() // 1000})  # `recording` requires a recent segment
    everything = (await http.get("/v1/cameras")).json()
    schemas.Cameras.model_validate(everything)
    assert {c["camera_id"]: (c["state"], c["cause"]) for c in everything["cameras"]} == {
        "cam-1": ("lost", "auth_failed"),
        "cam-2": ("recording", None),
        "cam-3": ("disabled", None),
        "cam-4": ("disabled", None),
    }
    for query, ids in {
        "q=duong nguyen hue": ["cam-1"],
        "group=quan 1": ["cam-1"],
        "q=cong": ["cam-2"],
        "q=x": [],
    }.items():
        found = (await http.get(f"/v1/cameras?{query}")).json()["cameras"]
        assert [c["camera_id"] for c in found] == ids
    assert everything["cameras"][0]["last_segment_end"] == at(60)


async def test_cameras_are_paged(http: httpx.AsyncClient):
    ids, cursor = list[str](), "&limit=3"
    while cursor:
        page = (await http.get(f"/v1/cameras?tz=UTC{cursor}")).json()
        ids += [c["camera_id"] for c in page["cameras"]]
        cursor = page["next"] and f"&limit=3&cursor={page['next']}"
    assert ids == ["cam-1", "cam-2", "cam-3", "cam-4"]


async def test_a_camera_has_its_newest_record_and_observed_profile(http: httpx.AsyncClient):
    body = (await http.get("/v1/cameras/cam-1")).json()
    schemas.CameraInFull.model_validate(body)
    assert (body["name"], body["detail"]) == ("Ngã tư Nguyễn Huệ", "401")
    assert body["profile"]["defects"] == ["no sender reports"]


async def test_streams_have_their_current_health(http: httpx.AsyncClient, redis: Redis):
    await redis.zadd(names.LATEST, {"cam-2": time.time_ns() // 1000})
    body = (await http.get("/v1/streams")).json()
    schemas.Streams.model_validate(body)
    assert [(s["camera_id"], s["state"]) for s in body["streams"]] == [
        ("cam-1", "lost"),
        ("cam-2", "recording"),
        ("cam-3", "disabled"),
    ]
    assert 3000 < body["streams"][0]["age_s"] < 3 * 3600


async def test_cameras_near_a_place_are_ordered_by_distance(http: httpx.AsyncClient):
    body = (await http.get("/v1/cameras", params={"near": "10.77,106.701,500"})).json()
    schemas.Cameras.model_validate(body)
    assert [(c["camera_id"], round(c["distance_m"])) for c in body["cameras"]] == [("cam-1", 109)]
    for query in ({"near": "10.77,106.701,100"}, {"near": "10.77,106.701,500", "q": "kho"}):
        assert (await http.get("/v1/cameras", params=query)).json()["cameras"] == []


async def test_coverage_of_an_instant_agrees_with_each_timeline(http: httpx.AsyncClient):
    for seconds, expected in {
        10: ("recorded", None, ""),
        30: ("gap", "camera_unreachable", "connection reset"),
        65: ("gap", "auth_failed", "401"),
    }.items():
        body = (await http.get("/v1/coverage", params={"at": at(seconds), "q": "nguyen"})).json()
        schemas.CoverageAt.model_validate(body)
        assert body["at"] == at(seconds)
        assert [(c["camera_id"], c["state"], c["cause"], c["detail"]) for c in body["cameras"]] == [
            ("cam-1", *expected)
        ]
    body = (await http.get("/v1/coverage", params={"at": at(30), "limit": 3})).json()
    assert [c["camera_id"] for c in body["cameras"]] == ["cam-1", "cam-2", "cam-3"]
    rest = (await http.get("/v1/coverage", params={"at": at(30), "limit": 3, "cursor": body["next"]})).json()
    assert [(c["camera_id"], c["state"]) for c in rest["cameras"]] == [("cam-4", "not_expected")]
    assert rest["next"] is None


async def test_coverage_of_a_window_has_one_bit_per_ten_seconds(http: httpx.AsyncClient):
    params = {"from": at(-9), "to": at(69), "near": "10.77,106.701,500"}
    body = (await http.get("/v1/coverage", params=params)).json()
    schemas.CoverageWithin.model_validate(body)
    assert (body["from"], body["to"], body["slots"], body["slot_s"]) == (at(-10), at(70), 8, 10)
    (line,) = body["cameras"]
    assert (base64.b64decode(line["recorded"]), line["recorded_slots"]) == (bytes([0b0110_0010]), 3)
    assert round(line["distance_m"]) == 109
    params = {"from": at(0), "to": at(31 * 86_400)}
    month = (await http.get("/v1/coverage", params=params)).json()
    assert month["slots"] == 31 * 8640
    assert [c["recorded_slots"] for c in month["cameras"]] == [3, 0, 0, 0]


# ---- timeline and segments


async def test_a_timeline_tiles_the_window_with_causes(http: httpx.AsyncClient):
    body = (await http.get("/v1/cameras/cam-1/timeline", params=WHOLE)).json()
    schemas.Timeline.model_validate(body)
    assert [(s["state"], s.get("cause"), s["from"], s["to"]) for s in body["states"]] == [
        ("gap", "service_down", at(-10), at(0)),
        ("recorded", None, at(0), at(20)),
        ("gap", "camera_unreachable", at(20), at(50)),
        ("recorded", None, at(50), at(60)),
        ("gap", "auth_failed", at(60), at(70)),
    ]
    assert (body["recorded_s"], body["gap_s"], body["pending_s"]) == (30, 50, 0)
    assert (body["from"], body["to"], body["tz"]) == (at(-10), at(70), "Asia/Ho_Chi_Minh")
    assert body["from_local"].endswith("+07:00")


async def test_local_times_and_zones_mean_the_same_window(http: httpx.AsyncClient):
    body = (await http.get("/v1/cameras/cam-1/timeline", params=WHOLE)).json()
    local = {name: body[f"{name}_local"].removesuffix("+07:00") for name in ("from", "to")}
    for params in (
        {"from": body["from_local"], "to": body["to_local"]},
        {**local, "tz": "Asia/Ho_Chi_Minh"},
        {**local, "tz": "Asia/Bangkok"},
    ):
        again = (await http.get("/v1/cameras/cam-1/timeline", params=params)).json()
        assert again["states"] == body["states"]


async def test_unsettled_time_is_pending(http: httpx.AsyncClient):
    to_us = NOW_US + 60 * S
    window = {"from": names.format_rfc3339(NOW_US - 80 * S), "to": names.format_rfc3339(to_us)}
    body = (await http.get("/v1/cameras/cam-1/timeline", params=window)).json()
    assert body["states"][-1]["state"] == "pending"
    assert body["states"][-1]["from"] == names.format_rfc3339(NOW_US - 75 * S)
    assert body["pending_s"] == 135


async def test_paging_through_segments_returns_all_that_is_stored(http: httpx.AsyncClient):
    found, params = list[dict[str, Any]](), {**WHOLE, "limit": "4"}
    while True:
        page = (await http.get("/v1/cameras/cam-1/segments", params=params)).json()
        schemas.Segments.model_validate(page)
        assert len(page["segments"]) <= 4
        found += page["segments"]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert [s["key"] for s in found] == [made.key for made in MADE]
    assert [s["bytes"] for s in found] == [len(made.content) for made in MADE]
    assert all(s["starts_with_keyframe"] and not s["lossy"] for s in found)


async def test_segments_that_overlap_the_window_are_returned(http: httpx.AsyncClient):
    window = {"from": at(1.999999), "to": at(4.000001)}
    page = (await http.get("/v1/cameras/cam-1/segments", params=window)).json()
    assert [s["first_seq"] for s in page["segments"]] == [0, 2, 4]
    window = {"from": at(2), "to": at(4)}
    page = (await http.get("/v1/cameras/cam-1/segments", params=window)).json()
    assert [s["first_seq"] for s in page["segments"]] == [2]


@pytest.mark.parametrize(("epoch", "count"), [(FIRST, 10), (SECOND, 5)])
async def test_segments_can_be_filtered_by_epoch(http: httpx.AsyncClient, epoch: str, count: int):
    params = {**WHOLE, "epoch": epoch}
    found = (await http.get("/v1/cameras/cam-1/segments", params=params)).json()["segments"]
    assert [s["epoch"] for s in found] == [epoch] * count
    text = (await http.get("/v1/cameras/cam-1/playlist.m3u8", params=params)).text
    assert text.count("#EXTINF:") == text.count(epoch) - text.count("#EXT-X-MAP") == count
    problem(await http.get("/v1/cameras/cam-1/playlist.m3u8", params={**params, "epoch": FIRST[:-1] + "9"}), 404)
    assert "epoch" in fields(await http.get("/v1/cameras/cam-1/segments", params={**WHOLE, "epoch": "x"}))


async def test_a_month_without_footage_is_an_empty_page(http: httpx.AsyncClient):
    window = {"from": "2024-01-01T00:00:00Z", "to": "2024-02-01T00:00:00Z"}
    assert (await http.get("/v1/cameras/cam-1/segments", params=window)).json()["segments"] == []


# ---- playlists and media


def frames(url: str) -> int:
    with av.open(url, mode="r") as playing:
        return sum(1 for _ in playing.decode(video=0))


async def test_a_playlist_of_one_epoch_plays_without_warnings(api: ApiProcess, http: httpx.AsyncClient):
    response = await http.get("/v1/cameras/cam-1/playlist.m3u8", params={"from": at(-10), "to": at(30)})
    assert response.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert (response.headers["districam-from"], response.headers["districam-to"]) == (at(0), at(20))
    assert response.headers["districam-recorded-seconds"] == "20.000000"
    assert response.headers["districam-gap-seconds"] == "20.000000"
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as output:
            assert await asyncio.to_thread(frames, str(response.request.url)) == 20 * FPS
    finally:
        av.logging.set_level(None)
    assert output == []


async def test_a_playlist_over_a_gap_plays_every_picture(http: httpx.AsyncClient):
    response = await http.get("/v1/cameras/cam-1/playlist.m3u8", params=WHOLE)
    assert response.text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert await asyncio.to_thread(frames, str(response.request.url)) == 30 * FPS


async def test_a_playlist_without_footage_has_the_cause(http: httpx.AsyncClient):
    response = await http.get("/v1/cameras/cam-1/playlist.m3u8", params={"from": at(21), "to": at(49)})
    assert [(s["state"], s["cause"]) for s in problem(response, 404)["states"]] == [("gap", "camera_unreachable")]


async def test_a_hidden_copy_is_not_played_twice(http: httpx.AsyncClient, redis: Redis):
    """A replay at the log's end can leave copies that overlap partly: the cover plays each second once."""
    copy = segments("cam-1", FIRST, START_US, first_second=1, seconds=1)[0].entry
    key, member = names.segments_key("cam-1", copy.start_us), segment_array.encode_member(copy)
    await redis.zadd(key, {member: copy.start_us})
    try:
        params = {"from": at(0), "to": at(20)}
        text = (await http.get("/v1/cameras/cam-1/playlist.m3u8", params=params)).text
        listed = (await http.get("/v1/cameras/cam-1/segments", params=params)).json()["segments"]
    finally:
        await redis.zrem(key, member)
    assert text.count("#EXTINF:") == 10
    assert len(listed) == 11


async def object_url(http: httpx.AsyncClient) -> tuple[SegmentObject, str]:
    page = (await http.get("/v1/cameras/cam-1/segments", params={**WHOLE, "limit": 1})).json()
    return MADE[0], page["segments"][0]["url"]


def signed(key: str, for_us: int = 60 * S) -> str:
    """A valid token for that key."""
    return sign(TOKEN_KEY.encode(), "media", key, NO_KEY, time.time_ns() // 1000 + for_us)


async def test_an_object_is_served_as_stored(http: httpx.AsyncClient):
    made, url = await object_url(http)
    response = await http.get(url)
    assert response.status_code == 200
    assert response.content == made.content
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=700-", slice(700, None)), ("bytes=-10", slice(-10, None))],
)
async def test_a_range_request_returns_those_bytes_of_the_object(http: httpx.AsyncClient, header: str, part: slice):
    made, url = await object_url(http)
    response = await http.get(url, headers={"Range": header})
    assert response.status_code == 206
    assert response.content == made.content[part]
    first, last, size = map(int, re.findall(r"\d+", response.headers["content-range"]))
    assert (made.content[first : last + 1], size) == (made.content[part], len(made.content))


async def test_a_range_beyond_the_end_is_416_with_the_size(http: httpx.AsyncClient):
    made, url = await object_url(http)
    response = await http.get(url, headers={"Range": f"bytes={len(made.content)}-"})
    problem(response, 416)
    assert response.headers["content-range"] == f"bytes */{len(made.content)}"


async def test_a_token_is_valid_for_its_object_and_until_it_expires(http: httpx.AsyncClient):
    made, url = await object_url(http)
    token = url.partition("?token=")[2]
    assert "forged" in problem(await http.get(f"/v1/media/{MADE[1].key}?token={token}"), 403)["detail"]
    assert "forged" in problem(await http.get(url[:-1] + ("A" if url[-1] != "A" else "B")), 403)["detail"]
    old = signed(made.key, -1)
    assert "expired" in problem(await http.get(f"/v1/media/{made.key}?token={old}"), 403)["detail"]
    assert fields(await http.get(f"/v1/media/{made.key}")) == {"token": "is required"}


async def test_a_token_is_valid_for_a_day(http: httpx.AsyncClient):
    _, url = await object_url(http)
    expires_us = int(url.partition("?token=")[2].partition(".")[0])
    assert abs(expires_us - time.time_ns() // 1000 - MEDIA_TTL_US) < 60 * S


async def test_a_deleted_object_is_not_found(http: httpx.AsyncClient):
    gone = names.segment_object_key("cam-1", replace(MADE[0].entry, first_seq=77))
    token = signed(gone)
    problem(await http.get(f"/v1/media/{gone}?token={token}"), 404)


async def raw(api: ApiProcess, target: str) -> tuple[int, bytes]:
    """Sends exactly this target, which a client library would normalize; returns status and body."""
    host, port = api.url.removeprefix("http://").split(":")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


KEY = MADE[0].key


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (names.SITE_MARKER, names.SITE_MARKER),
        (f"cam-2/../{KEY}", f"cam-2/../{KEY}"),
        (f"cam-2/../{KEY}", f"cam-2/%2e%2e/{KEY}"),
        (f"../{KEY}", f"%2e%2e/{KEY}"),
        (f"/{KEY}", f"/{KEY}"),
        (f"/{KEY}", f"%2F{KEY}"),
        (f"./{KEY}", f"./{KEY}"),
        (KEY.replace("/", "//"), KEY.replace("/", "//")),
        (f"{KEY}\0", f"{KEY}%00"),
        (f"{KEY}/", f"{KEY}/"),
        (f"{KEY}\n", f"{KEY}%0A"),
        ("other-bucket/" + KEY, "other-bucket/" + KEY),
        ("", ""),
        ("..", ".."),
    ],
)
async def test_only_segments_are_served_even_with_a_valid_token(api: ApiProcess, key: str, target: str):
    status, body = await raw(api, f"/v1/media/{target}?token={signed(key)}")
    assert status in (403, 404), body
    assert b'"site"' not in body
    assert MADE[0].content not in body


async def test_a_token_covers_the_decoded_key_not_its_spelling(api: ApiProcess):
    """`%2F` is a slash in a URL: the token covers the same key and no other one."""
    status, body = await raw(api, f"/v1/media/{KEY.replace('/', '%2F')}?token={signed(KEY)}")
    assert (status, len(body)) == (200, len(MADE[0].content))
    other = MADE[1].key.replace("/", "%2F")
    assert (await raw(api, f"/v1/media/{other}?token={signed(KEY)}"))[0] == 403
    assert (await raw(api, f"/v1/media/{KEY.replace('/', '%252F')}?token={signed(KEY)}"))[0] == 403


async def test_playlists_and_downloads_are_logged_without_tokens(api: ApiProcess, http: httpx.AsyncClient):
    _, url = await object_url(http)
    await http.get("/v1/cameras/cam-1/playlist.m3u8", params=WHOLE)
    await http.get(url)
    served = {line["route"]: line for line in api.events("footage_served")}
    assert served["playlist"]["camera_id"] == served["media"]["camera_id"] == "cam-1"
    assert (served["playlist"]["from"], served["playlist"]["to"]) == (WHOLE["from"], WHOLE["to"])
    assert (served["media"]["from"], served["media"]["to"]) == (at(0), at(2))
    assert served["media"]["key_id"] == "-"
    log = api.log.read_text()
    assert url.partition("?token=")[2] not in log
    assert TOKEN_KEY not in log


# ---- invalid requests


async def test_an_unknown_resource_is_a_404_problem(http: httpx.AsyncClient):
    for path in ("/v1/cameras/cam-9", "/v1/nothing", "/v1/cameras/CAM%201", "/page/nothing"):
        assert problem(await http.get(path), 404)["errors"] == []
    for leaf in ("timeline", "segments", "playlist.m3u8"):
        problem(await http.get(f"/v1/cameras/cam-9/{leaf}", params=WHOLE), 404)


async def test_an_unsupported_method_is_a_405_problem_with_allow(http: httpx.AsyncClient):
    response = await http.post("/v1/cameras")
    assert problem(response, 405)["title"] == "Method Not Allowed"
    assert response.headers["allow"] == "GET, HEAD"
    for path, methods in {
        "/v1/holds": "GET, HEAD, POST",
        "/v1/holds/x": "GET, HEAD, DELETE",
        "/v1/login": "POST",
    }.items():
        response = await http.put(path)
        problem(response, 405)
        assert response.headers["allow"] == methods


@pytest.mark.parametrize(
    ("path", "params", "field", "says"),
    [
        ("timeline", {}, "from", "is required"),
        ("timeline", {**WHOLE, "form": "x"}, "form", "is not a parameter of this route"),
        ("timeline", {**WHOLE, "from": "2026-11-24T14:47:00"}, "from", "no time zone"),
        ("timeline", {**WHOLE, "from": "yesterday"}, "from", "RFC 3339"),
        ("timeline", {**WHOLE, "tz": "Hanoi"}, "tz", "is not an IANA time zone"),
        ("timeline", {"from": at(70), "to": at(-10)}, "to", "later than from"),
        ("timeline", {"from": at(0), "to": at(31 * 86_400 + 1)}, "to", "31 days"),
        ("segments", {"from": at(0), "to": at(31 * 86_400 + 1)}, "to", "31 days"),
        ("playlist.m3u8", {"from": at(0), "to": at(86_401)}, "to", "24 hours"),
        ("segments", {**WHOLE, "limit": "1001"}, "limit", "1000"),
        ("segments", {**WHOLE, "limit": "many"}, "limit", "integer"),
        ("segments", {**WHOLE, "cursor": "xyz"}, "cursor", "is not a `next` value"),
    ],
)
async def test_an_invalid_request_names_the_field_and_the_fix(
    http: httpx.AsyncClient, path: str, params: dict[str, str], field: str, says: str
):
    assert says in fields(await http.get(f"/v1/cameras/cam-1/{path}", params=params))[field]


@pytest.mark.parametrize(
    ("path", "params", "field", "says"),
    [
        ("coverage", {}, "at", "is required unless from and to are given"),
        ("coverage", {"from": at(0)}, "at", "is required unless from and to are given"),
        ("coverage", {**WHOLE, "at": at(0)}, "at", "excludes from and to"),
        ("coverage", {"from": at(0), "to": at(31 * 86_400 + 1)}, "to", "31 days"),
        ("coverage", {"at": "2026-11-24T14:47:00"}, "at", "no time zone"),
        ("coverage", {"at": at(0), "limit": "0"}, "limit", "greater"),
        ("cameras", {"near": "10.77,106.7"}, "near", "metres"),
        ("cameras", {"near": "106.7,10.77,500"}, "near", "latitude of -90 to 90"),
    ],
)
async def test_an_invalid_search_names_the_field(
    http: httpx.AsyncClient, path: str, params: dict[str, str], field: str, says: str
):
    assert says in fields(await http.get(f"/v1/{path}", params=params))[field]


async def test_a_foreign_host_header_is_rejected(http: httpx.AsyncClient):
    """Without keys, a web page could resolve its own name to this machine (DNS rebinding) and read responses."""
    for host, status in {"localhost:1": 200, "[::1]": 200, "evil.example": 403, "127.0.0.1.evil.example": 403}.items():
        assert (await http.get("/v1/streams", headers={"Host": host})).status_code == status
    body = (await http.get("/v1/session")).json()
    schemas.Session.model_validate(body)
    assert (body["how"], body["role"], body["key_id"], body["site"]) == ("open", "operator", "-", "local")
    login = await http.post("/v1/login", json={"key": "x"})
    assert (login.json(), "set-cookie" in login.headers) == (body, False)


async def test_an_invalid_camera_record_does_not_hide_others(api: ApiProcess, http: httpx.AsyncClient, redis: Redis):
    await redis.zadd(names.camera_key("cam-bad"), {b'{"secret": 1}': 1})
    await redis.sadd(names.CAMERA_IDS, "cam-bad")
    try:
        found = await http.get("/v1/cameras")
        streams = await http.get("/v1/streams")
        coverage = await http.get("/v1/coverage", params={"at": at(0)})
    finally:
        await redis.srem(names.CAMERA_IDS, "cam-bad")
        await redis.delete(names.camera_key("cam-bad"))
    assert [c["camera_id"] for c in found.json()["cameras"]] == ["cam-1", "cam-2", "cam-3", "cam-4"]
    assert [c["camera_id"] for c in streams.json()["streams"]] == ["cam-1", "cam-2", "cam-3"]
    assert len(coverage.json()["cameras"]) == 4
    assert "cam-bad" in {line["where"] for line in api.events("malformed value skipped")}


# ---- unreachable servers


async def test_an_index_that_is_not_ready_answers_503_with_its_progress(http: httpx.AsyncClient, redis: Redis):
    paths = ["", "/cam-1", "/cam-1/timeline", "/cam-1/segments", "/cam-1/playlist.m3u8"]
    await redis.delete(names.META)
    try:
        for leaf in paths:
            params = WHOLE if leaf.count("/") == 2 else {}
            missing = await http.get(f"/v1/cameras{leaf}", params=params)
            assert problem(missing, 503)["progress"] == {}
            assert int(missing.headers["retry-after"]) > 0
        await set_index_meta(redis, REBUILDING)
        rebuilding = await http.get("/v1/cameras/cam-1/timeline", params=WHOLE)
        assert problem(rebuilding, 503)["progress"] == {"objects": 12}
    finally:
        await set_index_meta(redis, READY)
    assert (await http.get("/v1/streams")).status_code == 200


async def test_unreachable_redis_is_503_until_it_is_back(
    api: ApiProcess, http: httpx.AsyncClient, redis_server: valkey.Redis, redis: Redis
):
    await redis.wait(0, 0)
    await asyncio.sleep(1.2)  # appendfsync everysec
    await redis_server.child.kill()
    try:
        async with asyncio.timeout(10):
            away = await http.get("/v1/cameras/cam-1/timeline", params=WHOLE)
        problem(away, 503)
        assert int(away.headers["retry-after"]) > 0
    finally:
        await redis_server.child.start()
    async with asyncio.timeout(20):
        while (await http.get("/v1/cameras/cam-1/timeline", params=WHOLE)).status_code != 200:
            await asyncio.sleep(0.1)
    assert api.process.poll() is None


async def test_an_unreachable_store_is_503_for_media_only(
    stocked: S3Settings, redis_server: valkey.Redis, tmp_path: Path
):
    (closed_port,) = ports.pick_free_ports(1)
    s3 = stocked.model_copy(update={"endpoint": f"http://127.0.0.1:{closed_port}"})
    async with (
        api_running(s3, redis_server.url, tmp_path / "api.log") as api,
        httpx.AsyncClient(base_url=api.url, timeout=15) as http,
    ):
        _, url = await object_url(http)
        away = await http.get(url)
        problem(away, 503)
        assert int(away.headers["retry-after"]) > 0
        ready = await http.get(f"{api.health_url}/readyz")
        assert ready.status_code == 503
        assert ready.json()["dependencies"]["s3"]["ok"] is False
        assert ready.json()["dependencies"]["redis"]["ok"] is True


# ---- the process


async def test_readiness_and_metrics_are_served(api: ApiProcess, http: httpx.AsyncClient):
    await http.get("/v1/streams")
    assert problem(await http.get("/v1/streams?x=1"), 422)
    async with asyncio.timeout(10):
        while (await http.get(f"{api.health_url}/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
    metrics = (await http.get(f"{api.health_url}/metrics")).text
    assert 'districam_api_requests_total{route="/v1/streams",status="200"}' in metrics
    assert 'districam_api_requests_total{route="/v1/streams",status="422"}' in metrics
    assert 'districam_api_request_seconds_count{route="/v1/cameras/{camera_id}/timeline"}' in metrics


async def test_openapi_and_its_page_describe_the_routes(http: httpx.AsyncClient):
    document = (await http.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/v1/cameras",
        "/v1/cameras/{camera_id}",
        "/v1/cameras/{camera_id}/timeline",
        "/v1/cameras/{camera_id}/segments",
        "/v1/cameras/{camera_id}/playlist.m3u8",
        "/v1/cameras/{camera_id}/clip.mp4",
        "/v1/cameras/{camera_id}/snapshot.jpg",
        "/v1/cameras/{camera_id}/latest.jpg",
        "/v1/media/{key}",
        "/v1/streams",
        "/v1/coverage",
        "/v1/holds",
        "/v1/holds/{hold_id}",
        "/v1/session",
        "/v1/login",
        "/v1/logout",
    }
    known = document["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in known
    page = (await http.get("/docs")).text
    assert "/v1/cameras/{camera_id}/timeline" in page
    assert "://" not in page  # it loads nothing from other hosts


def refused(environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and output of a start with these settings."""
    ran = subprocess.run(
        [sys.executable, "-m", "districam_api"],
        env={**os.environ, "DISTRICAM_HEALTH__PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ran.returncode, ran.stderr


async def test_without_keys_only_a_loopback_address_may_be_bound(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text('{"keys": []}')
    for extra in ({}, {"DISTRICAM_API__KEYS_FILE": str(keys)}):
        code, output = await asyncio.to_thread(refused, {"DISTRICAM_API__HOST": "0.0.0.0", **extra})  # noqa: S104
        assert code == 2
        assert "DISTRICAM_API__HOST: " in output
        assert "districam-api keys create" in output


async def test_a_port_in_use_is_named(api: ApiProcess):
    port = api.url.rpartition(":")[2]
    code, output = await asyncio.to_thread(refused, {"DISTRICAM_API__PORT": port, "DISTRICAM_LOG__FORMAT": "json"})
    assert code == 2
    assert "DISTRICAM_API__PORT" in output


async def test_an_unknown_argument_is_refused():
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "districam_api", "jump"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 2
    assert "usage: districam-api" in ran.stderr
