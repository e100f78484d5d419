"""The cut-over of `expired`: written once, found by everybody, and never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from districam_common import cutover
from districam_common.blobs import Exists, Missing
from districam_common.errors import Retriable
from districam_common.names import CUTOVER

if TYPE_CHECKING:
    from districam_common.blobs import Blobs

pytestmark = pytest.mark.hostile


@dataclass
class Bucket:
    """What stands under the key; `rival`: what another one writes at the last moment."""

    body: bytes | None = None
    rival: bytes | None = None

    async def get(self, key: str) -> bytes:
        assert key == CUTOVER
        if self.body is None:
            raise Missing(key)
        return self.body

    async def put(self, key: str, parts: Sequence[bytes], *, once: bool, **_: object) -> None:
        assert (key, once) == (CUTOVER, True)
        self.body = self.body or self.rival
        if self.body is not None:
            raise Exists(key)
        self.body = b"".join(parts)


def of(bucket: Bucket) -> "Blobs":
    return cast("Blobs", bucket)


async def test_the_first_word_counts_for_everybody():
    bucket = Bucket()
    assert await cutover.read(of(bucket)) is None
    assert (await cutover.settle(of(bucket), 7)).streams_until_us == 7
    assert (await cutover.settle(of(bucket), 8)).streams_until_us == 7
    found = await cutover.read(of(bucket))
    assert found is not None
    assert found.streams_until_us == 7


async def test_who_is_overtaken_goes_by_what_the_other_one_wrote():
    bucket = Bucket(rival=b'{"schema":1,"streams_until_us":5}')
    assert (await cutover.settle(of(bucket), 7)).streams_until_us == 5


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"schema":2,"streams_until_us":5}', b'{"schema":1,"streams_until_us":-1}']
)
async def test_what_cannot_be_read_is_waited_for_and_not_written_over(body: bytes):
    bucket = Bucket(body)
    with pytest.raises(Retriable, match="cannot be read"):
        await cutover.read(of(bucket))
    with pytest.raises(Retriable, match="cannot be read"):
        await cutover.settle(of(bucket), 7)
    assert bucket.body == body
