"""What all Kafka brokers have in common, and the choice of the one to start."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from districam_devkit.servers.process import Server, ServerUnavailable

BrokerOption = Literal["kafka", "auto", "tansu"]

TANSU_NOTE = (
    "the broker is tansu, a replacement for Kafka: no idempotent producer (duplicates are possible), no broker timestamps, "
    "no retention, and everything is in memory: it does not survive a restart"
)


@dataclass(frozen=True, slots=True)
class Broker(Server):
    """A running broker. `note` says in one line how it differs from Apache Kafka; empty for Apache Kafka."""

    bootstrap_servers: str
    idempotent: bool
    note: str


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """The broker to start, and in `note` how it differs from Apache Kafka."""

    kind: Literal["kafka", "tansu"]
    note: str


def choose_broker(option: BrokerOption, *, kafka_missing: str | None, tansu_missing: str | None) -> BrokerChoice:
    """Chooses the broker, given what each lacks on this machine (None: nothing).

    Only `auto` accepts tansu as a replacement for Apache Kafka, with a note.

    Raises:
        ServerUnavailable: the requested broker is not available.
    """
    if option != "tansu" and kafka_missing is None:
        return BrokerChoice("kafka", "")
    if option == "kafka":
        raise ServerUnavailable(f"Apache Kafka: {kafka_missing}")
    if tansu_missing is None:
        return BrokerChoice("tansu", TANSU_NOTE)
    missing = tansu_missing if option == "tansu" else f"no broker. Apache Kafka: {kafka_missing} Tansu: {tansu_missing}"
    raise ServerUnavailable(missing)


async def is_responding(bootstrap_servers: str) -> bool:
    """Whether the broker answers a metadata request. Raises OSError if it does not."""
    host, port = bootstrap_servers.split(":")
    # checked first because aiokafka logs every refused connection
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=2000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except KafkaError as error:
        raise ConnectionError(str(error)) from error
    finally:
        await admin.close()
    return bool(cluster["brokers"])
