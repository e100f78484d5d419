"""What a store must do for districam, tried out on objects made for that; one answer for each, and what follows from it."""
# The probes are made of the shared calls of `Blobs` and `Vault`:
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
"""Probes of a check that old are nobody's any more."""
_CONCURRENT_PUTS = 8
_RULE_ENABLED = re.compile(rb"<Status>\s*Enabled\s*<")
_CREATED_AT = re.compile(r"(\d{1,12})-")
_METADATA = {"camera-id": "probe", "codecs": "avc1.640028,mp4a.40.2", "sha256": "0" * 64, "schema": "1"}


class RequirementNotMet(Exception):
    """The store does something else; says what."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`consequence`: what is so where the store does not do it."""

    name: str
    consequence: str
    probe: Callable[["Prober"], Awaitable[None]]
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`detail`: what the store did instead."""

    requirement: Requirement
    state: OutcomeState
    detail: str = ""


class Prober(VersionedBucket):
    """One round of probes under a prefix of its own. Everything may raise what `Blobs` does, and `NotSo`."""

    prefix = ""
    clock: Clock

    @classmethod
    @asynccontextmanager
    async def begin(cls, settings: S3Settings, clock: Clock) -> AsyncGenerator[Self]:
        """For the length of the block; cleaning up is `remove`."""
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
        """Gives the key."""
        key = self.prefix + name
        await self.put(
            key, [body], content_type="video/mp4", metadata=_METADATA, once=once,
            sha256=sha256 or hashlib.sha256(body).hexdigest(), locked_until_us=locked_until_us,
        )  # fmt: skip
        return key

    async def put_and_get(self) -> None:
        body = secrets.token_bytes(3 << 20)
        if await self.get(await self.write("bytes", body)) != body:
            raise RequirementNotMet("other bytes come back")

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
            raise RequirementNotMet(
                f"of {_CONCURRENT_PUTS} at once {len(winners)} were told that they had written the key"
            )
        if await self.get(self.prefix + "once") != b"%d" % winners[0]:
            raise RequirementNotMet("one that was refused has been written")

    async def metadata(self) -> None:
        found = await self.head(await self.write("metadata", b"body"))
        if found is None or found.size != 4:
            raise RequirementNotMet(f"size 4 comes back as {None if found is None else found.size}")
        if lost := [name for name, value in _METADATA.items() if found.metadata.get(name) != value]:
            raise RequirementNotMet(f"what is lost or changed: {', '.join(lost)}")

    async def ranges(self) -> None:
        key = await self.write("range", b"0123456789")
        if await self.get(key, start=3, length=4) != b"3456" or await self.get(key, start=8) != b"89":
            raise RequirementNotMet("another part comes back")

    async def listing(self) -> None:
        names = [f"list/{n:02}.{'a' * (n % 3)}" for n in (4, 0, 3, 1, 2, 5)]
        keys = sorted([await self.write(name, name.encode()) for name in names])
        kinds: tuple[ListingKind, ...] = ("objects", "versions")
        for kind in kinds:
            pages = self._list_pages(kind, f"{self.prefix}list/", size=2)
            found = [one async for page in pages for one in page.entries]
            if [(one.key, one.size) for one in found] != [(key, len(key) - len(self.prefix)) for key in keys]:
                raise RequirementNotMet(
                    f"{kind}: of {len(keys)} keys, two a page, {len(found)}, in another order or of another size"
                )
        after = [one.key async for one in self.list(f"{self.prefix}list/", start_after=keys[3])]
        if after != keys[4:]:
            raise RequirementNotMet("start-after is not observed")
        if await self.common_prefixes(self.prefix) != [f"{self.prefix}list/"]:
            raise RequirementNotMet("delimiter is not observed")

    async def deleting(self) -> None:
        keys = [await self.write(f"gone/{n}", b"x") for n in range(3)]
        await self.delete(keys)
        left = {one.key async for one in self.list(f"{self.prefix}gone/")}
        left |= {key for key in keys if await self.head(key) is not None}
        if left:
            raise RequirementNotMet(f"{len(left)} of 3 are still there")

    async def checksum(self) -> None:
        try:
            await self.write("broken", b"body", sha256="0" * 64)
        except (Retriable, Rejected):
            if await self.head(self.prefix + "broken") is None:
                return
        raise RequirementNotMet("bytes of another sha256 than was sent with them are stored")

    async def versioning(self) -> None:
        for body in (b"one", b"three"):
            key = await self.write("twice", body)
        found = await self._versions_and_markers(key)
        if sorted(one.size for one in found) != [3, 5] or any(one.version_id in (None, "null") for one in found):
            raise RequirementNotMet(f"an object written over has {len(found)} version")
        older = next(one for one in found if one.size == 3)
        await self.delete_versions([older])
        if older in await self._versions_and_markers(key) or await self.get(key) != b"three":
            raise RequirementNotMet("a version is not deleted by its name alone")

    async def markers(self) -> None:
        key = await self.write("hidden", b"body")
        await self.delete([key])
        markers = [one for one in await self._versions_and_markers(key) if one.is_delete_marker and one.version_id]
        if not markers or await self.head(key) is not None:
            raise RequirementNotMet("what is deleted without a version is gone, or stays to be seen")
        await self.delete_versions(markers)
        if await self.get(key) != b"body":
            raise RequirementNotMet("with its marker deleted the object is not found again")

    async def legal_hold(self) -> None:
        key = await self.write("held", b"body")
        versions = await self._versions_of(key)
        if not versions:
            raise RequirementNotMet("objects have no versions")
        for _, version in versions:
            await self.enable_legal_hold(key, version)
            if not await self.has_legal_hold(key, version):
                raise RequirementNotMet("what was put under legal hold is not")
            if not await self._survives_deletion(key, version):
                raise RequirementNotMet("what is under legal hold can be deleted")
            await self.disable_legal_hold(key, version)
            if await self._survives_deletion(key, version):
                raise RequirementNotMet("a legal hold that was taken off still keeps the object")

    async def compliance(self) -> None:
        until_us = self.clock.now_us() + _RETAINED_S * 1_000_000
        key = await self.write("retained", b"body", locked_until_us=until_us)
        versions = await self._versions_of(key)
        if not versions:
            raise RequirementNotMet("objects have no versions")
        for _, version in versions:
            if not await self._survives_deletion(key, version):
                raise RequirementNotMet("what is retained can be deleted")
            try:
                await self._retain(key, version, 1)
            except DistricamError:
                continue
            raise RequirementNotMet("the time can be shortened")

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
            raise RequirementNotMet(f"{enabled} of them are enabled")

    async def remove(self) -> list[str]:
        """Takes away what this check has left, and those before it. Gives what the store keeps."""
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
    Requirement("put once (If-None-Match)", "two recorders can write one key twice, and nobody sees it", Prober.conditional_put, is_required=True),
    Requirement("metadata", "a repeated put cannot be compared; a rebuilt index knows no codecs", Prober.metadata, is_required=True),
    Requirement("ranges", "no clip, no playlist", Prober.ranges, is_required=True),
    Requirement("listing: pages, order, versions", "rebuild, retention and check miss objects", Prober.listing, is_required=True),
    Requirement("delete", "retention frees nothing, and the store fills", Prober.deleting, is_required=True),
    Requirement("checksum (SHA-256)", "what breaks on the way is stored, and only districam-indexer check --deep finds it", Prober.checksum),
    Requirement("versions", "what is written over is gone; holds are advisory", Prober.versioning),
    Requirement("delete markers", "what is deleted by its key is gone; holds are advisory", Prober.markers),
    Requirement("legal hold", "holds are advisory: districam keeps them, others can delete", Prober.legal_hold),
    Requirement("retention (COMPLIANCE)", "fresh footage is not locked: whoever has the store's keys can delete it", Prober.compliance),
    Requirement("no lifecycle rules", "the store deletes by itself; the index says recorded until districam-indexer check finds it missing", Prober.no_lifecycle),
)  # fmt: skip


async def check_requirement(prober: Prober, requirement: Requirement) -> Outcome:
    """What comes of one demand.

    Raises:
        Fatal: the store refuses our keys for what is indispensable.
    """
    try:
        await requirement.probe(prober)
    except RequirementNotMet as error:
        return Outcome(requirement, "missing", str(error))
    except Fatal:
        if requirement.is_required:
            raise
        return Outcome(requirement, "missing", "the store does not let us")
    except (Retriable, Rejected) as error:
        return Outcome(requirement, "missing", str(error))
    return Outcome(requirement, "ok")
