"""Discarding a producer in any state."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiokafka import errors as kafka

from districam_common.kafka.internals import abandon_producer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


class _Broken:
    """aiokafka's producer after its sender task ended with an error, such as OutOfOrderSequenceNumber."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.failed: list[Exception] = []
        self._message_accumulator = SimpleNamespace(fail_all=self.failed.append)
        self._sender = SimpleNamespace(close=self._sender_closes)
        self.client = SimpleNamespace(close=self._client_closes)

    async def stop(self) -> None:
        raise KeyError("a batch that is pending no more")

    async def _sender_closes(self) -> None:
        raise KeyError("a batch that is pending no more")

    async def _client_closes(self) -> None:
        self.closed.append("client")


@pytest.mark.correctness
async def test_errors_of_a_discarded_producer_are_not_raised():
    broken = _Broken()
    await abandon_producer(cast("AIOKafkaProducer", broken))
    assert broken.closed == ["client"], "its connections are left open"
    assert [type(error) for error in broken.failed] == [kafka.ProducerClosed], (
        "the futures of its records never complete"
    )
