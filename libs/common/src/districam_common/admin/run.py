"""Runs a command: settings, retries, error messages. Exit codes: 0 done, 1 not done, 2 invalid settings, 3 fatal."""

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Iterator

from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.runtime import logs
from districam_common.runtime.retry import retry
from districam_common.runtime.settings import LogSettings, ServiceSettings, SettingsError, TopicsSettings, load

_RETRY_INTERVAL_S = 0.5

EXIT_NOT_DONE = 1
EXIT_BAD_SETTINGS = 2
EXIT_FATAL = 3


class CommandSettings(ServiceSettings):
    """Settings of the commands."""

    topics: TopicsSettings = TopicsSettings()


Command = Callable[[CommandSettings], Awaitable[int]]


def add_wait(parser: ArgumentParser) -> None:
    """Adds the option `--wait`, which every command has."""
    parser.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="retry this long if a server is unavailable"
    )


def run(name: str, command: Command, *, wait_s: float) -> int:
    """Runs a command, repeated for up to `wait_s` while a server is unavailable. Returns the exit code."""
    try:
        settings = load(CommandSettings)
        logs.configure(LogSettings(level="warning", format=settings.log.format), service=name, instance="command")
        return asyncio.run(_retried(command, settings, wait_s))
    except SettingsError as error:
        return _failed(name, error, EXIT_BAD_SETTINGS)
    except Fatal as error:
        return _failed(name, error, EXIT_FATAL)
    except (Retriable, Rejected) as error:
        return _failed(name, error, EXIT_NOT_DONE)


def _failed(name: str, error: Exception, code: int) -> int:
    print(f"{name}: {error}", file=sys.stderr)
    return code


async def _retried(command: Command, settings: CommandSettings, wait_s: float) -> int:
    """Repeats the command; commands are idempotent, since each reads the current state before it acts."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s

    def delays() -> Iterator[float]:
        while loop.time() < deadline:
            yield _RETRY_INTERVAL_S

    return await retry(lambda: command(settings), delays())
