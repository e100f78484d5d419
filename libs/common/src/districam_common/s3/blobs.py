"""Asynchronous S3 client on minio-py, which runs in threads; translates its errors. Callers retry."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteError, DeleteObject
from minio.error import S3Error
from urllib3 import BaseHTTPResponse

from districam_common.contract.names import SITE_MARKER, utc
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.runtime.settings import S3Settings, read_secret
from districam_common.s3.s3_errors import (
    CLIENT_ERRORS,
    LockRefused,
    ObjectExists,
    ObjectNotFound,
    UnsupportedRequest,
    is_object_locked,
    may_be_lock_refusal,
    translate_error,
)
from districam_common.s3.s3_listing import (
    MAX_PAGE_ENTRIES,
    ListingKind,
    ListingPage,
    ObjectVersion,
    first_query,
    parse_page,
)
from districam_common.s3.s3_requests import put, request

__all__ = [
    "Blobs",
    "LockRefused",
    "ObjectExists",
    "ObjectInfo",
    "ObjectNotFound",
    "SiteMarker",
    "UnsupportedRequest",
    "create_client",
    "create_connection_pool",
]

T = TypeVar("T")

_STREAM_BYTES = 256 << 10
_CONNECT_TIMEOUT_S = 5.0
_DEADLINE_FACTOR = 4
"""Total time of a call in multiples of `timeout_s`, which limits each single read and write."""
_META = "x-amz-meta-"
_MAX_EMPTY_PAGES = 1000
"""Empty pages in a row before a listing counts as endless."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Size and user metadata of an object; names in lower case, without `x-amz-meta-`."""

    size: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class SiteMarker:
    """The object that states to which site a bucket belongs."""

    site: str
    created: str
    schema: int


_LOCK_ENABLED = re.compile(rb"ObjectLockEnabled>\s*Enabled\s*<")


