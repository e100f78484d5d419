"""The Redis door on a real server."""

import asyncio

from districam_common.index_reader import IndexReader
from districam_common.settings import RedisSettings


async def test_who_is_cancelled_in_the_middle_of_a_command_ends(redis: RedisSettings):
    """redis-py answers the command all the same: the loop of a service that is to stop would go on for ever."""
    running = ended = 0
    async with IndexReader.open(redis) as reader:
        for n in range(100):
            asking = asyncio.create_task(reader.holds())  # to be cancelled alone
            for _ in range(n % 10):
                await asyncio.sleep(0)
            running += asking.cancel()
            try:
                await asking
            except asyncio.CancelledError:
                ended += 1
    assert running > 20
    assert ended == running
