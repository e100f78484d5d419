"""Stores with malformed responses: no response ends a process, malformed ones are retried, unknown states stay unknown."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.s3.blobs import Blobs, ObjectExists, parse_object_lock
from districam_common.s3.versioned_bucket import VersionedBucket
from support.malformed_store import HTML, S3Request, S3Response, error, serving, xml

pytestmark = [pytest.mark.correctness, pytest.mark.timeout(30)]

LOCKED = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{}</ObjectLockConfiguration>"
LIST = "<ListBucketResult><Name>odd</Name>{}</ListBucketResult>"
VERSIONS = "<ListVersionsResult><Name>odd</Name>{}</ListVersionsResult>"
LARGE = b"x" * (6 << 20)
"""More than minio-py sends in one request by default."""
ETAG = {"ETag": '"5d41402abc4b2a76b9719d911017c592"'}


async def _all(pages: AsyncIterator[Any]) -> list[Any]:
    found: list[Any] = []
    async for one in pages:
        found.append(one)
        assert len(found) < 100, "it never ends"
    return found


async def _put(vault: Blobs, *, once: bool = True) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    await vault.put("k", [LARGE], content_type="text/plain", metadata={"camera-id": "c"}, sha256=digest, once=once)


CALLS: dict[str, Callable[[VersionedBucket], Awaitable[Any]]] = {
    "put": _put,
    "put over": lambda vault: _put(vault, once=False),
    "head": lambda vault: vault.head("k"),
    "get": lambda vault: vault.get("k", start=1, length=2),
    "stream": lambda vault: _all(vault.stream("k", start=1, length=2)),
    "list": lambda vault: _all(vault.list("p/")),
    "pages": lambda vault: _all(vault.object_pages("p/")),
    "versions": lambda vault: _all(vault.versions("p/")),
    "folders": lambda vault: vault.common_prefixes("p/"),
    "delete": lambda vault: vault.delete(["k"]),
    "is held": lambda vault: vault.has_legal_hold("k", "v"),
    "site": lambda vault: vault.read_site_marker(),
    "check site": lambda vault: vault.require_site("local"),
}
READS = sorted(CALLS.keys() - {"put", "put over", "head"})
ANSWERS = {
    "html": HTML,
    "half a document": xml("<ListBucketResult><Name>odd</Name><Contents><Key>p/a</Ke"),
    "an unknown status": S3Response(299, b"what?"),
    "an error without a body": S3Response(418, b"", {"Content-Type": "text/plain"}),
    "an error of an unknown code": error("TeapotShortAndStout", 418),
    "an error that is half": xml("<Error><Code>Slo", 503),
    "an error in HTML": S3Response(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
    "bytes that are no text": S3Response(200, bytes(range(256)), {"Content-Type": "application/xml"}),
    "nothing": S3Response(200),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("call", CALLS)
async def test_no_response_of_a_store_ends_a_process(call: str, answer: S3Response) -> None:
    """A service's loops retry Retriable; any other error would end the process."""
    given, raised = None, None
    with serving(lambda _: answer) as settings:
        async with VersionedBucket.open(settings) as vault:
            try:
                given = await CALLS[call](vault)
            except Exception as error:  # noqa: BLE001  # which ones come through is what the test is about
                raised = error
    if raised is not None:
        assert isinstance(raised, (Retriable, Rejected)), repr(raised)
        return
    believable = {
        "html": ("head",),
        "nothing": ("head",),
        "half a document": ("head",),
        "bytes that are no text": ("head",),
    }
    names = [name for name, response in ANSWERS.items() if response is answer]
    assert call in believable.get(names[0], ()), given


@pytest.mark.parametrize("call", READS)
async def test_a_proxys_html_page_is_neither_a_listing_nor_an_object(call: str) -> None:
    with serving(lambda _: HTML) as settings:
        async with VersionedBucket.open(settings) as vault:
            with pytest.raises(Retriable):
                await CALLS[call](vault)


async def test_a_put_succeeds_only_with_a_stores_response() -> None:
    with serving(lambda _: HTML) as settings:
        async with VersionedBucket.open(settings) as vault:
            with pytest.raises(Retriable, match="ETag"):
                await _put(vault)
    with serving(lambda _: S3Response(200, b"", ETAG)) as settings:
        async with VersionedBucket.open(settings) as vault:
            await _put(vault)


