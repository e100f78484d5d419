"""Translation of redis-py's errors."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from districam_common.index.redis_client import RedisUnavailable, translate_redis_errors

CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed"


@pytest.mark.parametrize(
    "error", [RedisConnectionError("gone"), TimeoutError(), OSError(104, "reset"), RuntimeError(CLOSED)]
)
def test_a_closed_connection_raises_redis_unavailable(error: Exception):
    with pytest.raises(RedisUnavailable, match=r"^Redis: asking: "), translate_redis_errors("asking"):
        raise error


def test_other_runtime_errors_are_not_translated():
    with pytest.raises(RuntimeError, match="dictionary changed size"), translate_redis_errors("asking"):
        raise RuntimeError("dictionary changed size during iteration")
