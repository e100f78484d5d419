"""The same store, where objects have versions, folders and legal holds: what retention and holds need of it."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

import structlog
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from districam_common.contract.names import PROBE_PREFIX, parse_rfc3339
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.s3.blobs import Blobs
from districam_common.s3.s3_listing import ObjectVersion

__all__ = ["Digest", "ObjectVersion", "VersionedBucket"]

_CHUNK_BYTES = 1 << 20
_RETAIN_UNTIL_HEADER = "x-amz-object-lock-retain-until-date"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Digest:
    """What an object's bytes are; `metadata_sha256`: the sha256 that its metadata gives, if they do."""

    size: int
    sha256: str
    metadata_sha256: str | None


class VersionedBucket(Blobs):
    """A bucket whose versions are named. Errors are those of `Blobs`."""

    async def common_prefixes(self, prefix: str) -> list[str]:
        """Prefixes one level below `prefix`, each with its slash, in order; also those whose objects are deleted but held."""
        found: set[str] = set()
        async for page in self._list_pages("versions", prefix, delimiter="/"):
            found.update(page.common_prefixes)
        return sorted(found)

    async def digest(self, key: str) -> Digest:
        """All of the object's bytes, read and not kept, and what the object says of itself.

        Raises:
            Missing: there is no such object.
        """

        def read() -> Digest:
            seen, size = hashlib.sha256(), 0
            with self._open_object(key) as response:
                while piece := response.read(_CHUNK_BYTES):
                    seen.update(piece)
                    size += len(piece)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Digest(size, seen.hexdigest(), headers.get("x-amz-meta-sha256"))

        return await self._run_in_thread(f"reading {key}", read)

    async def object_pages(self, prefix: str) -> AsyncIterator[list[tuple[str, int]]]:
        """Key and size of every object under the prefix, in the order of keys, a page of the store at a time."""
        async for page in self._list_pages("objects", prefix):
            yield [(one.key, one.size) for one in page.entries]

    async def version_pages(self, prefix: str, *, start_after: str = "") -> AsyncIterator[list[ObjectVersion]]:
        """Every version and marker under the prefix, behind that key, a page of the store at a time."""
        async for page in self._list_pages("versions", prefix, start_after=start_after):
            yield page.entries

    async def versions(self, prefix: str) -> AsyncGenerator[ObjectVersion]:
        """Every version and marker under the prefix; a store without versions gives each object once."""
        async for page in self.version_pages(prefix):
            for one in page:
                yield one

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> list[ObjectVersion]:
        """Deletes these for good. Gives those that the store would not delete: they are locked, or under legal hold.

        Where a marker is deleted, what it hid is found by its key again.
        """
        by_id = {(one.key, one.version_id): one for one in versions}
        found = await self._delete([DeleteObject(one.key, one.version_id) for one in versions])
        return [by_id[key] for error in found if (key := (str(error.name), error.version_id)) in by_id]

    async def retained_until_us(self, key: str, version: str | None) -> int:
        """Until when the store keeps that version from everybody, µs UTC; 0: not, or it does not say."""

        def ask() -> int:
            headers = self._client.stat_object(self._bucket, key, version_id=version).metadata or {}
            retain_until = next((value for name, value in headers.items() if name.lower() == _RETAIN_UNTIL_HEADER), "")
            try:
                return parse_rfc3339(retain_until) if retain_until else 0
            except (ValueError, OverflowError):
                return 0

        try:
            return await self._run_in_thread(f"looking up the lock of {key}", ask)
        except (Rejected, Fatal):  # it is gone, or our keys may not ask
            return 0

    async def enable_legal_hold(self, key: str, version: str) -> None:
        """Puts that version under legal hold; may be repeated.

        Raises:
            Rejected, Fatal: the bucket knows no legal holds.
        """
        await self._run_in_thread(
            f"holding {key}", lambda: self._client.enable_object_legal_hold(self._bucket, key, version)
        )

    async def disable_legal_hold(self, key: str, version: str) -> None:
        """Takes the legal hold off; may be repeated."""
        await self._run_in_thread(
            f"releasing {key}", lambda: self._client.disable_object_legal_hold(self._bucket, key, version)
        )

    async def has_legal_hold(self, key: str, version: str) -> bool:
        """Whether that version is under legal hold."""
        return await self._run_in_thread(
            f"looking up the hold of {key}",
            lambda: self._client.is_object_legal_hold_enabled(self._bucket, key, version),
        )

    async def enforces_legal_hold(self, name: str) -> bool | None:
        """Whether a legal hold keeps an object from us: it is tried on one that is made for it, and removed again.

        None: the store's answers do not tell, or it is away. Then nothing may be built on its legal holds.
        """
        try:
            return await self._probe_legal_hold(name)
        except (Retriable, Rejected, Fatal) as error:
            log.warning("nobody can tell whether the store keeps what is under legal hold", why=str(error))
            return None

    async def _probe_legal_hold(self, name: str) -> bool:
        if await self.has_object_lock() is False:
            return False
        key = f"{PROBE_PREFIX}{name}"
        await self.put_json(key, b'"probe"', once=False)
        probes = await self._versions_of(key)
        try:
            for _, version in probes:
                await self.enable_legal_hold(key, version)
            left = [await self._survives_deletion(key, version) for _, version in probes]
        finally:
            await self._remove_probes(probes)
        return bool(left) and all(left)

    async def _versions_of(self, key: str) -> list[tuple[str, str]]:
        found = [one async for one in self.versions(key) if one.key == key and not one.is_delete_marker]
        return [(key, one.version_id) for one in found if one.version_id]

    async def _survives_deletion(self, key: str, version: str) -> bool:
        """Whether that version is still there after it was deleted by its name: what the store answered is of no interest."""

        def remove() -> None:
            try:
                self._client.remove_object(self._bucket, key, version)
            except S3Error:
                return

        await self._run_in_thread(f"trying to delete {key}", remove)
        return (key, version) in await self._versions_of(key)

    async def _remove_probes(self, probes: Sequence[tuple[str, str]]) -> None:
        """As far as it can be done: what stays is a few bytes, and goes with the next probe of this name."""
        for key, version in probes:
            try:
                if version in [there for _, there in await self._versions_of(key)]:
                    await self.disable_legal_hold(key, version)
                    await self._survives_deletion(key, version)
            except DistricamError as error:
                log.warning("a probe is left", key=key, why=str(error))
