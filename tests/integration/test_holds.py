"""Holds placed through the api, applied by the indexer, enforced by the store, whatever is deleted."""
# redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from minio import Minio
from minio.error import S3Error

from districam_api.core.keys import ROLES, Role, create_key
from districam_api.footage import FootageReader
from districam_api.hold_service import FootageExpired, HoldService
from districam_common.contract import names, wire
from districam_common.contract.events import SegmentStored
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.index.hold_cache import HoldCache
from districam_common.ledger.holds import Hold
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.settings import KafkaSettings, S3Settings
from districam_common.s3.blobs import create_client, create_connection_pool
from districam_common.s3.hold_store import HoldStore
from districam_devkit.servers import Servers
from integration.test_indexer import Indexer, a_district, until
from integration.test_retention import Archive, archive, archive_of, believe, district
from support.announcements import S, lost
from support.api_process import api_running

__all__ = ["archive", "district"]

pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture
async def locked(servers: Servers, kafka: KafkaSettings, s3: S3Settings, tmp_path: Path) -> AsyncGenerator[Archive]:
    """An archive whose bucket has object lock."""
    async with a_district(servers, kafka, s3, tmp_path, object_lock=True) as made, archive_of(made, s3) as archive:
        yield archive


@dataclass(frozen=True)
class HoldsClient:
    """The api, and its requests about holds."""

    http: httpx.AsyncClient
    camera_id: str

    async def place(self, from_us: int, to_us: int) -> httpx.Response:
        body = {
            "camera_id": self.camera_id, "from": names.format_rfc3339(from_us), "to": names.format_rfc3339(to_us),
            "reason": "tai nạn", "case_number": "2026/17",
        }  # fmt: skip
        return await self.http.post("/v1/holds", json=body)

    async def of(self, hold_id: str) -> dict[str, Any]:
        return (await self.http.get(f"/v1/holds/{hold_id}")).json()

    async def is_in_state(self, hold_id: str, state: str, versions: int) -> bool:
        (found,) = [one for one in (await self.http.get("/v1/holds")).json()["holds"] if one["id"] == hold_id]
        return (found["state"], found["versions"]) == (state, versions)


@asynccontextmanager
async def holds_client(archive: Archive, s3: S3Settings, tmp_path: Path) -> AsyncGenerator[HoldsClient]:
    async with (
        api_running(s3, archive.district.redis_url, tmp_path / "api.log") as api,
        httpx.AsyncClient(base_url=api.url, timeout=10) as http,
    ):
        yield HoldsClient(http, archive.camera_id)


def store_of(s3: S3Settings) -> Minio:
    return create_client(s3, create_connection_pool(s3))


async def test_held_footage_survives_retention_budget_and_deletion(locked: Archive, s3: S3Settings, tmp_path: Path):
    hour_us = locked.edge_us - 3 * HOUR_US
    starts = [hour_us + n * 20 * S for n in range(6)]
    async with holds_client(locked, s3, tmp_path) as api:
        async with locked.indexer():
            stored = await locked.stock(*starts)
            answer = await api.place(starts[2] + S, starts[3] + S)  # overlaps the third and the fourth
            assert answer.status_code == 201, answer.text
            hold = answer.json()
            assert (hold["reason"], hold["case_number"], hold["placed_by"]) == ("tai nạn", "2026/17", "-")
            await until(lambda: api.is_in_state(hold["id"], "enforced", 2))
            await believe(locked)
        async with locked.indexer(DISTRICAM_STORAGE__MAX_BYTES="1") as indexer:
            await _outlives(locked, s3, api, indexer=indexer, hold_id=hold["id"], stored=stored)


async def _outlives(
    locked: Archive, s3: S3Settings, api: HoldsClient, *, indexer: Indexer, hold_id: str, stored: list[SegmentStored]
) -> None:
    held = {one.key for one in stored[2:4]}
    await until(lambda: _has(locked, held))
    await asyncio.sleep(1)  # further rounds of retention and budget
    assert await locked.keys() == held
    await until(lambda: _says(indexer, "districam_storage_over_budget_bytes 2"))

    store, key = store_of(s3), stored[2].key
    (version,) = [one async for one in locked.bucket.versions(key)]
    with pytest.raises(S3Error) as refused:
        store.remove_object(s3.bucket, key, version.version_id)
    assert refused.value.code == "AccessDenied"
    assert store.get_object(s3.bucket, key, version_id=version.version_id).read() == bytes(stored[2].bytes)

    # it has checked once, and now checks rarely
    await until(lambda: _says(indexer, 'districam_holds{state="enforced"} 1'))
    late = await locked.store_late(stored[2])
    await locked.district.announce([late])
    assert (await api.of(hold_id))["state"] in ("enforced", "partial")
    await until(lambda: api.is_in_state(hold_id, "enforced", 3))
    assert await locked.bucket.has_legal_hold(late.key, await _version_of(locked, late.key))

    assert (await api.http.delete(f"/v1/holds/{hold_id}")).status_code == 422  # a reason is required
    assert (await api.http.delete(f"/v1/holds/{hold_id}", params={"reason": "xong"})).status_code == 204
    await until(lambda: _has(locked, set()))
    assert [one async for one in locked.bucket.versions(f"{locked.camera_id}/")] == []
    over = await api.of(hold_id)
    assert (over["state"], over["release_reason"], over["released_by"]) == ("released", "xong", "-")
    assert (await api.http.get("/v1/holds")).json()["holds"] == []
    assert (await api.http.delete(f"/v1/holds/{hold_id}", params={"reason": "x"})).status_code == 404