async def test_a_key_is_written_once_by_a_condition_or_by_a_head_request() -> None:
    """All other headers, including checksum and metadata, are the same in both cases."""
    asked: dict[bool, list[S3Request]] = {True: [], False: []}
    for conditional, found in asked.items():

        def answer(one: S3Request, seen: list[S3Request] = found) -> S3Response:
            seen.append(one)
            return S3Response(200, b"", ETAG) if one.method == "PUT" else S3Response(404)

        with serving(answer) as settings:
            settings = settings.model_copy(update={"conditional_put": conditional})  # noqa: PLW2901
            async with Blobs.open(settings) as blobs:
                with suppress(DistricamError):  # what was sent is looked at first
                    await _put(blobs)
                    await _put(blobs, once=False)
    assert [one.method for one in asked[True]] == ["PUT", "PUT"]
    assert [one.method for one in asked[False]] == ["HEAD", "PUT", "PUT"]
    changing = {"host", "authorization", "x-amz-date"}
    sent = [{k.lower(): v for k, v in one.headers.items()} for one in (*asked[True], *asked[False][1:])]
    conditions = [one.pop("if-none-match", None) for one in sent]
    assert conditions == ["*", None, None, None]
    plain = [{k: v for k, v in one.items() if k not in changing} for one in sent]
    assert all(one == plain[0] for one in plain)
    assert plain[0]["x-amz-meta-camera-id"] == "c"
    assert "x-amz-checksum-sha256" in plain[0]


async def test_without_conditions_an_existing_key_is_detected_before_the_put() -> None:
    def answer(one: S3Request) -> S3Response:
        assert one.method == "HEAD"
        return S3Response(200, b"", {"Content-Length": "1", **ETAG})

    with serving(answer) as settings:
        async with Blobs.open(settings.model_copy(update={"conditional_put": False})) as blobs:
            with pytest.raises(ObjectExists):
                await _put(blobs)


async def test_an_object_without_a_size_is_not_treated_as_empty() -> None:
    response = S3Response(200, b"", {"Content-Length": "", "Connection": "close", **ETAG})
    with serving(lambda _: response) as settings:
        async with Blobs.open(settings) as blobs:
            with pytest.raises(Retriable, match="content-length"):
                await blobs.head("k")


async def test_a_response_with_another_range_is_rejected() -> None:
    for response in (
        S3Response(200, b"whole object", ETAG),
        S3Response(206, b"le", {"Content-Range": "bytes 4-5/12", **ETAG}),
    ):
        with serving(lambda _, response=response: response) as settings:
            async with Blobs.open(settings) as blobs:
                with pytest.raises(Retriable, match="range"):
                    await blobs.get("k", start=1, length=2)


async def test_an_endless_listing_is_aborted() -> None:
    """Otherwise its thread and connection would never be freed."""
    again = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    for inside in (again + "<Contents><Key>p/a</Key><Size>1</Size></Contents>", again):
        with serving(lambda _, inside=inside: xml(LIST.format(inside))) as settings:
            async with Blobs.open(settings) as blobs:
                with pytest.raises(Retriable):
                    await _all(blobs.list("p/"))


async def test_a_delete_marker_with_an_unusual_date_is_listed() -> None:
    """As VersityGW 1.8.0 writes it: with nanoseconds, which minio-py cannot parse."""
    marker = (
        "<DeleteMarker><IsLatest>true</IsLatest><Key>p/a</Key>"
        "<LastModified>2026-11-28T06:16:57.209525085Z</LastModified><VersionId>2</VersionId></DeleteMarker>"
        "<Version><ETag>e</ETag><Key>p/a</Key><Size>5</Size><VersionId>1</VersionId></Version>"
    )
    with serving(lambda _: xml(VERSIONS.format(marker))) as settings:
        async with VersionedBucket.open(settings) as vault:
            found = await _all(vault.versions("p/"))
            assert [(one.version_id, one.is_delete_marker, one.size) for one in found] == [
                ("2", True, 0),
                ("1", False, 5),
            ]


