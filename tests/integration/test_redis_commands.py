"""The Redis client on a real server."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import uvloop

from districam_common.index.index_reader import IndexReader
from districam_common.index.redis_client import RedisUnavailable
from districam_common.runtime.settings import RedisSettings


async def test_a_caller_cancelled_during_a_command_ends(redis: RedisSettings):
    """redis-py returns the reply nevertheless: a service's loop would then not stop."""
    running = ended = 0
    async with IndexReader.open(redis) as reader:
        for n in range(100):
            pending = asyncio.create_task(reader.holds())  # cancelled separately
            for _ in range(n % 10):
                await asyncio.sleep(0)
            running += pending.cancel()
            try:
                await pending
            except asyncio.CancelledError:
                ended += 1
    assert running > 20
    assert ended == running


def test_a_server_that_disconnects_at_any_moment_raises_unavailable():
    """Like a proxy whose server has died. On the services' event loop, as other loops have other error messages."""
    with hanging_up(rounds=2000) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(times_away(url, pings=1000)) == 1000  # each retries on a second connection


async def times_away(url: str, pings: int) -> int:
    away = 0
    async with asyncio.timeout(60), IndexReader.open(RedisSettings(url=url)) as reader:
        for _ in range(pings):
            try:
                await reader.ping()
            except RedisUnavailable:
                away += 1
    return away


@contextmanager
def hanging_up(rounds: int) -> Generator[str]:
    """Accepts that many connections and closes each within 0.6 ms."""
    dice = random.Random(1)

    def serve(listening: socket.socket) -> None:
        for _ in range(rounds):
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            until_s = time.perf_counter() + dice.random() * 0.0006
            while time.perf_counter() < until_s:
                pass
            connection.close()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        finally:
            listening.close()
            thread.join(15)
