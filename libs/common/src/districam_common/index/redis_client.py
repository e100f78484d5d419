"""The Redis door: one blocking pool, its own deadlines, and redis-py's errors said in ours. Commands up to Redis 7.2."""
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
"""What uvloop says of a connection that ended while redis-py was writing to it; redis-py lets it pass."""


class RedisUnavailable(Retriable):
    """Redis is away, slow, loading, full or read-only; a loop that also talks to others can tell them apart."""


@asynccontextmanager
async def open_redis(settings: RedisSettings) -> AsyncGenerator[Redis]:
    """A client on a pool of `settings.pool` connections, which speaks bytes. Nothing is sent yet.

    A stale connection is replaced once without a word; waiting longer than that is the caller's business.
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
    """Translate what redis-py raises inside; `what` was being done, in words.

    Raises:
        Fatal: the password, the user or the server's certificate is refused: the operator alone can mend that.
        RedisAway: everything else.
    """
    try:
        yield
        _raise_if_cancelled()
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise Fatal(f"Redis refuses the credentials while {what}: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        if why := tls.certificate_error(error):
            raise Fatal(f"Redis: {what}: {error}: {why}") from error
        raise RedisUnavailable(f"Redis: {what}: {error or type(error).__name__}") from error
    except RuntimeError as error:
        if _CLOSED_TRANSPORT_TEXT not in str(error):
            raise
        raise RedisUnavailable(f"Redis: {what}: the connection broke") from error


@asynccontextmanager
async def open_pipeline(redis: Redis, what: str, *, transaction: bool = False) -> AsyncGenerator[Pipeline]:
    """A pipeline (one round trip), or a transaction (MULTI); errors as of `redis_errors`."""
    with translate_redis_errors(what):
        async with redis.pipeline(transaction=transaction) as pipe:
            yield pipe


async def read_hash(redis: Redis, key: str, what: str) -> dict[bytes, bytes]:
    """All fields of a hash; empty if there is none. Errors as of `redis_errors`."""
    with translate_redis_errors(what):
        return await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(key))


def _raise_if_cancelled() -> None:
    """A cancelled task ends here: redis-py answers its command all the same, and a service that is to stop would go on."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop: nobody can cancel
        return
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
