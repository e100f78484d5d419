"""Reads the bucket into an index: LIST in parallel, a day of a camera each; one HEAD for each camera and epoch.

What one process has read, another need not: a day's prefix is noted with the last of what is written of it. What is stored
under it later is announced, and read from the topic.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import structlog

from districam_common.contract.media import CAMERA_ID
from districam_common.index.index_reader import EpochShape
from districam_common.runtime.clock import SystemClock
from districam_common.s3.vault import Vault
from districam_indexer.core.listing import Listing, Read, batch_of
from districam_indexer.core.operations import Batch, SetField
from districam_indexer.core.plan import shape_field
from districam_indexer.doors import Doors
from districam_indexer.index_state import rebuilt_key

log = structlog.get_logger()


class BucketReader:
    """For one index. Everything may raise `Retriable` and `IndexChanged`; what was written stays."""

    def __init__(self, doors: Doors, vault: Vault, build: str) -> None:
        self._doors = doors
        self._vault = vault
        self._build = build
        self._clock = SystemClock()
        self._began_us = self._clock.monotonic_us()
        self._shapes: dict[tuple[str, str], EpochShape | None] = {}
        self._days = 0
        self._days_read = 0
        self._left: deque[str] = deque()
        self.objects = 0

    @property
    def epochs(self) -> int:
        return len(self._shapes)

    @property
    def objects_s(self) -> int:
        """Objects read a second, so far."""
        return round(self.objects / max(1e-3, self._elapsed_s))

    @property
    def _elapsed_s(self) -> float:
        return (self._clock.monotonic_us() - self._began_us) / 1e6

    def progress(self) -> dict[str, Any]:
        """For people: how far, how fast, and for how long still, judged by days of cameras."""
        left_s = self._elapsed_s / self._days_read * len(self._left) if self._days_read else None
        return {
            "step": "objects",
            "objects": self.objects,
            "objects_s": self.objects_s,
            "days_left": len(self._left),
            "days": self._days,
            "left_s": None if left_s is None else round(left_s),
        }

    async def run(self) -> None:
        """Everything that is not in the index yet."""
        done = await self._doors.state.rebuilt(build=self._build)
        cameras = [
            folder for folder in await self._vault.folders("") if CAMERA_ID.fullmatch(folder.rstrip("/"))
        ]
        async with asyncio.TaskGroup() as tasks:
            listing = [tasks.create_task(self._vault.folders(folder)) for folder in cameras]
        days = [day for task in listing for day in task.result()]
        self._days = len(days)
        self._left.extend(day for day in days if day not in done)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._doors.settings.s3.threads):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while self._left:
            await self._read_day(self._left.popleft())
            self._days_read += 1

    async def _read_day(self, prefix: str) -> None:
        camera_id = prefix.partition("/")[0]
        listing = Listing(camera_id, now_us=self._clock.now_us())
        async for page in self._vault.pages(prefix):
            read = listing.read(page)
            for key in read.left_out:
                log.warning("object left out of the index", key=key[:300])
            await self._write(camera_id, read)
        note = Batch(members={rebuilt_key(self._build): {prefix}})
        await self._doors.writer.apply(note, build=self._build)

    async def _write(self, camera_id: str, read: Read) -> None:
        batch = batch_of(camera_id, read)
        async with asyncio.TaskGroup() as tasks:
            shapes = [
                tasks.create_task(self._field(camera_id, epoch, key, of))
                for (epoch, key), of in read.epochs.items()
            ]
        for field in (task.result() for task in shapes):
            if field is not None:
                batch.add(field)
        await self._doors.writer.apply(batch, build=self._build)
        self.objects += read.objects

    async def _field(self, camera_id: str, epoch: str, key: str, of: str) -> SetField | None:
        """The epoch's shape under that key, if the object `of`, or an earlier one of the epoch, tells it."""
        if self._shapes.get((camera_id, epoch)) is None:
            head = await self._vault.head(of)
            self._shapes[camera_id, epoch] = None if head is None else _shape_in(head.metadata)
        shape = self._shapes[camera_id, epoch]
        if shape is None:
            return None
        return shape_field(key, epoch, codecs=shape.codecs, width=shape.width, height=shape.height)


def _shape_in(metadata: Mapping[str, str]) -> EpochShape | None:
    """What an object's metadata says of its epoch; None if it says nothing of use."""
    try:
        return EpochShape(metadata["codecs"], int(metadata["width"]), int(metadata["height"]))
    except (KeyError, ValueError):
        return None
