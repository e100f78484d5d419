"""Runs a service: loads settings, sets up logs, signals and health, and maps errors to exit codes."""

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar, cast

import structlog
import uvloop

from districam_common.errors import DistricamError, Fatal, Retriable
from districam_common.runtime import health as health_server
from districam_common.runtime import heap, logs, loop_lag
from districam_common.runtime.backoff import delays
from districam_common.runtime.clock import Clock, SystemClock
from districam_common.runtime.health import Health
from districam_common.runtime.retry import retry
from districam_common.runtime.settings import ServiceSettings, SettingsError, load, variable_name

__all__ = [
    "EXIT_BAD_SETTINGS",
    "EXIT_BUG",
    "EXIT_FATAL",
    "EXIT_STOPPED",
    "Health",
    "Runtime",
    "entry",
    "instance_name",
    "leaf_errors",
    "retry_dependency",
    "run",
]

log = structlog.get_logger()
S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")

EXIT_STOPPED = 0
EXIT_BUG = 1
EXIT_BAD_SETTINGS = 2
EXIT_FATAL = 3


def instance_name() -> str:
    """Host name and a random suffix, new at each process start."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Argument of a service's main function, which must return once `stopping` is set and its work is finished."""

    name: str
    instance: str = field(default_factory=instance_name)
    clock: Clock = field(default_factory=SystemClock)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    health: Health = field(default_factory=Health)

    async def wait_stopping(self, delay_s: float) -> bool:
        """Sleeps up to `delay_s`; returns True if the service was asked to stop."""
        return await _wait_stopping(self.stopping, delay_s)


Main = Callable[[Runtime], Awaitable[None]]


async def retry_dependency(
    attempt: Callable[[], Awaitable[T]],
    runtime: Runtime,
    dependency: str,
    *,
    first_s: float = 0.2,
    cap_s: float = 10.0,
    while_stopping: bool = False,
) -> T:
    """The result of `attempt`, repeated while it raises Retriable; reports both to Health as `dependency`.

    With `while_stopping` it also repeats after `stopping` is set, until it is cancelled.

    Raises:
        Retriable: of the last attempt, once `stopping` is set. Other errors are not caught.
    """

    async def pause(error: Retriable, delay_s: float) -> None:
        runtime.health.report_failing(dependency, str(error))
        if while_stopping:
            await asyncio.sleep(delay_s)
        elif await _wait_stopping(runtime.stopping, delay_s):
            raise error

    result = await retry(attempt, delays(first_s, cap_s), pause)
    runtime.health.report_ok(dependency)
    return result


async def _wait_stopping(stopping: asyncio.Event, delay_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await stopping.wait()
    return stopping.is_set()


def entry(name: str, kind: type[S], main: Callable[[S, Runtime], Awaitable[None]]) -> int:
    """Loads the settings and runs `main(settings, runtime)`; the body of a `__main__`. Returns the exit code."""
    try:
        settings = load(kind)
    except SettingsError as error:
        print(f"districam-{name}: {error}", file=sys.stderr)  # noqa: T201  # logs need settings
        return EXIT_BAD_SETTINGS
    return run(name, settings, lambda runtime: main(settings, runtime))


def run(name: str, settings: ServiceSettings, main: Main) -> int:
    """Runs a service until it is asked to stop. Returns the exit code: 0 stopped, 1 bug, 2 settings, 3 Fatal."""
    instance = instance_name()
    heap.limit_arenas()
    logs.configure(settings.log, service=name, instance=instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run_service(name, instance, settings, main))


async def _run_service(name: str, instance: str, settings: ServiceSettings, main: Main) -> int:
    runtime = Runtime(name, instance)
    try:
        await _serve(runtime, settings, main)
    except Exception as error:  # noqa: BLE001  # the one broad except of a service
        return _exit_code(error, is_stopping=runtime.stopping.is_set())
    log.info("stopped")
    return EXIT_STOPPED


async def _serve(runtime: Runtime, settings: ServiceSettings, main: Main) -> None:
    with _signals(runtime.stopping):
        async with health_server.serve_health(settings.health, runtime.health) as port:
            log.info("started", site=settings.site, health_port=port)
            async with (
                loop_lag.measure_loop_lag(),
                heap.trim_periodically(),
                heap.collect_periodically(),
                _stop_deadline(runtime.stopping, settings.stop_timeout_s),
            ):
                await main(runtime)
    if not runtime.stopping.is_set():
        raise AssertionError("the service's main function returned before it was asked to stop")


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Generator[None]:
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _stop_deadline(stopping: asyncio.Event, timeout_s: float) -> AsyncGenerator[None]:
    """Cancels the block `timeout_s` after `stopping` is set, and raises AssertionError: a timely stop is required."""
    deadline = asyncio.timeout(None)
    try:
        async with deadline, asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(_arm_deadline(deadline, stopping, timeout_s))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError as error:
        if deadline.expired():
            raise AssertionError(
                f"stopping took longer than {variable_name('stop_timeout_s')} ({timeout_s} s)"
            ) from error
        raise


async def _arm_deadline(deadline: asyncio.Timeout, stopping: asyncio.Event, timeout_s: float) -> None:
    await stopping.wait()
    deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)


def leaf_errors(error: BaseException) -> list[BaseException]:
    """The errors inside an exception group, at any depth; for any other error, the error itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for one in group.exceptions for leaf in leaf_errors(one)]
    return [error]


def _exit_code(error: Exception, *, is_stopping: bool) -> int:
    found = leaf_errors(error)
    for leaf in found:
        if isinstance(leaf, SettingsError):
            log.error("invalid settings", why=str(leaf))
            return EXIT_BAD_SETTINGS
        if isinstance(leaf, Fatal):
            log.error("fatal error", why=str(leaf))
            return EXIT_FATAL
    if is_stopping and all(isinstance(leaf, Retriable) for leaf in found):
        log.warning("stopped while retrying", why=[str(leaf) for leaf in found])
        return EXIT_STOPPED
    known = all(isinstance(leaf, DistricamError) for leaf in found)
    log.error("failed", why=[repr(leaf) for leaf in found], exc_info=None if known else error)
    return EXIT_BUG
