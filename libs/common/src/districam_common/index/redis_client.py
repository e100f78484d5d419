"""Redis client: a blocking connection pool, timeouts, and translation of redis-py's errors. Commands up to Redis 7.2."""
# Redis-py leaves its keyword arguments untyped:
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from districam_common.errors import Fatal, Retriable
from districam_common.runtime import tls
from districam_common.runtime.settings import RedisSettings, read_secret

_CLOSED_TRANSPORT_TEXT = "handler is closed"
"""Text of uvloop's RuntimeError when a connection closes while redis-py writes to it; redis-py does not translate it."""


class RedisUnavailable(Retriable):
    """Redis is unreachable, slow, loading, full or read-only; distinguishes it from other servers in a loop."""


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncGenerator[Redis]:
    """A client with a pool of up to `settings.pool` connections, which returns bytes. It connects at the first command.

    A command on a stale connection is retried once; further retries are the caller's.
    """
    password = read_secret(settings.password, settings.password_file)
    given = {} if password is None else {"password": password}
    if settings.ca_file is not None:
        given["ssl_ca_certs"] = str(settings.ca_file)
    pool = BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.pool,
        timeout=settings.timeout_s,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        protocol=2,
        retry=Retry(NoBackoff(), 1),
        **given,
    )
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.aclose()


@contextmanager
def translate_redis_errors(what: str) -> Generator[None]:
    """Within the block, translates redis-py's errors; `what` was being done, in words.

    Raises:
        Fatal: the user, the password or the server's certificate is not accepted, which only the operator can correct.
        RedisUnavailable: all other errors.
    """
    try:
        yield
        _raise_if_cancelled()
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise Fatal(f"Redis rejected the credentials while {what}: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        if why := tls.certificate_error(error):
            raise Fatal(f"Redis: {what}: {error}: {why}") from error
        raise RedisUnavailable(f"Redis: {what}: {error or type(error).__name__}") from error
    except RuntimeError as error:
        if _CLOSED_TRANSPORT_TEXT not in str(error):
            raise
        raise RedisUnavailable(f"Redis: {what}: the connection closed") from error


@asynccontextmanager
async def open_pipeline(redis: Redis, what: str, *, transaction: bool = False) -> AsyncGenerator[Pipeline]:
    """A pipeline (one round trip), or a transaction (MULTI). Raises as `translate_redis_errors`."""
    with translate_redis_errors(what):
        async with redis.pipeline(transaction=transaction) as pipe:
            yield pipe


async def read_hash(redis: Redis, key: str, what: str) -> dict[bytes, bytes]:
    """All fields of a hash; empty if it does not exist. Raises as `translate_redis_errors`."""
    with translate_redis_errors(what):
        return await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(key))


def _raise_if_cancelled() -> None:
    """Raises CancelledError in a cancelled task: redis-py can swallow it, and a stopping service would continue."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no running loop, so no cancellation
        return
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
