"""The same store, where objects have versions, folders and legal holds: what retention and holds need of it."""

import hashlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from districam_common.blobs import Blobs
from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.names import PROBE_PREFIX
from districam_common.settings import S3Settings

_PAGE = 1000
LOCKED = frozenset({"AccessDenied", "ObjectLocked"})
"""How stores refuse to delete what is under legal hold."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or a marker that says it was deleted without naming a version."""

    key: str
    version: str | None
    size: int
    is_marker: bool
    is_latest: bool


class Vault(Blobs):
    """A bucket whose versions are named. Errors are those of `Blobs`."""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: S3Settings) -> AsyncGenerator["Vault"]:
        """For the length of the block; the store is not asked yet."""
        async with super().open(settings) as blobs:
            yield cast("Vault", blobs)

    async def folders(self, prefix: str) -> list[str]:
        """Prefixes one level below `prefix`, each with its slash, in order; also those whose objects are deleted but held."""

        def ask() -> list[str]:
            found = self._client.list_objects(self._bucket, prefix=prefix, include_version=True)
            return [str(one.object_name) for one in found if one.is_dir]

        return sorted(set(await self._call(f"listing the folders of {prefix!r}", ask)))

    async def pages(self, prefix: str) -> AsyncIterator[list[tuple[str, int]]]:
        """Key and size of every object under the prefix, in the order of keys, a page of the store at a time."""
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)

        def page() -> list[tuple[str, int]]:
            return [(str(one.object_name), int(one.size or 0)) for one in itertools.islice(found, _PAGE)]

        while some := await self._call(f"listing {prefix!r}", page):
            yield some

    async def every_version(self, prefix: str) -> AsyncGenerator[Version]:
        """Every version and marker under the prefix; a store without versions gives each object once."""
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True, include_version=True)

        def page() -> list[Version]:
            return [_version(one) for one in itertools.islice(found, _PAGE)]

        while some := await self._call(f"listing the versions of {prefix!r}", page):
            for one in some:
                yield one

    async def delete_versions(self, versions: Sequence[Version]) -> list[Version]:
        """Deletes these for good. Gives those that the store would not delete: they are under legal hold."""
        by_id = {(one.key, one.version): one for one in versions}
        wanted = [DeleteObject(one.key, one.version) for one in versions]
        found = await self._call(
            f"deleting {len(wanted)} versions",
            lambda: list(self._client.remove_objects(self._bucket, wanted)),
        )
        for error in found:
            if error.code not in LOCKED:
                raise Retriable(f"deleting {error.name}: {error.code}: {error.message}")
        return [by_id[key] for error in found if (key := (str(error.name), error.version_id)) in by_id]

    async def delete_markers(self, markers: Sequence[tuple[str, str]]) -> None:
        """Takes back deletions that named no version: what they hid is found by its key again."""
        await self.delete_versions(
            [Version(key, version, 0, is_marker=True, is_latest=True) for key, version in markers]
        )

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

    async def protects(self, name: str) -> bool:
        """Whether a legal hold keeps an object from us: it is tried on one that is made for it, and removed again.

        Raises:
            Retriable: the store is away; nobody can tell.
        """
        if not await self.has_object_lock():
            return False
        key, body = f"{PROBE_PREFIX}{name}", b"probe"
        digest = hashlib.sha256(body).hexdigest()
        await self.put(key, [body], content_type="text/plain", metadata={}, sha256=digest, once=False)
        probes = [one async for one in self.every_version(key) if one.version and not one.is_marker]
        try:
            for probe in probes:
                await self.hold(key, probe.version or "")
        except (Rejected, Fatal):
            return False
        refused = [await self._refuses(probe) for probe in probes]
        for probe, is_refused in zip(probes, refused, strict=True):
            if is_refused:
                await self.release(key, probe.version or "")
                await self._refuses(probe)
        return bool(refused) and all(refused)

    async def _refuses(self, probe: Version) -> bool:
        """Whether the store does not delete that version for us."""

        def remove() -> bool:
            try:
                self._client.remove_object(self._bucket, probe.key, probe.version)
            except S3Error as error:
                if error.code in LOCKED:
                    return True
                raise
            return False

        return await self._call(f"trying to delete {probe.key}", remove)


def _version(one: Any) -> Version:
    is_latest = str(one.is_latest).lower() == "true"
    return Version(
        str(one.object_name), one.version_id, int(one.size or 0), bool(one.is_delete_marker), is_latest
    )
