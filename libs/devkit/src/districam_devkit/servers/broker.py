"""The Kafka broker, whichever it is: what all of them have in common, and which one to start."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from districam_devkit.servers.process import Server, ServerUnavailable

BrokerOption = Literal["kafka", "auto", "tansu"]

TANSU_NOTE = (
    "the broker is tansu, a stand-in: no idempotent producer (repeats are possible), no broker timestamps, "
    "no retention, and everything is in memory: it does not survive a restart"
)


@dataclass(frozen=True, slots=True)
class Broker(Server):
    """A broker that runs. `note` says in one line what does not hold with it; empty for Apache Kafka."""

    bootstrap_servers: str
    idempotent: bool
    note: str


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """What to start, and what does not hold with it."""

    kind: Literal["kafka", "tansu"]
    note: str


def choose_broker(option: BrokerOption, *, kafka_missing: str | None, tansu_missing: str | None) -> BrokerChoice:
    """Which broker to start, given what each lacks on this machine (None: nothing). Raises ServerUnavailable.

    Only `auto` puts up with the stand-in, and says why.
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
    """Whether the broker tells a client who it is, so that topics can be created. Raises OSError if not."""
    host, port = bootstrap_servers.split(":")
    _, writer = await asyncio.open_connection(host, int(port))  # aiokafka would log each refusal
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
