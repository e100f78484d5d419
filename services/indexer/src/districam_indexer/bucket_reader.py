"""Reads the bucket into an index: parallel LISTs, one for each day of a camera; a HEAD for each camera and epoch.

A day's prefix is marked as read after its last write, so that another process can resume. Objects stored
later are announced, and read from the topic.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import structlog

from districam_common.contract.media import CAMERA_ID
from districam_common.index.index_reader import EpochParameters
from districam_common.runtime.clock import SystemClock
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_indexer.core.listing import ListingParser, ListingResult, build_batch
from districam_indexer.core.operations import Batch, SetField
from districam_indexer.core.plan import epoch_parameters_field
from districam_indexer.dependencies import Dependencies
from districam_indexer.index_store.index_state import rebuilt_key

log = structlog.get_logger()


class BucketReader:
    """Reads into one index. Methods may raise `Retriable` and `IndexChanged`; what was written stays."""

    def __init__(self, deps: Dependencies, bucket: VersionedBucket, build: str) -> None:
        self._deps = deps
        self._bucket = bucket
        self._build = build
        self._clock = SystemClock()
        self._began_us = self._clock.monotonic_us()
        self._epoch_parameters: dict[tuple[str, str], EpochParameters | None] = {}
        self._total_days = 0
        self._days_read = 0
        self._pending_days: deque[str] = deque()
        self.objects = 0

    @property
    def epochs(self) -> int:
        return len(self._epoch_parameters)

    @property
    def objects_per_s(self) -> int:
        """Mean rate so far."""
        return round(self.objects / max(1e-3, self._elapsed_s))

    @property
    def _elapsed_s(self) -> float:
        return (self._clock.monotonic_us() - self._began_us) / 1e6

    def progress(self) -> dict[str, Any]:
        """Progress for operators, as JSON; `left_s` is extrapolated from the days of cameras read."""
        left_s = self._elapsed_s / self._days_read * len(self._pending_days) if self._days_read else None
        return {
            "step": "objects",
            "objects": self.objects,
            "objects_s": self.objects_per_s,
            "days_left": len(self._pending_days),
            "days": self._total_days,
            "left_s": None if left_s is None else round(left_s),
        }

    async def run(self) -> None:
        """Reads all days that are not marked as read."""
        done = await self._deps.state.rebuilt_prefixes(build=self._build)
        cameras = [
            folder for folder in await self._bucket.common_prefixes("") if CAMERA_ID.fullmatch(folder.rstrip("/"))
        ]
        async with asyncio.TaskGroup() as tasks:
            listing = [tasks.create_task(self._bucket.common_prefixes(folder)) for folder in cameras]
        days = [day for task in listing for day in task.result()]
        self._total_days = len(days)
        self._pending_days.extend(day for day in days if day not in done)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._deps.settings.s3.threads):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while self._pending_days:
            await self._read_day(self._pending_days.popleft())
            self._days_read += 1

    async def _read_day(self, prefix: str) -> None:
        camera_id = prefix.partition("/")[0]
        parser = ListingParser(camera_id, now_us=self._clock.now_us())
        async for page in self._bucket.object_pages(prefix):
            result = parser.parse_page(page)
            for key in result.skipped_keys:
                log.warning("object that is not a segment ignored", key=key[:300])
            await self._write(camera_id, result)
        day_done = Batch(members={rebuilt_key(self._build): {prefix}})
        await self._deps.writer.apply(day_done, build=self._build)

    async def _write(self, camera_id: str, result: ListingResult) -> None:
        batch = build_batch(camera_id, result)
        async with asyncio.TaskGroup() as tasks:
            tasks_by_epoch = [
                tasks.create_task(self._parameters_field(camera_id, epoch, key, of))
                for (epoch, key), of in result.epoch_objects.items()
            ]
        for field in (task.result() for task in tasks_by_epoch):
            if field is not None:
                batch.add(field)
        await self._deps.writer.apply(batch, build=self._build)
        self.objects += result.objects

    async def _parameters_field(self, camera_id: str, epoch: str, hash_key: str, object_key: str) -> SetField | None:
        """The epoch's parameters by the metadata of this or an earlier object, as a field of `hash_key`; or None."""
        if self._epoch_parameters.get((camera_id, epoch)) is None:
            head = await self._bucket.head(object_key)
            self._epoch_parameters[camera_id, epoch] = None if head is None else _parse_parameters(head.metadata)
        parameters = self._epoch_parameters[camera_id, epoch]
        if parameters is None:
            return None
        return epoch_parameters_field(
            hash_key, epoch, codecs=parameters.codecs, width=parameters.width, height=parameters.height
        )


def _parse_parameters(metadata: Mapping[str, str]) -> EpochParameters | None:
    """The epoch's parameters in an object's metadata; None if missing or invalid."""
    try:
        return EpochParameters(metadata["codecs"], int(metadata["width"]), int(metadata["height"]))
    except (KeyError, ValueError):
        return None
