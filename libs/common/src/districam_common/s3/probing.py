"""Tests an object store for the features that districam needs, on temporary objects, and names the consequences."""
# The probes use protected methods of `Blobs` and `VersionedBucket`:
# pyright: reportPrivateUsage=false

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

from minio.commonconfig import COMPLIANCE
from minio.error import S3Error
from minio.retention import Retention

from districam_common.contract.names import PROBE_PREFIX, utc
from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.runtime.clock import Clock
from districam_common.runtime.settings import S3Settings
from districam_common.s3.blobs import ObjectExists
from districam_common.s3.s3_listing import ListingKind, ObjectVersion
from districam_common.s3.s3_requests import request
from districam_common.s3.versioned_bucket import VersionedBucket

OutcomeState = Literal["ok", "missing"]
CHECK_PREFIX = f"{PROBE_PREFIX}check-"
_RETAINED_S = 60
_STALE_AFTER_US = 600_000_000
"""Age after which objects of earlier checks are deleted."""
_CONCURRENT_PUTS = 8
_RULE_ENABLED = re.compile(rb"<Status>\s*Enabled\s*<")
_CREATED_AT = re.compile(r"(\d{1,12})-")
_METADATA = {"camera-id": "probe", "codecs": "avc1.640028,mp4a.40.2", "sha256": "0" * 64, "schema": "1"}


