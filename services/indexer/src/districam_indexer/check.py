"""`districam-indexer check`: compares bucket and index; with `--deep`, every object with its announced digest.

Read-only. Works on a day of a camera at a time, so memory does not grow with the bucket.
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

from districam_common.contract import names, segment_array
from districam_common.contract.media import CAMERA_ID
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.errors import DistricamError, Fatal, Retriable
from districam_common.index.index_codec import is_valid_segment
from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import open_pipeline, open_redis
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.retry import retry
from districam_common.runtime.service import leaf_errors
from districam_common.s3.blobs import ObjectNotFound, UnsupportedRequest
from districam_common.s3.versioned_bucket import Digest, ObjectVersion, VersionedBucket
from districam_indexer.announced_digests import AnnouncedDigests
from districam_indexer.check_output import ReportProgress, print_finding, print_message, show_progress
from districam_indexer.core.comparison import (
    Findings,
    Members,
    array_from_members,
    count_copies,
    diff_members,
    overlapping_us,
)
from districam_indexer.core.listing import ListingParser
from districam_indexer.core.versions import DayListing
from districam_indexer.index_store.usage import indexed_hours
from districam_indexer.settings import Settings

EXIT_CONSISTENT, EXIT_DIFFERENT = 0, 1
_RETRIES_S = (0.5, 1.0, 2.0)
"""Delays between attempts to read an object: a transient error must not end a check of many hours."""


async def main(settings: Settings, *, is_deep: bool = False) -> int:
    """Runs a check; returns the exit code: 0 if bucket and index agree, 1 if they differ.

    Raises:
        Retriable, Rejected: a server is unavailable, or the index is not ready.
        Fatal: the bucket looks empty or foreign, or the index is another site's.
    """
    findings = await _compare(settings, is_deep=is_deep)
    inconclusive = findings.inconclusive_reason()
    counts = {name: value for name, value in asdict(findings).items() if name != "overlapping_us"}
    print(json.dumps({**counts, "overlapping_s": findings.overlapping_us / 1e6, "concluded": inconclusive is None}))
    if inconclusive:
        raise Fatal(f"{inconclusive}; no conclusion was drawn, and nothing was changed")
    return EXIT_CONSISTENT if findings.is_consistent else EXIT_DIFFERENT


async def _compare(settings: Settings, *, is_deep: bool) -> Findings:
    with ExitStack() as stack:
        digests = stack.enter_context(AnnouncedDigests.open()) if is_deep else None
        async with VersionedBucket.open(settings.s3) as bucket, open_redis(settings.redis) as redis:
            await bucket.require_site(settings.site)
            reader = IndexReader(redis)
            meta = await reader.meta()
            if meta is None or not meta.is_ready:
                raise Retriable("the index is not ready; wait until it is built")
            if meta.site != settings.site:
                raise Fatal(f"Redis holds the index of site {meta.site!r}, not of {settings.site!r}")
            checker = _Checker(bucket, reader, redis, digests)
            if digests is not None:
                await checker.read_announcements(settings)
            return await checker.run(settings.s3.threads)


class _Checker:
    """One comparison. Differences are checked again before they count: segments are stored while it runs."""

    def __init__(
        self, bucket: VersionedBucket, reader: IndexReader, redis: Redis, digests: AnnouncedDigests | None
    ) -> None:
        self._bucket = bucket
        self._reader = reader
        self._redis = redis
        self._digests = digests
        self._findings = Findings()
        self._pending_days: list[tuple[str, int]] = []
        self._days_done = 0
        self._has_versions = True

    async def read_announcements(self, settings: Settings) -> None:
        """Reads the announced digests. If that fails, objects are compared with their own metadata only."""
        if self._digests is None:
            return
        try:
            await self._digests.read(settings.kafka)
        except (Retriable, Fatal) as error:
            print_message(f"announcements cannot be read; objects are compared with their own metadata only: {error}")
        else:
            self._findings.announced = len(self._digests)

    async def run(self, workers: int) -> Findings:
        days: set[tuple[str, int]] = set()
        async for page in indexed_hours(self._redis):
            days |= {(camera_id, names.parse_hour(hour) // DAY_US * DAY_US) for camera_id, hour in page}
        for folder in await self._bucket.common_prefixes(""):
            camera_id = folder.rstrip("/")
            if CAMERA_ID.fullmatch(camera_id):
                days |= {(camera_id, day_us) for day_us in await self._list_days(folder)}
        self._pending_days = sorted(days, reverse=True)
        with show_progress(len(days), SystemClock()) as advance:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(workers):
                        tasks.create_task(self._work(advance))
            except* DistricamError as group:
                raise leaf_errors(group)[0] from group
        return self._findings

    async def _list_days(self, folder: str) -> list[int]:
        days: list[int] = []
        for day in await self._bucket.common_prefixes(folder):
            try:
                days.append(names.parse_hour_prefix(day))
            except ValueError:
                self._findings.add_example("left_out", day[:300])
        return days

    async def _work(self, advance: ReportProgress) -> None:
        while self._pending_days:
            await self._check_day(*self._pending_days.pop())
            self._days_done += 1
            advance(self._days_done, self._findings)

    async def _check_day(self, camera_id: str, day_us: int) -> None:
        listing = await self._list_day(names.day_prefix(camera_id, day_us))
        listed = ListingParser(camera_id).parse_page(listing.objects())
        stored = {member: at for members in listed.scored_members.values() for member, at in members.items()}
        for key in listed.skipped_keys:
            self._findings.add_example("left_out", key[:300])
        self._count_versions(listing)
        indexed = await self._read_indexed(camera_id, day_us)
        missing, surplus = diff_members(stored, indexed)
        self._findings.objects += len(stored)
        self._findings.indexed += len(indexed)
        await self._count_missing(camera_id, missing)
        await self._count_surplus(camera_id, day_us, surplus)
        segments = array_from_members(stored)
        self._findings.copies += count_copies(segments)
        self._findings.overlapping_us += overlapping_us(segments, await self._reader.events(camera_id))
        if self._digests is not None:
            for key in self._object_keys(camera_id, stored):
                await self._verify_object(key, self._digests)

    async def _list_day(self, prefix: str) -> DayListing:
        day = DayListing()
        if self._has_versions:
            try:
                async for page in self._bucket.version_pages(prefix):
                    day.feed(page)
            except UnsupportedRequest as error:
                self._has_versions = False
                print_message(f"the store lists no versions; older versions cannot be detected: {error}")
            else:
                return day
        day = DayListing()
        async for objects in self._bucket.object_pages(prefix):
            day.feed(ObjectVersion(key, None, size, is_delete_marker=False, is_latest=True) for key, size in objects)
        return day

    def _count_versions(self, day: DayListing) -> None:
        for key, versions, markers in day.anomalies():
            if versions > 1:
                self._findings.versioned += 1
                self._report_finding("versioned", key, f"{versions} versions: it was overwritten")
            if markers:
                self._findings.deleted += 1
                self._report_finding("deleted", key, f"{markers} delete markers over {versions} versions")

    def _report_finding(self, kind: str, key: str, detail: str) -> None:
        self._findings.add_example(kind, key)
        print_finding(kind, key, detail)

    async def _verify_object(self, key: str, digests: AnnouncedDigests) -> None:
        digest = await self._read_digest(key)
        if digest is None:
            return
        self._findings.read += 1
        self._findings.read_bytes += digest.size
        expected = {"announced": digests.sha256(key), "its metadata": digest.metadata_sha256}
        known = {source: sha256 for source, sha256 in expected.items() if sha256 is not None}
        wrong = {source: sha256 for source, sha256 in known.items() if sha256 != digest.sha256}
        if wrong:
            self._findings.altered += 1
            mismatches = ", ".join(f"{source}: {sha256[:64]}" for source, sha256 in wrong.items())
            self._report_finding("altered", key, f"sha256 {digest.sha256}; {mismatches}")
        elif not known:
            self._findings.unproven += 1
            self._findings.add_example("unproven", key)

    async def _read_digest(self, key: str) -> Digest | None:
        """Size and digests of an object; None if it was deleted after the day was listed."""
        try:
            return await retry(lambda: self._bucket.digest(key), _RETRIES_S)
        except ObjectNotFound:
            return None

    async def _read_indexed(self, camera_id: str, day_us: int) -> dict[bytes, int]:
        keys = [names.segments_key(camera_id, day_us + n * HOUR_US) for n in range(24)]
        async with open_pipeline(self._redis, "reading a day") as pipe:
            for key in keys:
                pipe.zrange(key, 0, -1, withscores=True)
            hours = cast("list[list[tuple[bytes, float]]]", await pipe.execute())
        return {member: int(at) for hour in hours for member, at in hour if is_valid_segment(member, at)}

    async def _count_missing(self, camera_id: str, missing: Members) -> None:
        """Counts indexed segments without an object, except if that changed after the day was listed."""
        if not missing:
            return
        day_us = min(missing.values()) // DAY_US * DAY_US
        indexed_now = await self._read_indexed(camera_id, day_us)
        for key in self._object_keys(camera_id, {m: at for m, at in missing.items() if indexed_now.get(m) == at}):
            if await self._bucket.head(key) is None:
                self._findings.missing += 1
                self._report_finding("missing", key, "indexed but not stored")

    async def _count_surplus(self, camera_id: str, day_us: int, surplus: Members) -> None:
        """Counts objects that are not indexed, except those not yet indexed, and expired ones not yet deleted."""
        if not surplus:
            return
        watermark_us = await self._reader.watermark_us(camera_id)
        expired = (await self._reader.expired_intervals([camera_id]))[camera_id]
        indexed_now = await self._read_indexed(camera_id, day_us)
        for entry in segment_array.entries_from_array(
            array_from_members({m: at for m, at in surplus.items() if indexed_now.get(m) != at})
        ):
            is_expired = any(a <= entry.start_us and entry.end_us <= b for a, b in expired)
            if (not watermark_us or entry.end_us <= watermark_us) and not is_expired:
                self._findings.surplus += 1
                self._report_finding("surplus", names.segment_object_key(camera_id, entry), "stored but not indexed")

    def _object_keys(self, camera_id: str, members: Members) -> Sequence[str]:
        return [
            names.segment_object_key(camera_id, entry)
            for entry in segment_array.entries_from_array(array_from_members(members))
        ]
