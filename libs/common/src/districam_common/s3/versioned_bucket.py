"""An S3 client for versions, common prefixes, object lock and legal holds, which retention and holds need."""

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
    """Size and SHA-256 (hex) of an object's content; `metadata_sha256`: the SHA-256 in its metadata, if any."""

    size: int
    sha256: str
    metadata_sha256: str | None


class VersionedBucket(Blobs):
    """A bucket with object versions. Raises as `Blobs`."""

    async def common_prefixes(self, prefix: str) -> list[str]:
        """Prefixes one level below `prefix`, with their slash, sorted; includes those with only delete markers and versions."""
        found: set[str] = set()
        async for page in self._list_pages("versions", prefix, delimiter="/"):
            found.update(page.common_prefixes)
        return sorted(found)

    async def digest(self, key: str) -> Digest:
        """Reads the whole object and computes its digest; also returns the one in its metadata.

        Raises:
            ObjectNotFound: the object does not exist.
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
        """Pages of (key, size) of the current objects with the prefix, in the order of keys."""
        async for page in self._list_pages("objects", prefix):
            yield [(one.key, one.size) for one in page.entries]

    async def version_pages(self, prefix: str, *, start_after: str = "") -> AsyncIterator[list[ObjectVersion]]:
        """Pages of the versions and delete markers with the prefix, after the key `start_after`."""
        async for page in self._list_pages("versions", prefix, start_after=start_after):
            yield page.entries

    async def versions(self, prefix: str) -> AsyncGenerator[ObjectVersion]:
        """The versions and delete markers with the prefix; each object once if the store has no versions."""
        async for page in self.version_pages(prefix):
            for one in page:
                yield one

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> list[ObjectVersion]:
        """Deletes these permanently. Returns those that the store refused to delete: locked or under legal hold.

        Deleting a delete marker makes the version before it current again.
        """
        by_id = {(one.key, one.version_id): one for one in versions}
        found = await self._delete([DeleteObject(one.key, one.version_id) for one in versions])
        return [by_id[key] for error in found if (key := (str(error.name), error.version_id)) in by_id]

    async def retained_until_us(self, key: str, version: str | None) -> int:
        """End of the version's retention, µs UTC; 0 if it has none or the store does not report it."""

        def ask() -> int:
            headers = self._client.stat_object(self._bucket, key, version_id=version).metadata or {}
            retain_until = next((value for name, value in headers.items() if name.lower() == _RETAIN_UNTIL_HEADER), "")
            try:
                return parse_rfc3339(retain_until) if retain_until else 0
            except (ValueError, OverflowError):
                return 0

        try:
            return await self._run_in_thread(f"looking up the lock of {key}", ask)
        except (Rejected, Fatal):  # deleted meanwhile, or our keys lack the permission
            return 0

    async def enable_legal_hold(self, key: str, version: str) -> None:
        """Puts the version under legal hold; idempotent.

        Raises:
            Rejected, Fatal: the bucket does not support legal holds.
        """
        await self._run_in_thread(
            f"holding {key}", lambda: self._client.enable_object_legal_hold(self._bucket, key, version)
        )

    async def disable_legal_hold(self, key: str, version: str) -> None:
        """Removes the legal hold; idempotent."""
        await self._run_in_thread(
            f"releasing {key}", lambda: self._client.disable_object_legal_hold(self._bucket, key, version)
        )

    async def has_legal_hold(self, key: str, version: str) -> bool:
        """Whether the version is under legal hold."""
        return await self._run_in_thread(
            f"looking up the hold of {key}",
            lambda: self._client.is_object_legal_hold_enabled(self._bucket, key, version),
        )

    async def enforces_legal_hold(self, name: str) -> bool | None:
        """Whether the store refuses to delete objects under legal hold, tested on a temporary object `name`.

        None if that cannot be determined, or the store is unavailable: then its legal holds must not be relied on.
        """
        try:
            return await self._probe_legal_hold(name)
        except (Retriable, Rejected, Fatal) as error:
            log.warning("cannot determine whether the store enforces legal holds", why=str(error))
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
        """Whether the version still exists after an attempt to delete it, whatever the store returned."""

        def remove() -> None:
            try:
                self._client.remove_object(self._bucket, key, version)
            except S3Error:
                return

        await self._run_in_thread(f"trying to delete {key}", remove)
        return (key, version) in await self._versions_of(key)

    async def _remove_probes(self, probes: Sequence[tuple[str, str]]) -> None:
        """Deletes the probes if possible; a remaining one is a few bytes, and is overwritten by the next probe."""
        for key, version in probes:
            try:
                if version in [there for _, there in await self._versions_of(key)]:
                    await self.disable_legal_hold(key, version)
                    await self._survives_deletion(key, version)
            except DistricamError as error:
                log.warning("probe object not deleted", key=key, why=str(error))
