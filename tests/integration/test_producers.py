"""The producer that each service uses; both producers send the same records."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

import districam_indexer.app
import districam_ingest.app
import districam_recorder.app
from districam_common.contract.wire import Message
from districam_common.kafka.consumer import TopicReader
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime
from districam_common.runtime.settings import KafkaSettings
from districam_indexer.settings import Settings as WholeIndexer
from districam_ingest.output.single_copy_producer import RecordBatchBuilder, SingleCopyProduceRequest
from districam_ingest.settings import IngestSettings
from districam_ingest.settings import Settings as WholeIngest
from districam_recorder.settings import Settings as WholeRecorder
from integration.conftest import MakeTopic

ROOT = Path(__file__).parents[2]
MESSAGES = [
    Message(b"key", b"v" * size, [("ce_id", b"%d" % size), ("empty", b"")]) for size in (0, 1, 300_000, 700_000)
]


class Seen(Exception):
    """The service has opened its publisher, which has been checked."""


@dataclass
class Sent:
    """The publisher's producer class, and the records of `MESSAGES`."""

    batch: type | None = None
    request: type | None = None


@pytest.fixture
async def sent(kafka: KafkaSettings, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Sent]:
    """A service that opens its publisher sends `MESSAGES` with it, and ends with `Seen`."""
    found, name = Sent(), await topic(max_message_bytes=str(2 << 20))
    send, open_publisher = AIOKafkaClient.send, Publisher.open

    async def noted(client: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> object:
        if isinstance(request, ProduceRequest):
            found.request = type(request)
        return await send(client, node_id, request, **options)

    @asynccontextmanager
    async def opened(*arguments: Any) -> AsyncGenerator[Publisher]:
        async with open_publisher(*arguments) as publisher:
            for message in MESSAGES:
                await publisher.publish(name, message)
            producer = cast("Any", publisher)._producer
            found.batch = type(producer.create_batch()._builder)
            raise Seen
        yield publisher

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    monkeypatch.setattr(Publisher, "open", opened)
    yield found
    async with TopicReader.open(kafka, [name]) as reader:
        records = await reader.read_all()
    assert [(one.key, one.value, list(one.headers)) for one in records] == [
        (one.key, one.value, one.headers) for one in MESSAGES
    ]


def ingest(kafka: KafkaSettings, *, single_copy: bool) -> Awaitable[None]:
    settings = WholeIngest(kafka=kafka, ingest=IngestSettings(single_copy_producer=single_copy))
    return districam_ingest.app.main(settings, Runtime("ingest"))


def recorder(kafka: KafkaSettings) -> Awaitable[None]:
    return districam_recorder.app.run(WholeRecorder(kafka=kafka), Runtime("recorder"))


async def indexer(kafka: KafkaSettings) -> None:
    """Replaces its dependencies: only the producer matters, not the store and Redis."""
    doors = districam_indexer.app._open_dependencies  # pyright: ignore[reportPrivateUsage]
    async with doors(WholeIndexer(kafka=kafka), Runtime("indexer"), *cast("Any", (None, None, 0))):
        raise AssertionError("it has opened no publisher")


LIBRARY = Sent(DefaultRecordBatchBuilder, ProduceRequest)
SERVICES: dict[str, tuple[Callable[[KafkaSettings], Awaitable[None]], Sent]] = {
    "ingest": (lambda kafka: ingest(kafka, single_copy=True), Sent(RecordBatchBuilder, SingleCopyProduceRequest)),
    "ingest, switched off": (lambda kafka: ingest(kafka, single_copy=False), LIBRARY),
    "recorder": (recorder, LIBRARY),
    "indexer": (indexer, LIBRARY),
}


@pytest.mark.parametrize(("service", "expected"), SERVICES.values(), ids=SERVICES.keys())
async def test_only_ingest_uses_its_own_producer_class(
    kafka: KafkaSettings, sent: Sent, service: Callable[[KafkaSettings], Awaitable[None]], expected: Sent
) -> None:
    """All in one process with ingest's modules loaded: they replace code only in ingest's own producer."""
    with pytest.raises(Seen):
        await service(kafka)
    assert sent == expected


def test_the_api_has_no_producer() -> None:
    def lines() -> Iterator[str]:
        for path in (ROOT / "services/api/src").rglob("*.py"):
            yield from path.read_text().splitlines()

    assert [line for line in lines() if "kafka" in line and "import" in line] == []
