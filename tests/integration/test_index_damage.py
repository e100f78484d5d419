"""Unreadable data in the bucket or in Redis has no effect beyond itself: indexer and api continue, footage is kept."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from districam_common.contract import names, wire
from districam_common.contract.events import Camera
from districam_common.contract.names import HOUR_US
from districam_common.ledger.holds import Hold
from districam_common.runtime.settings import S3Settings
from integration.test_indexer import District, Indexer, checked, district, segments, until
from integration.test_retention import Archive, archive, believe
from support.announcements import NOON_US, S, lost
from support.api_process import api_running
from support.wait_until import wait_until_async

__all__ = ["archive", "district"]

pytestmark = [pytest.mark.timeout(150), pytest.mark.correctness]
SPOILT = "f" * 16
NEWER_EVENT = '{"type":"districam.stream.dozed.v1","at_us":1}'
GAUGE = "districam_last_segment_end_timestamp_seconds"


async def put(district: District, key: str, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    await district.blobs.put(key, [body], content_type="application/json", metadata={}, sha256=digest, once=False)


def hold_of(camera_id: str, from_us: int, to_us: int, *events: str) -> Hold:
    return Hold(
        id="0" * 16, camera_id=camera_id, from_us=from_us, to_us=to_us, reason="r", placed_by="k", placed_us=1,
        events=events,
    )  # fmt: skip


# ---- the bucket


async def test_an_invalid_hold_does_not_stop_a_rebuild(district: District):
    """A folder of an S3 tool is an empty object; a newer version may store events that this one does not know."""
    stored = [await district.store(one) for one in segments(district.camera_id, 3)]
    kept = wire.encode_indexed_event(lost(NOON_US, district.camera_id), NOON_US).decode()
    good = hold_of(district.camera_id, NOON_US, NOON_US + S, NEWER_EVENT, "{", kept)
    await put(district, names.HOLDS_PREFIX, b"")
    await put(district, names.RELEASED_PREFIX, b"")
    await put(district, f"{names.HOLDS_PREFIX}notes.txt", b"call back")
    await put(district, names.hold_key(SPOILT), b"{")
    await put(district, names.hold_key(good.id), wire.encode_json(good))
    async with district.indexer() as indexer:
        assert await wait_until_async(indexer.is_ready, 40)
        assert len(await district.found()) == len(stored)
        await district.redis.flushall()
        assert await wait_until_async(lambda: _is_found(district, len(stored)), 40)
        assert await wait_until_async(indexer.is_ready)
        assert indexer.child.returncode is None
        assert [one.event for one in await district.reader.events(district.camera_id)] == [
            lost(NOON_US, district.camera_id)
        ]
        await until(lambda: _has_holds(district, [good.id]))
        metrics_text = await indexer.ask("/metrics")
        assert 'districam_holds{state="unread"} 1.0' in metrics_text
        assert 'districam_unreadable_total{what="hold"}' in metrics_text


async def _is_found(district: District, count: int) -> bool:
    return len(await district.found()) == count


async def _has_holds(district: District, ids: list[str]) -> bool:
    return [*await district.reader.holds()] == ids


async def test_retention_keeps_only_what_an_unreadable_hold_may_cover(archive: Archive):
    old_us, other = archive.edge_us - 3 * HOUR_US, f"{archive.camera_id}-b"
    newer = {"camera_id": other, "from_us": old_us, "to_us": old_us + S, "placed_us": "noon"}
    await put(archive.district, names.HOLDS_PREFIX, b"")
    await put(archive.district, names.hold_key(SPOILT), json.dumps(newer).encode())
    unclear = names.hold_key("e" * 16)
    await put(archive.district, unclear, b"{")  # its camera is unknown: it may cover any camera's footage
    async with archive.indexer() as indexer:
        mine = await archive.stock(old_us, old_us + HOUR_US)
        theirs = await archive.stock(old_us, old_us + HOUR_US, camera_id=other)
        held, everything = theirs[0].key, {one.key for one in (*mine, *theirs)}
        two_days = Camera(
            camera_id=other, name="x", url="rtsp://10.0.0.1/2", retention_days=2, updated_us=old_us
        )  # fmt: skip
        await archive.district.publisher.publish(names.CAMERAS, wire.camera_message(two_days, site="local"))
        await believe(archive)
        assert await wait_until_async(lambda: _says(archive, indexer.port, "retention is blocked"))
        assert not await wait_until_async(lambda: _are_stored(archive, {held}), 3)
        assert await archive.keys() == everything
        await archive.bucket.delete([unclear])
        assert await wait_until_async(lambda: _are_stored(archive, {held}), 40)
        assert await wait_until_async(lambda: _says(archive, indexer.port, "malformed value skipped"))
    assert mine[0].key not in await archive.keys()


async def _are_stored(archive: Archive, keys: set[str]) -> bool:
    return await archive.keys() == keys


async def _says(archive: Archive, port: int, what: str) -> bool:
    return what in (archive.district.home / f"indexer-{port}.log").read_text()


async def test_an_unreadable_camera_record_stops_expiry_by_age(archive: Archive):
    """The newest revision is unreadable: it may have raised `retention_days`."""
    old_us, redis = archive.edge_us - 3 * HOUR_US, archive.district.redis
    async with archive.indexer() as indexer:
        stored = await archive.stock(old_us)
        key = names.camera_key(archive.camera_id)
        unread = json.dumps({"camera_id": archive.camera_id, "retention_days": "for ever"}).encode()
        await redis.zadd(key, {unread: 1 << 52})
        await believe(archive)
        await until(lambda: _has_revision(archive, 2))
        assert not await wait_until_async(lambda: _are_stored(archive, set()), 3)
        assert await archive.keys() == {stored[0].key}
        await redis.zrem(key, unread)
        assert await wait_until_async(lambda: _are_stored(archive, set()), 30)
        assert indexer.child.returncode is None


async def _has_revision(archive: Archive, days: int) -> bool:
    return days in [one.retention_days for one in await archive.district.reader.revisions(archive.camera_id)]


# ---- Redis


async def test_corrupt_redis_values_stop_no_loop_and_hide_nothing_else(
    district: District, s3: S3Settings, tmp_path: Path
):
    camera = Camera(camera_id=district.camera_id, name="Cổng", url="rtsp://10.0.0.1/1", updated_us=NOON_US)
    stored = [await district.store(one) for one in segments(district.camera_id, 3)]
    await district.publisher.publish(names.CAMERAS, wire.camera_message(camera, site="local"))
    async with district.indexer(DISTRICAM_INDEXER__RETENTION_S="0.3", DISTRICAM_INDEXER__HOLDS_S="0.2") as indexer:
        await until(indexer.is_ready)
        await until(lambda: district.reader.revisions(district.camera_id))
        await district.announce(stored)
        await until(lambda: _is_found(district, 3))
        await _spoil(district, camera)
        more = [await district.store(one) for one in segments(district.camera_id, 6)[3:]]
        await district.announce(more)
        assert await wait_until_async(lambda: _is_found(district, 6))
        end_s = more[-1].end_us / 1e6
        assert await wait_until_async(lambda: _exports(indexer, district.camera_id, end_s))
        assert indexer.child.returncode is None
        async with (
            api_running(s3, district.redis_url, tmp_path / "api.log") as api,
            httpx.AsyncClient(base_url=f"{api.url}/v1") as http,
        ):
            await _asked(http, district.camera_id)
    async with district.indexer() as again:
        assert await wait_until_async(again.is_ready)
    assert (await checked(district))[0] in {0, 1}


async def _spoil(district: District, camera: Camera) -> None:
    """Writes an invalid value in each key, and a value that a newer version may write."""
    redis, camera_id = district.redis, district.camera_id
    newer = json.loads(wire.encode_json(camera)) | {"transport": "http", "revision": 2, "updated_us": NOON_US + S}
    await redis.zadd(names.camera_key(camera_id), {b"{": 1, json.dumps(newer).encode(): NOON_US + S})
    await redis.zadd(names.camera_key(f"{camera_id}-x"), {b'{"secret": 1}': 1})
    await redis.sadd(names.CAMERA_IDS, f"{camera_id}-x", b"\xff", "No Camera")
    await redis.zadd(names.segments_key(camera_id, NOON_US), {b"short": float(NOON_US), b"x" * 35: float("inf")})
    await redis.zadd(names.events_key(camera_id), {NEWER_EVENT.encode(): 1, b"\xff": 2})
    await redis.zadd(names.expired_key(camera_id), {b"junk": 1, b"9": 2})
    await redis.zadd(names.truncations_key(names.partition_of(camera_id, 60)), {b"{": 1})
    await redis.zadd(names.LATEST, {b"\xff": 1.0, f"{camera_id}-x".encode(): float("inf")})
    await redis.hset(names.epochs_key(camera_id, NOON_US), b"\xff", b"{")
    await redis.hset(names.WATERMARKS, "many", "?")
    await redis.hset(names.WATERMARKS, str(names.partition_of(camera_id, 60)), "?")
    await redis.hset(names.APPLIED, "nonsense", "?")
    await redis.hset(names.HOLDS, SPOILT, b"{")
    await redis.hset(names.HOLD_STATES, SPOILT, b'{"state": "notarised"}')
    await redis.hset(names.still_key(camera_id), "jpeg", b"\xff")
    await redis.hset(names.META, "progress", "{")
    await redis.set("dc1:seg:nonsense", "?")


async def _exports(indexer: Indexer, camera_id: str, end_s: float) -> bool:
    lines = (await indexer.ask("/metrics")).splitlines()
    return any(
        line.startswith(f'{GAUGE}{{camera="{camera_id}"}}') and float(line.split()[-1]) == end_s for line in lines
    )


async def _asked(http: httpx.AsyncClient, camera_id: str) -> None:
    window: dict[str, str | int] = {"from": names.format_rfc3339(NOON_US), "to": names.format_rfc3339(NOON_US + 60 * S)}
    of_camera = f"/cameras/{camera_id}"
    answers = {
        path: await http.get(path, params=params)
        for path, params in (
            ("/cameras", {}),
            (of_camera, {}),
            (f"{of_camera}/timeline", window),
            (f"{of_camera}/segments", window),
            (f"{of_camera}/playlist.m3u8", window),
            ("/streams", {}),
            ("/coverage", {"at": window["from"]}),
            ("/coverage", window),
            ("/holds", {}),
        )
    }
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    found = {one["camera_id"] for one in answers["/cameras"].json()["cameras"]}
    assert camera_id in found
    assert f"{camera_id}-x" not in found
    assert answers[of_camera].json()["unread"] == ["transport"]
    assert answers[of_camera].json()["revision"] == 2
    assert camera_id in {one["camera_id"] for one in answers["/streams"].json()["streams"]}
    assert len(answers[f"{of_camera}/segments"].json()["segments"]) == 6
    assert set(answers["/holds"].json()["unread"]) <= {SPOILT}  # until a round finds that the bucket has no such hold
    assert (await http.get(f"{of_camera}/latest.jpg")).status_code == 404
    placed = await http.post("/holds", json={"camera_id": camera_id, "reason": "x", **window})
    assert placed.status_code == 201
    assert (await http.get("/holds")).json()["holds"][0]["id"] == placed.json()["id"]


async def test_an_unreadable_hold_is_reported_and_not_released(district: District, s3: S3Settings, tmp_path: Path):
    await put(district, names.hold_key(SPOILT), b"{")
    fields = {"site": "local", "schema": "1", "partitions": 60, "state": "ready", "build": "b"}
    await district.redis.hset(names.META, mapping={**fields})
    await district.redis.hset(names.HOLDS, SPOILT, b"{")
    async with (
        api_running(s3, district.redis_url, tmp_path / "api.log") as api,
        httpx.AsyncClient(base_url=f"{api.url}/v1") as http,
    ):
        assert (await http.get("/holds")).json()["unread"] == [SPOILT]
        shown = await http.get(f"/holds/{SPOILT}")
        released = await http.delete(f"/holds/{SPOILT}", params={"reason": "x"})
        assert (shown.status_code, released.status_code) == (409, 409)
        assert SPOILT in shown.json()["detail"]
    assert [one.key async for one in district.blobs.list(names.HOLDS_PREFIX)] == [names.hold_key(SPOILT)]
