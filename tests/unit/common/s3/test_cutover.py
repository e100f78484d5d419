"""The cutover of `FootageExpired`: written once, used by all indexers, never assumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from districam_common.contract.names import CUTOVER
from districam_common.errors import Retriable
from districam_common.s3 import cutover
from support.memory_blobs import MemoryBlobs

pytestmark = pytest.mark.hostile


@dataclass
class Contested(MemoryBlobs):
    """`rival`: what a concurrent writer writes just before."""

    rival: bytes = b""

    async def put(self, key: str, parts: Sequence[bytes], **more: Any) -> None:
        self.put_directly(key, self.rival)
        await super().put(key, parts, **more)


async def test_the_first_cutover_written_applies():
    bucket = MemoryBlobs()
    assert await cutover.read(bucket) is None
    assert (await cutover.ensure(bucket, 7)).streams_until_us == 7
    assert (await cutover.ensure(bucket, 8)).streams_until_us == 7
    found = await cutover.read(bucket)
    assert found is not None
    assert found.streams_until_us == 7


async def test_a_concurrent_writers_cutover_is_used():
    bucket = Contested(rival=b'{"schema":1,"streams_until_us":5}')
    assert (await cutover.ensure(bucket, 7)).streams_until_us == 5


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"schema":2,"streams_until_us":5}', b'{"schema":1,"streams_until_us":-1}']
)
async def test_a_malformed_cutover_is_retriable_and_not_overwritten(body: bytes):
    bucket = MemoryBlobs()
    bucket.put_directly(CUTOVER, body)
    with pytest.raises(Retriable, match="is malformed"):
        await cutover.read(bucket)
    with pytest.raises(Retriable, match="is malformed"):
        await cutover.ensure(bucket, 7)
    assert await bucket.get(CUTOVER) == body
