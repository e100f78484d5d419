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
from districam_common.s3.store_listing import Version

__all__ = ["Digest", "Vault", "Version"]

_PIECE_BYTES = 1 << 20
_UNTIL = "x-amz-object-lock-retain-until-date"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Digest:
    """What an object's bytes are; `said`: the sha256 that its metadata gives, if they do."""

    size: int
    sha256: str
    said: str | None


class Vault(Blobs):
    """A bucket whose versions are named. Errors are those of `Blobs`."""

    async def folders(self, prefix: str) -> list[str]:
        """Prefixes one level below `prefix`, each with its slash, in order; also those whose objects are deleted but held."""
        found: set[str] = set()
        async for page in self._listing("versions", prefix, delimiter="/"):
            found.update(page.folders)
        return sorted(found)

    async def digest(self, key: str) -> Digest:
        """All of the object's bytes, read and not kept, and what the object says of itself.

        Raises:
            Missing: there is no such object.
        """

        def read() -> Digest:
            seen, size = hashlib.sha256(), 0
            with self._reading(key) as response:
                while piece := response.read(_PIECE_BYTES):
                    seen.update(piece)
                    size += len(piece)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Digest(size, seen.hexdigest(), headers.get("x-amz-meta-sha256"))

        return await self._call(f"reading {key}", read)

    async def pages(self, prefix: str) -> AsyncIterator[list[tuple[str, int]]]:
        """Key and size of every object under the prefix, in the order of keys, a page of the store at a time."""
        async for page in self._listing("objects", prefix):
            yield [(one.key, one.size) for one in page.entries]

    async def version_pages(self, prefix: str, *, start_after: str = "") -> AsyncIterator[list[Version]]:
        """Every version and marker under the prefix, behind that key, a page of the store at a time."""
        async for page in self._listing("versions", prefix, start_after=start_after):
            yield page.entries

    async def every_version(self, prefix: str) -> AsyncGenerator[Version]:
        """Every version and marker under the prefix; a store without versions gives each object once."""
        async for page in self.version_pages(prefix):
            for one in page:
                yield one

    async def delete_versions(self, versions: Sequence[Version]) -> list[Version]:
        """Deletes these for good. Gives those that the store would not delete: they are locked, or under legal hold.

        Where a marker is deleted, what it hid is found by its key again.
        """
        by_id = {(one.key, one.version): one for one in versions}
        found = await self._delete([DeleteObject(one.key, one.version) for one in versions])
        return [by_id[key] for error in found if (key := (str(error.name), error.version_id)) in by_id]

    async def locked_until(self, key: str, version: str | None) -> int:
        """Until when the store keeps that version from everybody, µs UTC; 0: not, or it does not say."""

        def ask() -> int:
            headers = self._client.stat_object(self._bucket, key, version_id=version).metadata or {}
            said = next((value for name, value in headers.items() if name.lower() == _UNTIL), "")
            try:
                return parse_rfc3339(said) if said else 0
            except (ValueError, OverflowError):
                return 0

        try:
            return await self._call(f"looking up the lock of {key}", ask)
        except (Rejected, Fatal):  # it is gone, or our keys may not ask
            return 0

    async def hold(self, key: str, version: str) -> None:
        """Puts that version under legal hold; may be repeated.

        Raises:
            Rejected, Fatal: the bucket knows no legal holds.
        """
        await self._call(
            f"holding {key}", lambda: self._client.enable_object_legal_hold(self._bucket, key, version)
        )

    async def release(self, key: str, version: str) -> None:
        """Takes the legal hold off; may be repeated."""
        await self._call(
            f"releasing {key}", lambda: self._client.disable_object_legal_hold(self._bucket, key, version)
        )

    async def is_held(self, key: str, version: str) -> bool:
        """Whether that version is under legal hold."""
        return await self._call(
            f"looking up the hold of {key}",
            lambda: self._client.is_object_legal_hold_enabled(self._bucket, key, version),
        )

    async def protects(self, name: str) -> bool | None:
        """Whether a legal hold keeps an object from us: it is tried on one that is made for it, and removed again.

        None: the store's answers do not tell, or it is away. Then nothing may be built on its legal holds.
        """
        try:
            return await self._is_protected(name)
        except (Retriable, Rejected, Fatal) as error:
            log.warning("nobody can tell whether the store keeps what is under legal hold", why=str(error))
            return None

    async def _is_protected(self, name: str) -> bool:
        if await self.has_object_lock() is False:
            return False
        key = f"{PROBE_PREFIX}{name}"
        await self.put_json(key, b'"probe"', once=False)
        probes = await self._versions_of(key)
        try:
            for _, version in probes:
                await self.hold(key, version)
            left = [await self._survives(key, version) for _, version in probes]
        finally:
            await self._remove(probes)
        return bool(left) and all(left)

    async def _versions_of(self, key: str) -> list[tuple[str, str]]:
        found = [one async for one in self.every_version(key) if one.key == key and not one.is_marker]
        return [(key, one.version) for one in found if one.version]

    async def _survives(self, key: str, version: str) -> bool:
        """Whether that version is still there after it was deleted by its name: what the store answered is of no interest."""

        def remove() -> None:
            try:
                self._client.remove_object(self._bucket, key, version)
            except S3Error:
                return

        await self._call(f"trying to delete {key}", remove)
        return (key, version) in await self._versions_of(key)

    async def _remove(self, probes: Sequence[tuple[str, str]]) -> None:
        """As far as it can be done: what stays is a few bytes, and goes with the next probe of this name."""
        for key, version in probes:
            try:
                if version in [there for _, there in await self._versions_of(key)]:
                    await self.release(key, version)
                    await self._survives(key, version)
            except DistricamError as error:
                log.warning("a probe is left", key=key, why=str(error))
