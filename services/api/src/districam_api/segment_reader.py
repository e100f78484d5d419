"""Reads stored segments one fragment at a time, in memory of a few blocks whatever the object's size."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from districam_api.core.clip_fragments import FragmentParser, StoredFragment
from districam_api.core.clip_plan import FragmentInfo
from districam_common.contract.names import segment_object_key
from districam_common.contract.segment_array import IndexEntry
from districam_common.mp4.boxes import Track, init_of
from districam_common.runtime.retry import retry
from districam_common.s3.blobs import Blobs

RETRY_DELAYS_S = (0.2, 0.4, 0.8)
"""The store may fail for a moment while a long clip is being read."""
BLOCK_BYTES = 4 << 20
"""Size of one read: a typical segment takes one, and read-ahead holds a few at most."""


@dataclass(frozen=True, slots=True)
class SegmentReader:
    """One camera's objects. Methods raise ObjectNotFound (deleted meanwhile), Retriable (store unavailable)."""

    blobs: Blobs
    camera_id: str

    async def read_init(self, entry: IndexEntry) -> bytes:
        """The epoch's init."""
        return init_of(await self.blobs.get(self._key(entry), length=entry.init_bytes))

    async def read_blocks(self, entry: IndexEntry) -> AsyncGenerator[bytes]:
        """The segment's media in blocks, one request each, so that none stays open while a client is slow."""
        for start in range(entry.init_bytes, entry.bytes, BLOCK_BYTES):
            yield await self._block(entry, start, min(BLOCK_BYTES, entry.bytes - start))

    async def read_fragments(self, entry: IndexEntry, track: Track) -> AsyncGenerator[StoredFragment]:
        """The segment's fragments in order. Close it (`aclosing`) if it may be left early."""
        parser = FragmentParser(entry, track)
        async with aclosing(self.read_blocks(entry)) as blocks:
            async for block in blocks:
                for part in parser.feed(block):
                    yield part
        parser.close()

    async def fragment_infos(self, entry: IndexEntry, track: Track) -> list[FragmentInfo]:
        """The segment's fragments, described; reads all of it and keeps none in memory."""
        async with aclosing(self.read_fragments(entry, track)) as parts:
            return [fragment_info(part) async for part in parts]

    async def fragment_at(self, entry: IndexEntry, track: Track, at_us: int) -> FragmentInfo | None:
        """The fragment that contains `at_us`, or the first one after it; None if the segment ends before."""
        async with aclosing(self.read_fragments(entry, track)) as parts:
            async for part in parts:
                if part.end_us > at_us:
                    return fragment_info(part)
        return None

    async def _block(self, entry: IndexEntry, start: int, length: int) -> bytes:
        return await retry(lambda: self.blobs.get(self._key(entry), start=start, length=length), RETRY_DELAYS_S)

    def _key(self, entry: IndexEntry) -> str:
        return segment_object_key(self.camera_id, entry)


def fragment_info(fragment: StoredFragment) -> FragmentInfo:
    """Describes a fragment; the digest is computed for keyframes only, since only they are compared."""
    picture = fragment.picture_digest if fragment.entry.is_keyframe else b""
    return FragmentInfo(fragment.seq, fragment.start_us, fragment.end_us, fragment.entry.is_keyframe, picture)
