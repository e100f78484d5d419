"""Reading stored segments a fragment at a time: memory of one fragment, whatever the object's size."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from districam_api.core.clip import Mark
from districam_api.core.placing import Part, Reading, Splitter
from districam_common.blobs import Blobs
from districam_common.errors import Retriable
from districam_common.index import IndexEntry
from districam_common.mp4 import Track, init_of
from districam_common.names import segment_key

ATTEMPTS = 4
FIRST_WAIT_S = 0.2
"""The store may falter for a moment while a long clip is being read."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one camera. Every method raises Missing (deleted meanwhile) and Retriable (the store is away)."""

    blobs: Blobs
    camera_id: str

    async def init(self, entry: IndexEntry) -> bytes:
        """The epoch's init."""
        return init_of(await self.blobs.get(self._key(entry), length=entry.init_bytes))

    async def parts(self, entry: IndexEntry, track: Track) -> AsyncGenerator[Part]:
        """The segment's fragments, each once, in order. Close it (`aclosing`) if it may be left early."""
        seq = entry.first_seq
        for attempt in range(ATTEMPTS):
            try:
                async with aclosing(self._read(entry, track)) as read:
                    async for part in read:
                        if part.seq >= seq:
                            seq = part.seq + 1
                            yield part
            except Retriable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
            else:
                return

    async def marks(self, entry: IndexEntry, track: Track) -> list[Mark]:
        """What fragments the segment has; reads it whole and keeps none of it."""
        async with aclosing(self.parts(entry, track)) as parts:
            return [mark(part) async for part in parts]

    async def entered(self, entry: IndexEntry, track: Track, at_us: int) -> Mark | None:
        """The fragment that is under way at `at_us`, or the first one after it."""
        async with aclosing(self.parts(entry, track)) as parts:
            async for part in parts:
                if part.end_us > at_us:
                    return mark(part)
        return None

    async def _read(self, entry: IndexEntry, track: Track) -> AsyncGenerator[Part]:
        splitter, reading = Splitter(), Reading(entry, track)
        async with aclosing(self.blobs.stream(self._key(entry), start=entry.init_bytes)) as pieces:
            async for piece in pieces:
                for data in splitter.feed(piece):
                    yield reading.part(data)
        splitter.finish()

    def _key(self, entry: IndexEntry) -> str:
        return segment_key(self.camera_id, entry)


def mark(part: Part) -> Mark:
    """What is to be known of a fragment; only keyframes are compared."""
    picture = part.picture if part.entry.is_keyframe else b""
    return Mark(part.seq, part.at_us, part.end_us, part.entry.is_keyframe, picture)
