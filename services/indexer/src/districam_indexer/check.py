"""`districam-indexer check`: the bucket against the index, and on demand every byte against what was announced of it.

Changes nothing, and concludes nothing from a bucket it doubts. A day of a camera at a time: its memory does not grow with
the bucket.
"""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import cast

from redis.asyncio import Redis

from districam_common.contract import index, names
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import DistricamError, Fatal, Retriable
from districam_common.index.index_reader import IndexReader
from districam_common.index.index_replies import is_segment
from districam_common.index.redis_door import open_redis, piped
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.retry import retry
from districam_common.runtime.service import leaves
from districam_common.s3.blobs import Missing, Unsupported
from districam_common.s3.vault import Digest, Vault, Version
from districam_indexer.announced import Announced
from districam_indexer.check_screen import Advance, finding, progress, tell
from districam_indexer.core.comparison import (
    Findings,
    Members,
    array_of,
    copies,
    differences,
    overlapping_us,
)
from districam_indexer.core.listing import Listing
from districam_indexer.core.versions import Day
from districam_indexer.settings import Settings
from districam_indexer.usage import indexed_hours

AGREE, DIFFER = 0, 1
_RETRIES_S = (0.5, 1.0, 2.0)
"""A store that falters for a moment must not cost hours of reading."""


async def main(settings: Settings, *, is_deep: bool = False) -> int:
    """The exit code: 0 they agree, 1 they differ.

    Raises:
        Retriable, Rejected: nobody can tell yet.
        Fatal: the bucket is not to be believed.
    """
    found = await _compared(settings, is_deep=is_deep)
    doubt = found.doubt()
    figures = {name: value for name, value in asdict(found).items() if name != "overlapping_us"}
    print(json.dumps({**figures, "overlapping_s": found.overlapping_us / 1e6, "concluded": doubt is None}))
    if doubt:
        raise Fatal(f"{doubt}; nothing is concluded, and nothing was changed")
    return AGREE if found.agree else DIFFER


async def _compared(settings: Settings, *, is_deep: bool) -> Findings:
    with ExitStack() as stack:
        announced = stack.enter_context(Announced.open()) if is_deep else None
        async with Vault.open(settings.s3) as vault, open_redis(settings.redis) as redis:
            await vault.check_site(settings.site)
            reader = IndexReader(redis)
            meta = await reader.meta()
            if meta is None or not meta.is_ready:
                raise Retriable("there is no whole index to compare with; wait until it is built")
            if meta.site != settings.site:
                raise Fatal(f"Redis holds the index of site {meta.site!r}, not of {settings.site!r}")
            check = _Check(vault, reader, redis, announced)
            if announced is not None:
                await check.read_announcements(settings)
            return await check.run(settings.s3.threads)