async def test_an_entry_repeated_on_the_next_page_is_listed_once() -> None:
    """As VersityGW 1.8.0 does: a version listed twice would look like an overwritten object."""

    def answer(asked: S3Request) -> S3Response:
        first = int(asked.query.get("key-marker", "p/0").removeprefix("p/"))
        more = "".join(
            f"<Version><Key>p/{n}</Key><Size>5</Size><VersionId>v</VersionId></Version>" for n in (first, first + 1)
        )
        truncated = f"<IsTruncated>true</IsTruncated><NextKeyMarker>p/{first + 1}</NextKeyMarker>"
        marker = "<NextVersionIdMarker>v</NextVersionIdMarker>"
        return xml(VERSIONS.format(more + (truncated + marker if first < 4 else "")))

    with serving(answer) as settings:
        async with VersionedBucket.open(settings) as vault:
            found = await _all(vault.versions("p/"))
    assert [one.key for one in found] == [f"p/{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("inside", "is_locked"),
    [("<Rule></Rule>", True), ("<Rule/>", True), ("", True), ("<Rule><DefaultRetention/></Rule>", True)],
)
def test_the_rule_of_an_object_lock_configuration_is_ignored(inside: str, is_locked: bool) -> None:  # noqa: FBT001
    """VersityGW 1.8.0 returns an empty rule."""
    assert parse_object_lock(LOCKED.format(inside).encode()) is is_locked


async def test_object_lock_may_be_unknown() -> None:
    answers = {
        True: xml(LOCKED.format("<Rule></Rule>")),
        False: error("ObjectLockConfigurationNotFoundError", 404),
        None: error("NotImplemented", 501),
    }
    for expected, response in answers.items():
        with serving(lambda _, response=response: response) as settings:
            async with Blobs.open(settings) as blobs:
                assert await blobs.has_object_lock() is expected
    assert parse_object_lock(b"<html/>") is None


class VersionedStore:
    """A store of one versioned object, which enforces legal holds or does not. `odd` answers some requests differently."""

    def __init__(self, *, keeps: bool, odd: Callable[[S3Request], S3Response | None] = lambda _: None) -> None:
        self._keeps, self._odd = keeps, odd
        self.there: dict[str, bool] = {}

    def __call__(self, asked: S3Request) -> S3Response:
        if response := self._odd(asked):
            return response
        version = asked.query.get("versionId", "")
        match asked.method:
            case "GET" if "object-lock" in asked.query:
                return xml(LOCKED.format("<Rule></Rule>"))
            case "GET" if "versions" in asked.query:
                lines = [
                    f"<Version><Key>{asked.query['prefix']}</Key><Size>5</Size><VersionId>{one}</VersionId></Version>"
                    for one in self.there
                ]
                return xml(VERSIONS.format("".join(lines)))
            case "PUT" if "legal-hold" in asked.query:
                self.there[version] = b"ON" in asked.body
                return S3Response(200)
            case "PUT":
                self.there[str(len(self.there) + 1)] = False
                return S3Response(200, b"", ETAG)
            case "DELETE" if self.there.get(version) and self._keeps:
                return error("SomeCodeOfItsOwn", 409)
            case _:
                self.there.pop(version, None)
                return S3Response(204)


async def test_a_legal_hold_is_verified_by_whether_the_object_remains() -> None:
    for keeps in (True, False):
        store = VersionedStore(keeps=keeps)
        with serving(store) as settings:
            async with VersionedBucket.open(settings) as vault:
                assert await vault.enforces_legal_hold("probe") is keeps
                assert store.there == {}


ODD: dict[str, Callable[[S3Request], S3Response | None]] = {
    "holds are not implemented": lambda a: error("NotImplemented", 501) if "legal-hold" in a.query else None,
    "holds are refused in a way of its own": lambda a: (
        error("InvalidRequest", 400) if "legal-hold" in a.query else None
    ),
    "holds are not ours to place": lambda a: error("AccessDenied", 403) if "legal-hold" in a.query else None,
    "versions are HTML": lambda a: HTML if "versions" in a.query else None,
    "the lock is not ours to see": lambda a: error("AccessDenied", 403) if "object-lock" in a.query else None,
    "all of it is HTML": lambda _: HTML,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_legal_hold_enforcement_may_be_unknown(odd: Callable[[S3Request], S3Response | None]) -> None:
    """Then holds are advisory, and the indexer continues."""
    with serving(VersionedStore(keeps=True, odd=odd)) as settings:
        async with VersionedBucket.open(settings) as vault:
            assert await vault.enforces_legal_hold("probe") is None


async def test_only_rejected_credentials_are_fatal() -> None:
    with serving(lambda _: error("SignatureDoesNotMatch", 403)) as settings:
        async with VersionedBucket.open(settings) as vault:
            with pytest.raises(Fatal):
                await vault.common_prefixes("")