class RequirementNotMet(Exception):
    """The store behaves differently; the message says how."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A feature to test. `consequence`: what is not possible without it; `is_required`: districam cannot work without it."""

    name: str
    consequence: str
    probe: Callable[["Prober"], Awaitable[None]]
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of testing a requirement. `detail`: what the store did instead."""

    requirement: Requirement
    state: OutcomeState
    detail: str = ""


class Prober(VersionedBucket):
    """One run of probes under its own prefix. Every method may raise as `Blobs` does, and `RequirementNotMet`."""

    prefix = ""
    clock: Clock

    @classmethod
    @asynccontextmanager
    async def begin(cls, settings: S3Settings, clock: Clock) -> AsyncGenerator[Self]:
        """A prober for the duration of the block; call `remove` to delete its objects."""
        async with cls.open(settings) as made:
            made.clock = clock
            made.prefix = f"{CHECK_PREFIX}{clock.now_us() // 1_000_000}-{secrets.token_hex(3)}/"
            yield made

    async def write(
        self,
        name: str,
        body: bytes,
        *,
        once: bool = False,
        sha256: str | None = None,
        locked_until_us: int | None = None,
    ) -> str:
        """Puts an object under the prefix; returns its key."""
        key = self.prefix + name
        await self.put(
            key, [body], content_type="video/mp4", metadata=_METADATA, once=once,
            sha256=sha256 or hashlib.sha256(body).hexdigest(), locked_until_us=locked_until_us,
        )  # fmt: skip
        return key

    async def put_and_get(self) -> None:
        body = secrets.token_bytes(3 << 20)
        if await self.get(await self.write("bytes", body)) != body:
            raise RequirementNotMet("GET returns other bytes")

    async def conditional_put(self) -> None:
        async def one(n: int) -> bool:
            try:
                await self.write("once", b"%d" % n, once=True)
            except ObjectExists:
                return False
            except DistricamError as error:
                refused.append(error)
                return False
            return True

        refused: list[DistricamError] = []
        async with asyncio.TaskGroup() as tasks:
            attempts = [tasks.create_task(one(n)) for n in range(_CONCURRENT_PUTS)]
        winners = [n for n, attempt in enumerate(attempts) if attempt.result()]
        if refused:
            raise refused[0]
        if len(winners) != 1:
            raise RequirementNotMet(f"of {_CONCURRENT_PUTS} concurrent PUTs {len(winners)} succeeded")
        if await self.get(self.prefix + "once") != b"%d" % winners[0]:
            raise RequirementNotMet("a PUT that was refused was stored")

    async def metadata(self) -> None:
        found = await self.head(await self.write("metadata", b"body"))
        if found is None or found.size != 4:
            raise RequirementNotMet(f"HEAD of 4 bytes returns a size of {None if found is None else found.size}")
        if lost := [name for name, value in _METADATA.items() if found.metadata.get(name) != value]:
            raise RequirementNotMet(f"lost or changed: {', '.join(lost)}")

    async def ranges(self) -> None:
        key = await self.write("range", b"0123456789")
        if await self.get(key, start=3, length=4) != b"3456" or await self.get(key, start=8) != b"89":
            raise RequirementNotMet("GET returns another range")

    async def listing(self) -> None:
        names = [f"list/{n:02}.{'a' * (n % 3)}" for n in (4, 0, 3, 1, 2, 5)]
        keys = sorted([await self.write(name, name.encode()) for name in names])
        kinds: tuple[ListingKind, ...] = ("objects", "versions")
        for kind in kinds:
            pages = self._list_pages(kind, f"{self.prefix}list/", size=2)
            found = [one async for page in pages for one in page.entries]
            if [(one.key, one.size) for one in found] != [(key, len(key) - len(self.prefix)) for key in keys]:
                raise RequirementNotMet(
                    f"{kind}: {len(keys)} keys in pages of two are listed as {len(found)}, in wrong order or with wrong sizes"
                )
        after = [one.key async for one in self.list(f"{self.prefix}list/", start_after=keys[3])]
        if after != keys[4:]:
            raise RequirementNotMet("start-after is ignored")
        if await self.common_prefixes(self.prefix) != [f"{self.prefix}list/"]:
            raise RequirementNotMet("delimiter is ignored")

    async def deleting(self) -> None:
        keys = [await self.write(f"gone/{n}", b"x") for n in range(3)]
        await self.delete(keys)
        left = {one.key async for one in self.list(f"{self.prefix}gone/")}
        left |= {key for key in keys if await self.head(key) is not None}
        if left:
            raise RequirementNotMet(f"{len(left)} of 3 deleted objects still exist")

    async def checksum(self) -> None:
        try:
            await self.write("broken", b"body", sha256="0" * 64)
        except (Retriable, Rejected):
            if await self.head(self.prefix + "broken") is None:
                return
        raise RequirementNotMet("an object with a wrong SHA-256 header is stored")

    async def versioning(self) -> None:
        for body in (b"one", b"three"):
            key = await self.write("twice", body)
        found = await self._versions_and_markers(key)
        if sorted(one.size for one in found) != [3, 5] or any(one.version_id in (None, "null") for one in found):
            raise RequirementNotMet(f"an overwritten object has {len(found)} version")
        older = next(one for one in found if one.size == 3)
        await self.delete_versions([older])
        if older in await self._versions_and_markers(key) or await self.get(key) != b"three":
            raise RequirementNotMet("deleting a version does not delete it, or not it alone")

    async def markers(self) -> None:
        key = await self.write("hidden", b"body")
        await self.delete([key])
        markers = [one for one in await self._versions_and_markers(key) if one.is_delete_marker and one.version_id]
        if not markers or await self.head(key) is not None:
            raise RequirementNotMet("deleting a key leaves no delete marker, or the object stays visible")
        await self.delete_versions(markers)
        if await self.get(key) != b"body":
            raise RequirementNotMet("deleting the delete marker does not restore the object")

    async def legal_hold(self) -> None:
        key = await self.write("held", b"body")
        versions = await self._versions_of(key)
        if not versions:
            raise RequirementNotMet("objects have no versions")
        for _, version in versions:
            await self.enable_legal_hold(key, version)
            if not await self.has_legal_hold(key, version):
                raise RequirementNotMet("setting a legal hold has no effect")
            if not await self._survives_deletion(key, version):
                raise RequirementNotMet("an object under legal hold can be deleted")
            await self.disable_legal_hold(key, version)
            if await self._survives_deletion(key, version):
                raise RequirementNotMet("after the legal hold is removed, the object cannot be deleted")

    async def compliance(self) -> None:
        until_us = self.clock.now_us() + _RETAINED_S * 1_000_000
        key = await self.write("retained", b"body", locked_until_us=until_us)
        versions = await self._versions_of(key)
        if not versions:
            raise RequirementNotMet("objects have no versions")
        for _, version in versions:
            if not await self._survives_deletion(key, version):
                raise RequirementNotMet("a retained object can be deleted")
            try:
                await self._retain(key, version, 1)
            except DistricamError:
                continue
            raise RequirementNotMet("the retention period can be shortened")

    async def _retain(self, key: str, version: str, seconds: int) -> None:
        until = utc(self.clock.now_us() + seconds * 1_000_000)
        await self._run_in_thread(
            f"retaining {key}",
            lambda: self._client.set_object_retention(self._bucket, key, Retention(COMPLIANCE, until), version),
        )

    async def no_lifecycle(self) -> None:
        def ask() -> bytes:
            try:
                return request(self._client, "GET", self._bucket, query={"lifecycle": ""}).data
            except S3Error as error:
                if error.code in {"NoSuchLifecycleConfiguration", "NotImplemented"}:
                    return b""
                raise

        rules = await self._run_in_thread("looking up lifecycle rules", ask)
        enabled = len(_RULE_ENABLED.findall(rules))
        if enabled and b"Expiration" in rules:
            raise RequirementNotMet(f"{enabled} rules are enabled")

    async def remove(self) -> list[str]:
        """Deletes the objects of this check and of old ones; returns those of this check that the store keeps."""
        found = [one async for one in self.versions(CHECK_PREFIX)]
        for one in found:
            if one.key.startswith(self.prefix) or self._is_stale(one.key):
                with suppress(Retriable, Rejected):
                    await self.delete_versions([one])
        return [f"{one.key} {one.version_id}" async for one in self.versions(self.prefix)]

    def _is_stale(self, key: str) -> bool:
        match = _CREATED_AT.match(key.removeprefix(CHECK_PREFIX))
        return match is not None and int(match[1]) * 1_000_000 < self.clock.now_us() - _STALE_AFTER_US

    async def _versions_and_markers(self, key: str) -> list[ObjectVersion]:
        return [one async for one in self.versions(key) if one.key == key]


REQUIREMENTS: Sequence[Requirement] = (
    Requirement("put and get", "nothing can be stored", Prober.put_and_get, is_required=True),
    Requirement("put once (If-None-Match)", "two recorders can overwrite each other's objects unnoticed", Prober.conditional_put, is_required=True),
    Requirement("metadata", "repeated uploads cannot be compared; a rebuilt index has no codecs", Prober.metadata, is_required=True),
    Requirement("ranges", "no clips, no playlists", Prober.ranges, is_required=True),
    Requirement("listing: pages, order, versions", "rebuild, retention and check miss objects", Prober.listing, is_required=True),
    Requirement("delete", "retention frees nothing, and the store fills up", Prober.deleting, is_required=True),
    Requirement("checksum (SHA-256)", "objects corrupted in transit are stored, and only districam-indexer check --deep finds them", Prober.checksum),
    Requirement("versions", "overwritten objects are lost; holds are advisory", Prober.versioning),
    Requirement("delete markers", "objects deleted by key are lost; holds are advisory", Prober.markers),
    Requirement("legal hold", "holds are advisory: districam observes them, other clients can delete", Prober.legal_hold),
    Requirement("retention (COMPLIANCE)", "new footage is not locked: anyone with the store's keys can delete it", Prober.compliance),
    Requirement("no lifecycle rules", "the store deletes footage by itself; the index shows it as recorded until districam-indexer check finds it missing", Prober.no_lifecycle),
)  # fmt: skip


async def check_requirement(prober: Prober, requirement: Requirement) -> Outcome:
    """Tests one requirement.

    Raises:
        Fatal: the store denies access for a required feature.
    """
    try:
        await requirement.probe(prober)
    except RequirementNotMet as error:
        return Outcome(requirement, "missing", str(error))
    except Fatal:
        if requirement.is_required:
            raise
        return Outcome(requirement, "missing", "access denied")
    except (Retriable, Rejected) as error:
        return Outcome(requirement, "missing", str(error))
    return Outcome(requirement, "ok")