class _Check:
    """One comparison. What is stored or indexed while it runs is looked at twice before it is counted."""

    def __init__(self, vault: Vault, reader: IndexReader, redis: Redis, announced: Announced | None) -> None:
        self._vault = vault
        self._reader = reader
        self._redis = redis
        self._announced = announced
        self._found = Findings()
        self._left: list[tuple[str, int]] = []
        self._done = 0
        self._has_versions = True

    async def read_announcements(self, settings: Settings) -> None:
        """Without the log each object is held against its own metadata alone, which whoever wrote it wrote too."""
        if self._announced is None:
            return
        try:
            await self._announced.read(settings.kafka)
        except (Retriable, Fatal) as error:
            tell(f"announcements cannot be read, so objects are judged by their own metadata alone: {error}")
        else:
            self._found.announced = len(self._announced)

    async def run(self, workers: int) -> Findings:
        days: set[tuple[str, int]] = set()
        async for page in indexed_hours(self._redis):
            days |= {(camera_id, names.parse_hour(hour) // DAY_US * DAY_US) for camera_id, hour in page}
        for folder in await self._vault.folders(""):
            camera_id = folder.rstrip("/")
            if CAMERA_ID.fullmatch(camera_id):
                days |= {(camera_id, day_us) for day_us in await self._days(folder)}
        self._left = sorted(days, reverse=True)
        with progress(len(days), SystemClock()) as advance:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(workers):
                        tasks.create_task(self._work(advance))
            except* DistricamError as group:
                raise leaves(group)[0] from group
        return self._found

    async def _days(self, folder: str) -> list[int]:
        out: list[int] = []
        for day in await self._vault.folders(folder):
            try:
                out.append(names.parse_hour_prefix(day))
            except ValueError:
                self._found.note("left_out", day[:300])
        return out

    async def _work(self, advance: Advance) -> None:
        while self._left:
            await self._day(*self._left.pop())
            self._done += 1
            advance(self._done, self._found)

    async def _day(self, camera_id: str, day_us: int) -> None:
        stored_as = await self._listed(names.day_prefix(camera_id, day_us))
        read = Listing(camera_id).read(stored_as.objects())
        stored = {member: at for members in read.hours.values() for member, at in members.items()}
        for key in read.left_out:
            self._found.note("left_out", key[:300])
        self._count_versions(stored_as)
        indexed = await self._indexed(camera_id, day_us)
        missing, surplus = differences(stored, indexed)
        self._found.objects += len(stored)
        self._found.indexed += len(indexed)
        await self._count_missing(camera_id, missing)
        await self._count_surplus(camera_id, day_us, surplus)
        segments = array_of(stored)
        self._found.copies += copies(segments)
        self._found.overlapping_us += overlapping_us(segments, await self._reader.told(camera_id))
        if self._announced is not None:
            for key in self._keys(camera_id, stored):
                await self._read(key, self._announced)

    async def _listed(self, prefix: str) -> Day:
        day = Day()
        if self._has_versions:
            try:
                async for page in self._vault.version_pages(prefix):
                    day.feed(page)
            except Unsupported as error:
                self._has_versions = False
                tell(f"the store lists no versions, so nobody can tell whether there are older ones: {error}")
            else:
                return day
        day = Day()
        async for objects in self._vault.pages(prefix):
            day.feed(Version(key, None, size, is_marker=False, is_latest=True) for key, size in objects)
        return day

    def _count_versions(self, day: Day) -> None:
        for key, versions, markers in day.odd():
            if versions > 1:
                self._found.versioned += 1
                self._tell("versioned", key, f"{versions} versions: it was written over")
            if markers:
                self._found.deleted += 1
                self._tell("deleted", key, f"{markers} markers of deletion over {versions} versions")

    def _tell(self, kind: str, key: str, detail: str) -> None:
        self._found.note(kind, key)
        finding(kind, key, detail)

    async def _read(self, key: str, announced: Announced) -> None:
        digest = await self._digest(key)
        if digest is None:
            return
        self._found.read += 1
        self._found.read_bytes += digest.size
        by_whom = {"announced": announced.sha256(key), "its metadata": digest.said}
        known = {whom: sha256 for whom, sha256 in by_whom.items() if sha256 is not None}
        wrong = {whom: sha256 for whom, sha256 in known.items() if sha256 != digest.sha256}
        if wrong:
            self._found.altered += 1
            said = ", ".join(f"{whom}: {sha256[:64]}" for whom, sha256 in wrong.items())
            self._tell("altered", key, f"sha256 {digest.sha256}; {said}")
        elif not known:
            self._found.unproven += 1
            self._found.note("unproven", key)

    async def _digest(self, key: str) -> Digest | None:
        """None if it has been deleted since the day was listed."""
        try:
            return await retry(lambda: self._vault.digest(key), _RETRIES_S)
        except Missing:
            return None

    async def _indexed(self, camera_id: str, day_us: int) -> dict[bytes, int]:
        keys = [names.segments_key(camera_id, day_us + n * HOUR_US) for n in range(24)]
        async with piped(self._redis, "reading a day") as pipe:
            for key in keys:
                pipe.zrange(key, 0, -1, withscores=True)
            hours = cast("list[list[tuple[bytes, float]]]", await pipe.execute())
        return {member: int(at) for hour in hours for member, at in hour if is_segment(member, at)}

    async def _count_missing(self, camera_id: str, missing: Members) -> None:
        """Not those that have been stored, or dropped, since the day was listed."""
        if not missing:
            return
        day_us = min(missing.values()) // DAY_US * DAY_US
        still = await self._indexed(camera_id, day_us)
        for key in self._keys(camera_id, {m: at for m, at in missing.items() if still.get(m) == at}):
            if await self._vault.head(key) is None:
                self._found.missing += 1
                self._tell("missing", key, "indexed, and not stored")

    async def _count_surplus(self, camera_id: str, day_us: int, surplus: Members) -> None:
        """Not those that are on their way into the index, or that have expired and are about to be deleted."""
        if not surplus:
            return
        log_us = await self._reader.log_us(camera_id)
        expired = (await self._reader.expired([camera_id]))[camera_id]
        known = await self._indexed(camera_id, day_us)
        for entry in index.entries(array_of({m: at for m, at in surplus.items() if known.get(m) != at})):
            is_expired = any(a <= entry.start_us and entry.end_us <= b for a, b in expired)
            if (not log_us or entry.end_us <= log_us) and not is_expired:
                self._found.surplus += 1
                self._tell("surplus", names.segment_key(camera_id, entry), "stored, and not indexed")

    def _keys(self, camera_id: str, members: Members) -> Sequence[str]:
        return [names.segment_key(camera_id, entry) for entry in index.entries(array_of(members))]
