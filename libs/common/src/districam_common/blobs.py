"""The door to the object store. minio-py waits in threads of its own; its errors become ours here, and retries are ours."""
# minio-py's conditional put and checksums are to be had through its private calls alone (version pinned):
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from districam_common import tls
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.names import SITE_MARKER
from districam_common.settings import S3Settings, secret

T = TypeVar("T")

_PAGE = 1000
_STREAM_BYTES = 256 << 10
_CONNECT_TIMEOUT_S = 5.0
_PATIENCE = 4
"""A call may take this many times `timeout_s` in all; that is between two signs of life."""
_META = "x-amz-meta-"
_BUCKET_MISSING = "the bucket is missing: run districam-bucket apply"
_FATAL_CODES = frozenset(
    {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidBucketName", "NotImplemented"}
)
_REJECTED_CODES = frozenset(
    {"EntityTooLarge", "KeyTooLongError", "MetadataTooLarge", "InvalidRange", "InvalidArgument"}
)


class Exists(Rejected):
    """The key is taken already."""


class Missing(Rejected):
    """There is no such object."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the store says of an object; names of the metadata in lower case, without prefix."""

    size: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing; `version` only where versions were listed."""

    key: str
    size: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class SiteMarker:
    """Whose bucket this is."""

    site: str
    created: str
    schema: int


class Blobs:
    """One bucket. Every method may raise Retriable (away, slow, bucket missing) and Fatal (keys refused)."""

    def __init__(self, settings: S3Settings, client: Minio, threads: ThreadPoolExecutor) -> None:
        self._bucket = settings.bucket
        self._endpoint = settings.endpoint
        self._deadline_s = settings.timeout_s * _PATIENCE
        self._client = client
        self._threads = threads
        self._slots = asyncio.Semaphore(settings.threads)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: S3Settings) -> AsyncGenerator["Blobs"]:
        """For the length of the block; the store is not asked yet."""
        pool = connections(settings)
        threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="s3")
        try:
            yield cls(settings, client(settings, pool), threads)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            pool.clear()

    async def put(
        self,
        key: str,
        parts: Sequence[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, str],
        sha256: str,
        once: bool,
    ) -> None:
        """Stores the joined parts in one request, if the store finds their `sha256` (hex) to be right.

        Raises:
            Exists: `once`, and the key is taken.
        """
        headers = {
            "Content-Type": content_type,
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",
            **{f"{_META}{name}": value for name, value in metadata.items()},
            **({"If-None-Match": "*"} if once else {}),
        }
        if not all(value.isascii() for value in headers.values()):
            raise Rejected(f"putting {key}: metadata must be ASCII")

        def send() -> None:
            self._client._put_object(self._bucket, key, b"".join(parts), cast("Any", headers))

        await self._call(f"putting {key}", send)

    async def head(self, key: str) -> Head | None:
        """Size and metadata; None if there is no such object."""

        def ask() -> Head:
            found = self._client.stat_object(self._bucket, key)
            headers = {name.lower(): value for name, value in (found.metadata or {}).items()}
            metadata = {
                name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)
            }
            return Head(found.size or 0, metadata)

        try:
            return await self._call(f"looking up {key}", ask)
        except Missing:
            return None

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from `start`, `length` of them or all the rest.

        Raises:
            Missing: there is no such object.
        """

        def fetch() -> bytes:
            response = self._client.get_object(self._bucket, key, offset=start, length=length or 0)
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

        return await self._call(f"reading {key}", fetch)

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The same, a piece at a time. Close it (`aclosing`) if it may be left early.

        Raises:
            Missing: there is no such object.
        """
        what = f"reading {key}"
        response = await self._call(
            what, lambda: self._client.get_object(self._bucket, key, offset=start, length=length or 0)
        )
        try:
            while piece := await self._call(what, lambda: response.read(_STREAM_BYTES)):
                yield piece
        finally:
            response.close()
            response.release_conn()

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[Listed]:
        """Every object under the prefix, in the order of keys, after `start_after`."""
        found = self._client.list_objects(
            self._bucket, prefix=prefix, recursive=True, start_after=start_after or None
        )
        async for listed in self._paged(prefix, found):
            yield Listed(listed.key, listed.size)

    async def versions(self, prefix: str) -> AsyncIterator[Listed]:
        """Every version under the prefix, markers of deletion among them (size 0)."""
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True, include_version=True)
        async for listed in self._paged(prefix, found):
            yield listed

    async def _paged(self, prefix: str, found: Iterator[Any]) -> AsyncIterator[Listed]:
        def page() -> list[Listed]:
            return [
                Listed(str(one.object_name), int(one.size or 0), one.version_id)
                for one in itertools.islice(found, _PAGE)
            ]

        while listed := await self._call(f"listing {prefix!r}", page):
            for one in listed:
                yield one

    async def delete(self, items: Iterable[str | Listed]) -> tuple[str, ...]:
        """Deletes keys, or versions where they carry one. Gives the keys that the store would not delete (held).

        On a bucket with versions, a key without a version only gets a marker of deletion.
        """
        wanted = [
            DeleteObject(item) if isinstance(item, str) else DeleteObject(item.key, item.version)
            for item in items
        ]

        def remove() -> list[Any]:
            return list(self._client.remove_objects(self._bucket, wanted))

        refused: set[str] = set()
        for error in await self._call(f"deleting {len(wanted)} objects", remove):
            if error.code not in {"AccessDenied", "ObjectLocked"}:
                raise Retriable(f"deleting {error.name}: {error.code}: {error.message}")
            refused.add(str(error.name))
        return tuple(sorted(refused))

    async def site(self) -> SiteMarker | None:
        """Whose bucket this is; None if nobody has said yet.

        Raises:
            Fatal: the marker cannot be read.
        """
        try:
            raw = await self.get(SITE_MARKER)
        except Missing:
            return None
        try:
            marker = json.loads(raw)
            return SiteMarker(str(marker["site"]), str(marker["created"]), int(marker["schema"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Fatal(f"{SITE_MARKER} in bucket {self._bucket} is not a site's marker") from error

    async def check_site(self, site: str) -> None:
        """Returns if this is the site's bucket.

        Raises:
            Retriable: it has no marker yet.
            Fatal: it is another site's.
        """
        marker = await self.site()
        if marker is None:
            raise Retriable(f"bucket {self._bucket} has no {SITE_MARKER}: run districam-bucket apply")
        if marker.site != site:
            raise Fatal(
                f"bucket {self._bucket} belongs to site {marker.site!r}, not {site!r}: mend DISTRICAM_SITE or "
                f"DISTRICAM_S3__BUCKET"
            )

    async def create_bucket(self, *, object_lock: bool) -> bool:
        """Makes the bucket; False if it was there."""

        def make() -> bool:
            if self._client.bucket_exists(self._bucket):
                return False
            self._client.make_bucket(self._bucket, object_lock=object_lock)
            return True

        return await self._call(f"making bucket {self._bucket}", make)

    async def has_object_lock(self) -> bool:
        """Whether the bucket was made with object lock."""

        def ask() -> bool:
            try:
                self._client.get_object_lock_config(self._bucket)
            except S3Error as error:
                if error.code == "ObjectLockConfigurationNotFoundError":
                    return False
                raise
            return True

        return await self._call(f"looking up bucket {self._bucket}", ask)

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with self._slots, asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(self._threads, call)
        except (MinioException, HTTPError, OSError) as error:  # OSError: TimeoutError too
            raise translated(error, what, self._endpoint) from error


def connections(settings: S3Settings) -> urllib3.PoolManager:
    """A pool that holds a connection a thread, gives up in time, and repeats nothing."""
    return urllib3.PoolManager(
        maxsize=settings.threads,
        retries=False,
        timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT_S, settings.timeout_s), read=settings.timeout_s),
        ca_certs=str(settings.ca_file) if settings.ca_file else certifi.where(),
    )


def client(settings: S3Settings, pool: urllib3.PoolManager) -> Minio:
    """minio-py on that pool. The region is told, so that it does not ask for it."""
    url = urlsplit(settings.endpoint)
    return Minio(
        url.netloc,
        access_key=settings.access_key,
        secret_key=secret(settings.secret_key, settings.secret_key_file),
        secure=url.scheme == "https",
        region=settings.region,
        http_client=pool,
    )


def translated(error: Exception, what: str, server: str = "the store") -> DistricamError:
    """The error of ours for one of minio-py's, urllib3's or a socket's."""
    if why := tls.refused(error):
        return Fatal(f"{what}: {server}: {why}")
    if isinstance(error, S3Error):
        where = f" ({server})" if error.code in _FATAL_CODES else ""
        return _of_code(error.code or "", f"{what}: {error.code}: {error.message}{where}")
    if isinstance(error, ServerError) and error.status_code == 412:  # a HEAD or PUT whose answer has no body
        return Exists(what)
    if isinstance(error, (ServerError, InvalidResponseError, HTTPError, OSError)):
        return Retriable(f"{what}: {type(error).__name__}: {error or 'no answer in time'}")
    return Rejected(f"{what}: {error}")


def _of_code(code: str, message: str) -> DistricamError:
    if code == "PreconditionFailed":
        return Exists(message)
    if code == "NoSuchKey":
        return Missing(message)
    if code == "NoSuchBucket":
        return Retriable(f"{message}; {_BUCKET_MISSING}")
    if code in _FATAL_CODES:
        return Fatal(message)
    if code in _REJECTED_CODES:
        return Rejected(message)
    return Retriable(message)
