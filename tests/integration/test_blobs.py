"""The S3 client on a real store: conditional writes, checksums, ordered listings, and classes of errors.

Tests with `bucket` run on the real one and on the in-memory one of the unit tests, which must behave alike.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import pytest_asyncio
from pydantic import SecretStr

from districam_common.contract.names import SITE_MARKER
from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.runtime.settings import S3Settings
from districam_common.s3.blobs import Blobs, ObjectExists, ObjectInfo, ObjectNotFound, SiteMarker
from districam_common.s3.versioned_bucket import VersionedBucket
from integration.conftest import a_bucket
from support.memory_blobs import MemoryBlobs

pytestmark = pytest.mark.timeout(60)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def put(blobs: Blobs, key: str, body: bytes, *, once: bool = True, digest: str | None = None) -> None:
    await blobs.put(
        key,
        [body[:3], body[3:]],
        content_type="video/mp4",
        metadata={"camera-id": "cam-001", "schema": "1"},
        sha256=digest or sha256(body),
        once=once,
    )


@pytest_asyncio.fixture
async def blobs(s3: S3Settings) -> AsyncGenerator[Blobs]:
    async with a_bucket(s3) as bucket:
        yield bucket


@pytest.fixture(params=["s3", "memory"])
def bucket(request: pytest.FixtureRequest) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else request.getfixturevalue("blobs")


async def test_a_put_object_is_read_back_with_its_metadata(bucket: Blobs) -> None:
    await put(bucket, "cam-001/a.mp4", b"0123456789")
    assert await bucket.head("cam-001/a.mp4") == ObjectInfo(10, {"camera-id": "cam-001", "schema": "1"})
    assert await bucket.get("cam-001/a.mp4") == b"0123456789"
    assert await bucket.get("cam-001/a.mp4", start=3, length=4) == b"3456"
    assert await bucket.get("cam-001/a.mp4", start=8) == b"89"


async def test_a_key_is_written_once_by_sixteen_concurrent_puts(bucket: Blobs) -> None:
    async def one(number: int) -> bool:
        """Whether its body is the stored one. An attempt whose response was lost may be the one that was stored."""
        body = b"body %02d" % number
        while True:
            try:
                await put(bucket, "cam-001/a.mp4", body)
            except ObjectExists:
                return await bucket.get("cam-001/a.mp4") == body
            except Retriable:  # the first put into a bucket may take seconds on a busy machine
                continue
            return True

    async with asyncio.TaskGroup() as tasks:
        attempts = [tasks.create_task(one(number)) for number in range(16)]
    winners = [number for number, attempt in enumerate(attempts) if attempt.result()]
    assert len(winners) == 1
    assert await bucket.get("cam-001/a.mp4") == b"body %02d" % winners[0]
    await put(bucket, "cam-001/a.mp4", b"again", once=False)
    assert await bucket.get("cam-001/a.mp4") == b"again"


async def test_without_conditional_writes_each_put_checks_for_the_object_first(s3: S3Settings) -> None:
    async with a_bucket(s3.model_copy(update={"conditional_put": False})) as blobs:
        await put(blobs, "cam-001/a.mp4", b"first")
        with pytest.raises(ObjectExists):
            await put(blobs, "cam-001/a.mp4", b"again")
        assert await blobs.get("cam-001/a.mp4") == b"first"
        assert await blobs.head("cam-001/a.mp4") == ObjectInfo(5, {"camera-id": "cam-001", "schema": "1"})


async def test_a_body_that_does_not_match_its_checksum_is_not_stored(bucket: Blobs) -> None:
    with pytest.raises(Retriable, match="BadDigest"):
        await put(bucket, "cam-001/a.mp4", b"body", digest=sha256(b"another"))
    assert await bucket.head("cam-001/a.mp4") is None


async def test_metadata_that_http_cannot_carry_is_rejected(bucket: Blobs) -> None:
    with pytest.raises(Rejected, match="ASCII"):
        await bucket.put("a", [b"x"], content_type="a/b", metadata={"name": "chợ"}, sha256=sha256(b"x"), once=True)


async def test_an_absent_object_raises_missing(bucket: Blobs) -> None:
    assert await bucket.head("nothing") is None
    with pytest.raises(ObjectNotFound):
        await bucket.get("nothing")


async def test_a_large_object_is_streamed_and_may_be_abandoned(blobs: Blobs) -> None:
    body = bytes(range(256)) * 4096 * 6  # 6 MiB in one request, although minio-py would split it
    await put(blobs, "cam-001/large.mp4", body)
    pieces = [piece async for piece in blobs.stream("cam-001/large.mp4", start=100, length=3 << 20)]
    assert b"".join(pieces) == body[100 : 100 + (3 << 20)]
    assert len(pieces) > 4
    async with aclosing(blobs.stream("cam-001/large.mp4")) as stream:
        assert await anext(stream) == body[: 256 << 10]
    assert await blobs.get("cam-001/large.mp4", length=3) == body[:3]


async def test_a_listing_is_in_key_order_after_the_start_key(bucket: Blobs) -> None:
    keys = [f"cam-001/{number:04}.mp4" for number in range(25)]
    for key in [*reversed(keys), "cam-002/0000.mp4"]:
        await put(bucket, key, key.encode())
    assert [listed.key async for listed in bucket.list("cam-001/")] == keys
    after = [listed async for listed in bucket.list("cam-001/", start_after=keys[20])]
    assert [(listed.key, listed.size) for listed in after] == [(key, len(key)) for key in keys[21:]]
    assert await bucket.delete(keys[:20]) == ()
    assert [listed.key async for listed in bucket.list("")] == [*keys[20:], "cam-002/0000.mp4"]


async def test_a_listing_of_several_pages_is_complete(blobs: Blobs) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(1100):
            tasks.create_task(put(blobs, f"many/{number:05}", b"x"))
    assert [listed.key async for listed in blobs.list("many/")] == [f"many/{n:05}" for n in range(1100)]


async def test_versions_of_a_versioned_bucket_are_deleted_one_by_one(s3: S3Settings) -> None:
    async with VersionedBucket.open(s3) as blobs:
        assert await blobs.create_bucket(object_lock=True)
        assert not await blobs.create_bucket(object_lock=True)
        assert await blobs.has_object_lock()
        await put(blobs, "cam-001/a.mp4", b"first!")
        await put(blobs, "cam-001/a.mp4", b"second", once=False)
        versions = [one async for one in blobs.versions("cam-001/")]
        assert len(versions) == 2
        assert await blobs.delete_versions(versions) == []
        assert [one async for one in blobs.versions("cam-001/")] == []


async def test_a_missing_bucket_is_waited_for(s3: S3Settings) -> None:
    async with Blobs.open(s3) as blobs:
        with pytest.raises(Retriable, match="districam-bucket apply"):
            await put(blobs, "cam-001/a.mp4", b"body")
        with pytest.raises(Retriable, match="districam-bucket apply"):
            await blobs.require_site("local")


async def test_a_wrong_key_is_fatal_and_an_unreachable_store_is_retried(s3: S3Settings) -> None:
    wrong = s3.model_copy(update={"secret_key": SecretStr("wrong")})
    async with Blobs.open(wrong) as blobs:
        with pytest.raises(Fatal):
            await put(blobs, "cam-001/a.mp4", b"body")
    away = s3.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    async with Blobs.open(away) as blobs:
        with pytest.raises(Retriable):
            await blobs.get("cam-001/a.mp4")


async def test_a_store_that_accepts_and_never_responds_times_out(s3: S3Settings) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        mute = s3.model_copy(update={"endpoint": f"http://127.0.0.1:{port}", "timeout_s": 0.5})
        async with Blobs.open(mute) as blobs, asyncio.timeout(5):
            with pytest.raises(Retriable):
                await blobs.get("cam-001/a.mp4")


async def test_the_site_marker_of_a_bucket_is_read(bucket: Blobs) -> None:
    with pytest.raises(Retriable, match="districam-bucket apply"):
        await bucket.require_site("local")
    marker = {"site": "district-1", "created": "2026-11-24T00:00:00.000000Z", "schema": 1}
    await put(bucket, SITE_MARKER, json.dumps(marker).encode())
    assert await bucket.read_site_marker() == SiteMarker("district-1", "2026-11-24T00:00:00.000000Z", 1)
    await bucket.require_site("district-1")
    with pytest.raises(Fatal, match="district-1"):
        await bucket.require_site("local")
    await put(bucket, SITE_MARKER, b"[]", once=False)
    with pytest.raises(Fatal, match="not a site marker"):
        await bucket.require_site("local")
