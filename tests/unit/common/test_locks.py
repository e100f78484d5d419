"""Object locks: requested by a PUT, rejected by a store, preventing a deletion."""

import hashlib
from urllib.parse import quote

import pytest

from districam_common.errors import DistricamError, Retriable
from districam_common.s3.blobs import Blobs, LockRefused
from districam_common.s3.s3_listing import ObjectVersion
from districam_common.s3.versioned_bucket import VersionedBucket
from support.malformed_store import HTML, S3Request, S3Response, error, serving, xml

pytestmark = pytest.mark.hostile

BODY = b"body"
UNTIL_US = 1_795_531_620_654_321
STORED = S3Response(200, b"", {"ETag": '"x"'})


async def put(blobs: Blobs, locked_until_us: int | None = UNTIL_US) -> None:
    await blobs.put(
        "key", [BODY], content_type="video/mp4", metadata={}, sha256=hashlib.sha256(BODY).hexdigest(),
        once=True, locked_until_us=locked_until_us,
    )  # fmt: skip


async def refusal(blobs: Blobs) -> type[Exception] | None:
    try:
        await put(blobs)
    except DistricamError as error:
        return type(error)
    return None


async def test_a_put_with_a_lock_sends_object_lock_headers() -> None:
    asked: list[S3Request] = []

    def answer(one: S3Request) -> S3Response:
        asked.append(one)
        return STORED

    with serving(answer) as settings:
        async with Blobs.open(settings) as blobs:
            await put(blobs)
            await put(blobs, None)
    with_lock, without = asked
    assert with_lock.headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    assert with_lock.headers["x-amz-object-lock-retain-until-date"] == "2026-11-24T14:47:00Z"
    assert with_lock.headers["if-none-match"] == "*"
    assert [name for name in without.headers if "object-lock" in name] == []


@pytest.mark.parametrize(
    "code",
    ["InvalidRequest", "InvalidArgument", "AccessDenied", "NotImplemented", "ObjectLockConfigurationNotFoundError"],
)
async def test_an_error_that_may_be_due_to_the_lock_raises_lock_refused(code: str) -> None:
    """Stores use different codes for a bucket without object lock, a date in the past, a missing permission."""
    with serving(lambda _: error(code, 400)) as settings:
        async with Blobs.open(settings) as blobs:
            assert await refusal(blobs) is LockRefused


@pytest.mark.parametrize(
    "response", [error("InternalError", 500), error("SlowDown", 503), HTML], ids=["500", "503", "HTML"]
)
async def test_other_errors_do_not_raise_lock_refused(response: S3Response) -> None:
    """Otherwise a temporary error of the store would lead to footage without a lock."""
    with serving(lambda _: response) as settings:
        async with Blobs.open(settings) as blobs:
            assert await refusal(blobs) is Retriable


DELETED = "<DeleteResult><Error><Key>k</Key><VersionId>v</VersionId><Code>{}</Code><Message>{}</Message></Error></DeleteResult>"
VERSION = ObjectVersion("k", "v", 4, is_delete_marker=False, is_latest=True)


async def is_trouble(bucket: VersionedBucket) -> bool:
    try:
        await bucket.delete_versions([VERSION])
    except Retriable:
        return True
    return False


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "Access Denied."),
        ("ObjectLocked", "locked"),
        ("InvalidRequest", "Object is WORM protected and cannot be overwritten"),
    ],
    ids=["S3, SeaweedFS", "VersityGW", "MinIO, Silo"],
)
async def test_locked_versions_are_returned_by_delete_versions(code: str, message: str) -> None:
    with serving(lambda _: xml(DELETED.format(code, message))) as settings:
        async with VersionedBucket.open(settings) as bucket:
            assert not await is_trouble(bucket)
            assert await bucket.delete_versions([VERSION]) == [VERSION]
            assert await bucket.delete(["k"]) == ("k",)


async def test_any_other_delete_error_is_retriable() -> None:
    with serving(lambda _: xml(DELETED.format("InvalidRequest", "of another kind"))) as settings:
        async with VersionedBucket.open(settings) as bucket:
            assert await is_trouble(bucket)


@pytest.mark.parametrize(
    ("response", "until_us"),
    [
        (S3Response(200, b"", {"x-amz-object-lock-retain-until-date": "2026-11-24T14:47:00Z"}), 1_795_531_620_000_000),
        (
            S3Response(200, b"", {"x-amz-object-lock-retain-until-date": "2026-11-24T14:47:00.654Z"}),
            1_795_531_620_654_000,
        ),
        (S3Response(200, b"", {"x-amz-object-lock-retain-until-date": "soon"}), 0),
        (S3Response(200), 0),
        (S3Response(404), 0),
        (S3Response(403), 0),
    ],
    ids=["seconds", "milliseconds", "no date", "not locked", "gone", "may not ask"],
)
async def test_the_retention_end_is_parsed_or_0(response: S3Response, until_us: int) -> None:
    asked: list[S3Request] = []

    def answer(one: S3Request) -> S3Response:
        asked.append(one)
        return response

    with serving(answer) as settings:
        async with VersionedBucket.open(settings) as bucket:
            assert await bucket.retained_until_us("a/b", "v 1") == until_us
    assert [(one.method, one.key, one.query) for one in asked] == [("HEAD", quote("a/b"), {"versionId": "v 1"})]
