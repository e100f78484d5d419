"""Apache Kafka in KRaft mode: one node, or several that are broker and controller at once; data on disk."""

import asyncio
import base64
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from districam_devkit.servers import broker, java, ports, process
from districam_devkit.servers.jars import KAFKA_VERSION, jars
from districam_devkit.servers.process import OnStep, ProcessSpec, ServerUnavailable

_MAX_RECORD_BYTES = (9 << 20) + (64 << 10)  # the largest record of any topic, plus its batch's overhead
_FORMAT_TIMEOUT_S = 60
_JVM = (
    *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
    *("-XX:TieredStopAtLevel=1", "-Xshare:auto"),  # shorter start-up time
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"),
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A Java runtime and the folder of Kafka's jars."""

    java: Path
    jars: Path

    def command(self, main: str, *args: str) -> tuple[str, ...]:
        return (str(self.java), *_JVM, "-cp", f"{self.jars}/*", main, *args)


async def find_installation(on_step: OnStep) -> Installation:
    """Finds Java and the jars, fetching the jars if missing. Raises ServerUnavailable."""
    found = await asyncio.to_thread(java.find)
    return Installation(found, await jars(on_step))


@dataclass(frozen=True, slots=True)
class ExtraListener:
    """A second listener, reached through a proxy: it listens on `listen_port` and advertises `advertised_port`."""

    listen_port: int
    advertised_port: int


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One node of a cluster; `controller_ports`: controller ports of all nodes, by id from 1 on."""

    node_id: int
    controller_ports: Sequence[int]

    @property
    def quorum_voters(self) -> str:
        return ",".join(f"{node}@{ports.HOST}:{port}" for node, port in enumerate(self.controller_ports, 1))


def broker_properties(
    data_dir: Path,
    port: int,
    controller_port: int,
    extra_listeners: Sequence[ExtraListener] = (),
    node: ClusterNode | None = None,
) -> dict[str, str]:
    """Returns the broker's settings: fast start and failover, durable for a single node, little disk space."""
    node = node or ClusterNode(1, [controller_port])
    names = [f"DETOUR{number}" for number in range(len(extra_listeners))]
    listen = [f"{n}://{ports.HOST}:{d.listen_port}" for n, d in zip(names, extra_listeners, strict=True)]
    advertise = [f"{n}://{ports.HOST}:{d.advertised_port}" for n, d in zip(names, extra_listeners, strict=True)]
    plain = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names)]
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": node.quorum_voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(
            [f"PLAINTEXT://{ports.HOST}:{port}", f"CONTROLLER://{ports.HOST}:{controller_port}", *listen]
        ),
        "advertised.listeners": ",".join([f"PLAINTEXT://{ports.HOST}:{port}", *advertise]),
        "listener.security.protocol.map": ",".join(plain),
        "log.dirs": str(data_dir),
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(_MAX_RECORD_BYTES),
        "replica.fetch.max.bytes": str(_MAX_RECORD_BYTES),
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill the controller waits for the old broker session to time out before it admits the broker again.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Small segments, checked often, so that a short retention takes effect within seconds.
        "log.segment.bytes": str(128 << 20),
        "log.initial.task.delay.ms": "5000",
        "log.retention.check.interval.ms": "10000",
        "log.cleaner.dedupe.buffer.size": str(8 << 20),  # the default of 128 MiB does not fit the heap
        "num.io.threads": "4",
        "num.network.threads": "2",
        "background.threads": "4",
    }


@asynccontextmanager
async def running(
    home: Path,
    *,
    log_dir: Path,
    port: int | None = None,
    installation: Installation | None = None,
    extra_listeners: Sequence[ExtraListener] = (),
) -> AsyncGenerator[broker.Broker]:
    """Runs Kafka with its data in `home`, formatted if new. Raises ServerUnavailable."""
    found = installation or await find_installation(lambda _name, _state: None)
    async with ports.retry_on_taken_port(
        lambda: [port, *ports.pick_free_ports(1)] if port else ports.pick_free_ports(2),
        lambda chosen: _on(chosen, home, log_dir, found, extra_listeners),
    ) as server:
        yield server


@asynccontextmanager
async def _on(
    chosen: list[int], home: Path, log_dir: Path, installation: Installation, extra_listeners: Sequence[ExtraListener]
) -> AsyncGenerator[broker.Broker]:
    port, controller_port = chosen
    ports.require_free("kafka", chosen)
    config = _write_config(home, broker_properties(home / "data", port, controller_port, extra_listeners))
    if not _is_formatted(home):
        await _format(installation, config, _cluster_id())
    async with _started("kafka", installation, config, port, log_dir=log_dir) as server:
        yield server


@asynccontextmanager
async def cluster(
    home: Path, *, log_dir: Path, environments: Sequence[Mapping[str, str]]
) -> AsyncGenerator[list[broker.Broker]]:
    """Runs one node for each of `environments` (its environment variables), with new data in `home`.

    Raises:
        ServerUnavailable: a node does not start.
    """
    installation = await find_installation(lambda _name, _state: None)
    count, cluster_id = len(environments), _cluster_id()
    chosen = ports.pick_free_ports(2 * count)
    listening, controllers = chosen[:count], chosen[count:]
    async with AsyncExitStack() as stack:

        async def start(node: int) -> broker.Broker:
            port, place = listening[node - 1], ClusterNode(node, controllers)
            folder = home / f"node-{node}"
            config = _write_config(folder, broker_properties(folder / "data", port, controllers[node - 1], node=place))
            await _format(installation, config, cluster_id)
            started = _started(
                f"kafka-{node}", installation, config, port, log_dir=log_dir, environment=environments[node - 1]
            )
            return await stack.enter_async_context(started)

        try:
            async with asyncio.TaskGroup() as tasks:  # started concurrently: a node is ready only once a majority is up
                starting = [tasks.create_task(start(node)) for node in range(1, count + 1)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        yield [task.result() for task in starting]


@asynccontextmanager
async def _started(
    name: str,
    installation: Installation,
    config: Path,
    port: int,
    *,
    log_dir: Path,
    environment: Mapping[str, str] | None = None,
) -> AsyncGenerator[broker.Broker]:
    program = ProcessSpec(
        name=name,
        argv=installation.command("kafka.Kafka", str(config)),
        folder=config.parent,
        log_path=log_dir / f"{name}.log",
        is_ready=lambda: broker.is_responding(f"{ports.HOST}:{port}"),
        env=environment or {},
    )
    async with process.running(program) as child:
        yield broker.Broker(
            name="Apache Kafka",
            version=KAFKA_VERSION,
            child=child,
            bootstrap_servers=f"{ports.HOST}:{port}",
            idempotent=True,
            note="",
        )


def _write_config(home: Path, settings: Mapping[str, str]) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    config = home / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return config


def _is_formatted(home: Path) -> bool:
    return Path(home, "data", "meta.properties").exists()


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


async def _format(installation: Installation, config: Path, cluster_id: str) -> None:
    command = installation.command("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(config))
    process_ = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_FORMAT_TIMEOUT_S):
            output, _ = await process_.communicate()
    finally:
        if process_.returncode is None:
            process_.kill()
            await process_.wait()
    if process_.returncode != 0:
        raise ServerUnavailable(f"Kafka could not format {config.parent}:\n{output.decode(errors='replace')[-2000:]}")
