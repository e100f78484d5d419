"""Starts and stops the three servers concurrently."""

import asyncio
import fcntl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from districam_devkit.servers import kafka, seaweedfs, tansu, valkey
from districam_devkit.servers.broker import Broker, BrokerOption, choose_broker
from districam_devkit.servers.process import OnStep, Server, ServerUnavailable

_S = TypeVar("_S", bound=Server)


@dataclass(frozen=True, slots=True)
class Servers:
    """The three running servers."""

    kafka: Broker
    s3: seaweedfs.S3
    redis: valkey.Redis

    def environment(self) -> dict[str, str]:
        """Returns the services' settings for these servers, including the secret key."""
        settings = {
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "DISTRICAM_S3__ENDPOINT": self.s3.url,
            "DISTRICAM_S3__ACCESS_KEY": self.s3.access_key,
            "DISTRICAM_S3__SECRET_KEY": self.s3.secret_key,
            "DISTRICAM_REDIS__URL": self.redis.url,
        }
        return settings if self.kafka.idempotent else {**settings, "DISTRICAM_KAFKA__IDEMPOTENT": "false"}


@asynccontextmanager
async def all_running(
    home: Path, *, broker: BrokerOption = "kafka", on_step: OnStep = lambda _name, _state: None
) -> AsyncGenerator[Servers]:
    """Runs all three servers: data in `home`, logs in `home/logs`.

    `on_step` gets each server's state: starting, ready, stopping, stopped.

    Raises:
        ServerUnavailable: one does not start; the others have been stopped.
    """
    with _locked_home(home) as folder:
        async with AsyncExitStack() as stack:
            servers = await _start(stack, folder, broker, on_step)
            try:
                yield servers
            finally:
                await _stop([servers.kafka, servers.s3, servers.redis], ["kafka", "s3", "redis"], on_step)


async def _start(stack: AsyncExitStack, home: Path, broker: BrokerOption, on_step: OnStep) -> Servers:
    logs = home / "logs"
    try:
        async with asyncio.TaskGroup() as group:
            entered = (
                group.create_task(_enter(stack, "kafka", _broker(home / "kafka", logs, broker, on_step), on_step)),
                group.create_task(_enter(stack, "s3", seaweedfs.running(home / "s3", log_dir=logs), on_step)),
                group.create_task(_enter(stack, "redis", valkey.running(home / "redis", log_dir=logs), on_step)),
            )
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    kafka_task, s3_task, redis_task = entered
    return Servers(kafka_task.result(), s3_task.result(), redis_task.result())


async def _enter(stack: AsyncExitStack, name: str, server: AbstractAsyncContextManager[_S], on_step: OnStep) -> _S:
    started = time.monotonic()
    on_step(name, "starting")
    running = await stack.enter_async_context(server)
    on_step(name, f"ready: {running.name} {running.version}, {time.monotonic() - started:.1f} s")
    return running


@asynccontextmanager
async def _broker(home: Path, logs: Path, option: BrokerOption, on_step: OnStep) -> AsyncGenerator[Broker]:
    """Runs the requested broker, or with `auto` the available one."""
    installation, kafka_missing = await _prepared(option, on_step)
    choice = choose_broker(option, kafka_missing=kafka_missing, tansu_missing=_tansu_missing())
    if choice.kind == "kafka":
        async with kafka.running(home, log_dir=logs, installation=installation) as broker:
            yield broker
        return
    if option == "auto":
        on_step("kafka", f"Apache Kafka is not available. {(kafka_missing or '').splitlines()[0]}")
    on_step("kafka", choice.note)
    async with tansu.running(home, log_dir=logs) as broker:
        yield broker


async def _prepared(option: BrokerOption, on_step: OnStep) -> tuple[kafka.Installation | None, str | None]:
    if option == "tansu":
        return None, "not wanted"
    try:
        return await kafka.find_installation(on_step), None
    except ServerUnavailable as error:
        return None, str(error)


def _tansu_missing() -> str | None:
    try:
        tansu.binary()
    except ServerUnavailable as error:
        return str(error)
    return None


async def _stop(servers: list[Server], names: list[str], on_step: OnStep) -> None:
    async def stop(name: str, server: Server) -> None:
        on_step(name, "stopping")
        await server.child.stop()
        on_step(name, "stopped")

    async with asyncio.TaskGroup() as group:
        for name, server in zip(names, servers, strict=True):
            group.create_task(stop(name, server))


@contextmanager
def _locked_home(home: Path) -> Generator[Path]:
    """Yields the folder, created and locked, since two sets of servers on one folder corrupt the data."""
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with Path(home, ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerUnavailable(
                f"{home} is in use by other servers of this kind: end those, or use another folder"
            ) from None
        yield home