async def test_a_delete_marker_on_held_footage_is_removed(locked: Archive, s3: S3Settings, tmp_path: Path):
    start_us = locked.edge_us + HOUR_US
    async with locked.indexer(), holds_client(locked, s3, tmp_path) as api:
        stored = await locked.stock(start_us, start_us + 20 * S)
        hold_id = (await api.place(start_us, start_us + 60 * S)).json()["id"]
        await until(lambda: api.is_in_state(hold_id, "enforced", 2))
    await locked.bucket.delete([stored[0].key])
    assert stored[0].key not in await locked.keys()
    async with locked.indexer():
        await until(lambda: _has(locked, {one.key for one in stored}))


async def test_without_object_lock_a_hold_is_advisory_and_retention_keeps_it(
    archive: Archive, s3: S3Settings, tmp_path: Path
):
    starts = [archive.edge_us - HOUR_US + n * 20 * S for n in range(3)]
    async with archive.indexer(), holds_client(archive, s3, tmp_path) as api:
        stored = await archive.stock(*starts)
        hold_id = (await api.place(starts[0], starts[0] + S)).json()["id"]
        await until(lambda: api.is_in_state(hold_id, "advisory", 1))
        await believe(archive)
        await until(lambda: _has(archive, {stored[0].key}))


async def test_expired_footage_cannot_be_held_and_the_rest_can(archive: Archive, s3: S3Settings, tmp_path: Path):
    edge_us = archive.edge_us
    async with archive.indexer(), holds_client(archive, s3, tmp_path) as api:
        stored = await archive.stock(edge_us - HOUR_US, edge_us + HOUR_US)
        await believe(archive)
        await until(lambda: _has(archive, {stored[1].key}))
        late = await api.place(edge_us - HOUR_US, edge_us + 2 * HOUR_US)
        assert late.status_code == 409
        assert late.json()["expired"][-1]["to"] == names.format_rfc3339(edge_us)
        assert (await HoldStore(archive.bucket).list_active()).readable == ()
        assert (await api.place(edge_us, edge_us + 2 * HOUR_US)).status_code == 201


async def test_a_hold_keeps_its_windows_events_beyond_topic_retention(archive: Archive, s3: S3Settings, tmp_path: Path):
    """After 35 days the topic has none of them; the hold has."""
    old_us = archive.edge_us - 30 * DAY_US
    event = lost(old_us + HOUR_US, archive.camera_id)
    async with archive.indexer(), holds_client(archive, s3, tmp_path) as api:
        await archive.stock(old_us)
        await archive.district.redis.zadd(
            names.events_key(archive.camera_id), {wire.encode_indexed_event(event, event.at_us): event.at_us}
        )
        assert (await api.place(old_us, old_us + 2 * HOUR_US)).status_code == 201
        await archive.district.redis.flushall()
        await until(lambda: _is_indexed(archive, event))
        assert (await api.http.get("/v1/holds")).status_code == 200


@pytest.mark.correctness
async def test_events_after_a_hold_was_placed_are_kept_beyond_topic_retention(
    archive: Archive, s3: S3Settings, tmp_path: Path
):
    """The window is in the future when the hold is placed. After 35 days the topic has none of its events."""
    now_us = SystemClock().now_us()
    event = lost(now_us + HOUR_US, archive.camera_id)
    store = HoldStore(archive.bucket)
    async with archive.indexer(), holds_client(archive, s3, tmp_path) as api:
        await until(lambda: archive.district.reader.revisions(archive.camera_id))
        await believe(archive)
        placed = await api.place(now_us, now_us + 2 * HOUR_US)
        assert placed.status_code == 201, placed.text
        hold_id = placed.json()["id"]
        written = await store.find(hold_id)
        assert written is not None
        assert written.placed_us >= written.placed_log_us >= now_us
        await archive.district.redis.zadd(
            names.events_key(archive.camera_id), {wire.encode_indexed_event(event, event.at_us): event.at_us}
        )
        assert await store.get_events(hold_id) is None
        theirs = str(names.partition_of(archive.camera_id, 60))
        await archive.district.redis.hset(names.WATERMARKS, theirs, str(now_us + 4 * HOUR_US))
        await until(lambda: store.get_events(hold_id))
        await archive.district.redis.flushall()
        await until(lambda: _is_indexed(archive, event))
        assert await store.find(hold_id) == written  # a hold never changes