class Blobs:
    """One bucket. Every method may raise Retriable (unavailable, slow, no bucket) and Fatal (credentials rejected)."""

    def __init__(self, settings: S3Settings, client: Minio, threads: ThreadPoolExecutor) -> None:
        self._bucket = settings.bucket
        self._endpoint = settings.endpoint
        self._conditional_put = settings.conditional_put
        self._deadline_s = settings.timeout_s * _DEADLINE_FACTOR
        self._client = client
        self._threads = threads
        self._slots = asyncio.Semaphore(settings.threads)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: S3Settings) -> AsyncGenerator[Self]:
        """A client for the duration of the block; sends no request yet."""
        pool = create_connection_pool(settings)
        threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="s3")
        try:
            yield cls(settings, create_client(settings, pool), threads)
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
        locked_until_us: int | None = None,
    ) -> None:
        """Stores the joined parts in one request; the store verifies their `sha256` (hex).

        With `locked_until_us` nobody, including administrators, can delete or change them before (COMPLIANCE mode).

        Raises:
            ObjectExists: `once`, and the key exists.
            LockRefused: nothing was stored, perhaps because of the lock.
        """
        headers = {
            "Content-Type": content_type,
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",
            **{f"{_META}{name}": value for name, value in metadata.items()},
            **({} if locked_until_us is None else _lock_headers(locked_until_us)),
        }
        if not all(value.isascii() for value in headers.values()):
            raise Rejected(f"putting {key}: metadata must be ASCII")

        def send() -> None:
            body, if_absent = b"".join(parts), once and self._conditional_put
            etag = put(self._client, self._bucket, key, body, headers, if_absent=if_absent)
            if not etag:  # S3 always returns one: the response is not from a store
                raise ValueError("the response to the PUT has no ETag")

        if once and not self._conditional_put and await self.head(key) is not None:
            raise ObjectExists(f"putting {key}: the key exists")
        try:
            await self._run_in_thread(f"putting {key}", send)
        except DistricamError as error:
            if locked_until_us is not None and may_be_lock_refusal(error.__cause__):
                raise LockRefused(str(error)) from error
            raise

    async def put_json(self, key: str, body: bytes, *, once: bool) -> None:
        """Stores a small JSON document.

        Raises:
            ObjectExists: `once`, and the key exists.
        """
        digest = hashlib.sha256(body).hexdigest()
        await self.put(key, [body], content_type="application/json", metadata={}, sha256=digest, once=once)

    async def head(self, key: str) -> ObjectInfo | None:
        """Size and metadata; None if the object does not exist."""

        def ask() -> ObjectInfo:
            found = request(self._client, "HEAD", self._bucket, key)
            headers = {name.lower(): value for name, value in found.headers.items()}
            metadata = {name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)}
            return ObjectInfo(int(headers["content-length"]), metadata)

        try:
            return await self._run_in_thread(f"looking up {key}", ask)
        except ObjectNotFound:
            return None

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes of the object from `start`, by default all.

        Raises:
            ObjectNotFound: the object does not exist.
        """

        def fetch() -> bytes:
            with self._open_object(key, start, length) as response:
                _require_range(response, start, length)
                return response.read()

        return await self._run_in_thread(f"reading {key}", fetch)

    @contextmanager
    def _open_object(self, key: str, start: int = 0, length: int | None = None) -> Generator[BaseHTTPResponse]:
        """The open response to a GET; to be used in a thread."""
        response = self._client.get_object(self._bucket, key, offset=start, length=length or 0)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """As `get`, in pieces. Use `aclosing` if the iteration may end early.

        Raises:
            ObjectNotFound: the object does not exist.
        """
        what = f"reading {key}"
        response = await self._run_in_thread(
            what, lambda: self._client.get_object(self._bucket, key, offset=start, length=length or 0)
        )
        try:
            await self._run_in_thread(what, lambda: _require_range(response, start, length))
            while piece := await self._run_in_thread(what, lambda: response.read(_STREAM_BYTES)):
                yield piece
        finally:
            response.close()
            response.release_conn()

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectVersion]:
        """The current objects with the prefix, in the order of keys, after `start_after`."""
        async for page in self._list_pages("objects", prefix, start_after=start_after):
            for one in page.entries:
                yield one

    async def _list_pages(
        self,
        kind: ListingKind,
        prefix: str,
        *,
        start_after: str = "",
        delimiter: str = "",
        size: int = MAX_PAGE_ENTRIES,
    ) -> AsyncGenerator[ListingPage]:
        """Yields the pages of a listing, of at most `size` entries each."""
        query: Mapping[str, str] | None = first_query(
            kind, prefix, start_after=start_after, delimiter=delimiter, size=size
        )
        empty, last = 0, None
        while query is not None:
            page = await self._run_in_thread(f"listing {prefix!r}", partial(self._fetch_page, query))
            if page.entries and page.entries[0] == last:  # VersityGW repeats the last entry of the page before
                del page.entries[0]
            last = page.entries[-1] if page.entries else last
            empty = 0 if page.entries or page.common_prefixes else empty + 1
            if empty > _MAX_EMPTY_PAGES:
                raise Retriable(f"listing {prefix!r}: {empty} empty pages in a row")
            yield page
            query = page.next_query

    def _fetch_page(self, query: Mapping[str, str]) -> ListingPage:
        return parse_page(request(self._client, "GET", self._bucket, query=query).data, query)

    async def delete(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Deletes keys; returns those that the store refused to delete because they are locked.

        In a versioned bucket this only adds delete markers.
        """
        refused = await self._delete([DeleteObject(key) for key in keys])
        return tuple(sorted({str(error.name) for error in refused}))

    async def _delete(self, wanted: Sequence[DeleteObject]) -> Sequence[DeleteError]:
        """Deletes keys and versions; returns the errors for those that are locked or under legal hold.

        Raises:
            Retriable: one could not be deleted for another reason.
        """
        found = await self._run_in_thread(
            f"deleting {len(wanted)} objects", lambda: [*self._client.remove_objects(self._bucket, wanted)]
        )
        for error in found:
            if not is_object_locked(error.code, error.message):
                raise Retriable(f"deleting {error.name}: {error.code}: {error.message}")
        return found

    async def read_site_marker(self) -> SiteMarker | None:
        """The bucket's site marker; None if there is none yet.

        Raises:
            Retriable: the response is not JSON, such as a proxy's error page or a truncated object.
            Fatal: it is JSON, but not a site marker.
        """
        try:
            raw = await self.get(SITE_MARKER)
        except ObjectNotFound:
            return None
        try:
            marker = json.loads(raw)
        except ValueError as error:
            raise Retriable(f"{SITE_MARKER} as returned by {self._endpoint} is not JSON: {raw[:80]!r}") from error
        try:
            return SiteMarker(str(marker["site"]), str(marker["created"]), int(marker["schema"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Fatal(f"{SITE_MARKER} in bucket {self._bucket} is not a site marker") from error

    async def require_site(self, site: str) -> None:
        """Returns if the bucket belongs to the site.

        Raises:
            Retriable: it has no site marker yet.
            Fatal: it belongs to another site.
        """
        marker = await self.read_site_marker()
        if marker is None:
            raise Retriable(f"bucket {self._bucket} has no {SITE_MARKER}: run districam-bucket apply")
        if marker.site != site:
            raise Fatal(
                f"bucket {self._bucket} belongs to site {marker.site!r}, not {site!r}: correct DISTRICAM_SITE or "
                f"DISTRICAM_S3__BUCKET"
            )

    async def create_bucket(self, *, object_lock: bool) -> bool:
        """Creates the bucket; False if it existed."""

        def make() -> bool:
            if self._client.bucket_exists(self._bucket):
                return False
            self._client.make_bucket(self._bucket, object_lock=object_lock)
            return True

        return await self._run_in_thread(f"creating bucket {self._bucket}", make)

    async def has_object_lock(self) -> bool | None:
        """Whether the bucket has object lock; None if the store does not report it."""

        def ask() -> bool | None:
            try:
                answer = request(self._client, "GET", self._bucket, query={"object-lock": ""})
            except S3Error as error:
                if error.code == "ObjectLockConfigurationNotFoundError":
                    return False
                raise
            return parse_object_lock(answer.data)

        try:
            return await self._run_in_thread(f"looking up bucket {self._bucket}", ask)
        except Rejected:
            return None

    async def _run_in_thread(self, what: str, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with self._slots, asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(self._threads, call)
        except CLIENT_ERRORS as error:
            raise translate_error(error, what, self._endpoint) from error


def create_connection_pool(settings: S3Settings) -> urllib3.PoolManager:
    """A pool with one connection per thread, with timeouts and without retries."""
    return urllib3.PoolManager(
        maxsize=settings.threads,
        retries=False,
        timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT_S, settings.timeout_s), read=settings.timeout_s),
        ca_certs=str(settings.ca_file) if settings.ca_file else certifi.where(),
    )


def create_client(settings: S3Settings, pool: urllib3.PoolManager) -> Minio:
    """minio-py's client on that pool. With a region set, it does not request the bucket's location."""
    url = urlsplit(settings.endpoint)
    return Minio(
        url.netloc,
        access_key=settings.access_key,
        secret_key=read_secret(settings.secret_key, settings.secret_key_file),
        secure=url.scheme == "https",
        region=settings.region,
        http_client=pool,
    )


def _lock_headers(until_us: int) -> dict[str, str]:
    return {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": f"{utc(until_us):%Y-%m-%dT%H:%M:%SZ}",
    }


def parse_object_lock(configuration: bytes) -> bool | None:
    """Whether an ObjectLockConfiguration is enabled; None if it is none. Ignores its rule: VersityGW's is empty."""
    if b"ObjectLockConfiguration" not in configuration:
        return None
    return _LOCK_ENABLED.search(configuration) is not None


def _require_range(response: BaseHTTPResponse, start: int, length: int | None) -> None:
    """Raises ValueError unless the response is the requested range: some stores return the whole object or another one."""
    if not start and not length:
        return
    given = response.headers.get("content-range", "")
    if response.status != 206 or not given.startswith(f"bytes {start}-"):
        raise ValueError(f"not the requested range: status {response.status}, {given or 'no Content-Range'}")