async def _is_indexed(archive: Archive, event: object) -> bool:
    meta = await archive.district.reader.meta()
    indexed = await archive.district.reader.events(archive.camera_id)
    return meta is not None and meta.is_ready and event in [one.event for one in indexed]


async def test_an_invalid_hold_names_the_field(archive: Archive, s3: S3Settings, tmp_path: Path):
    day_us = archive.edge_us
    async with archive.indexer(), holds_client(archive, s3, tmp_path) as api:
        await until(lambda: archive.district.reader.revisions(archive.camera_id))
        too_wide = await api.place(day_us, day_us + 32 * DAY_US)
        assert (too_wide.status_code, too_wide.json()["errors"][0]["field"]) == (422, "to")
        unnamed = await api.http.post("/v1/holds", json={"camera_id": archive.camera_id, "from": "x", "to": "y"})
        assert "reason" in {one["field"] for one in unnamed.json()["errors"]}
        elsewhere = HoldsClient(api.http, "nobody")
        assert (await elsewhere.place(day_us, day_us + S)).status_code == 404
        assert (await api.http.get("/v1/holds/..")).status_code in (404, 422)
        assert (await api.http.get("/v1/holds/xyz")).json()["errors"][0]["field"] == "hold_id"
        assert (await api.http.get("/v1/holds", params={"cursor": "?"})).status_code == 422


async def _has(archive: Archive, keys: set[str]) -> bool:
    return await archive.keys() == keys


async def _version_of(archive: Archive, key: str) -> str:
    (version,) = [one async for one in archive.bucket.versions(key)]
    return version.version_id or ""


async def _says(indexer: Indexer, start: str) -> bool:
    return any(line.startswith(start) for line in (await indexer.ask("/metrics")).splitlines())


async def test_a_viewer_key_cannot_place_list_or_release_holds(archive: Archive, s3: S3Settings, tmp_path: Path):
    now_us = archive.edge_us
    made = {role: create_key(role.encode()[:4], bytes(32), name=role, role=role, now_us=now_us) for role in ROLES}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [asdict(key) for key, _ in made.values()]}))
    async with (
        archive.indexer(),
        api_running(s3, archive.district.redis_url, tmp_path / "api.log", keys_file=file) as api,
        httpx.AsyncClient(base_url=api.url, timeout=10) as http,
    ):
        await until(lambda: archive.district.reader.revisions(archive.camera_id))

        async def as_(role: Role, start_us: int) -> tuple[int, int, int, str]:
            http.headers["Authorization"] = f"Bearer {made[role][1]}"
            placed = await HoldsClient(http, archive.camera_id).place(start_us, start_us + S)
            hold_id = placed.json().get("id", "0" * 16)
            listed = await http.get("/v1/holds")
            ended = await http.delete(f"/v1/holds/{hold_id}", params={"reason": "r"})
            return placed.status_code, listed.status_code, ended.status_code, hold_id

        assert (await as_("viewer", now_us))[:3] == (403, 403, 403)
        assert (await HoldStore(archive.bucket).list_active()).readable == ()
        *codes, hold_id = await as_("operator", now_us)
        assert codes == [201, 200, 204]
        (over,) = await HoldStore(archive.bucket).list_released()
        key_id = made["operator"][0].id
        assert (over.id, over.placed_by, over.placed_by_name, over.released_by) == (hold_id, key_id, "operator", key_id)


async def test_a_hold_is_written_before_expirations_are_checked(archive: Archive):
    """In the other order, retention could announce and delete between check and write."""
    store, there = HoldStore(archive.bucket), list[str]()

    class SlowReader(FootageReader):
        async def expired(self, camera_id: str) -> list[tuple[int, int]]:
            there.extend(one.camera_id for one in (await store.list_active()).readable)
            return [(0, 10)]

    footage = SlowReader(archive.district.reader, SystemClock(), 0)
    hold = Hold(id="1" * 16, camera_id=archive.camera_id, from_us=5, to_us=15, reason="r", placed_by="-", placed_us=1)
    with pytest.raises(FootageExpired):
        await HoldService(archive.bucket, archive.district.reader, HoldCache(archive.district.redis)).place(
            hold, footage
        )
    assert there == [archive.camera_id]
    assert (await store.list_active()).readable == ()
