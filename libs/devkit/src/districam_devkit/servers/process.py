"""A server as a child process: it logs to a file, is ready before it is used, and ends with its block or its parent."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_PROBE_INTERVAL_S = 0.05
_PROBE_TIMEOUT_S = 3
_KILL_TIMEOUT_S = 10
_LOG_TAIL_LINES = 15

OnStep = Callable[[str, str], None]
"""Callback for progress: (server's name, its state)."""


def dies_with_parent(*argv: str) -> tuple[str, ...]:
    """Returns a command line whose program is killed when this process ends in any way (`launch`; Linux only)."""
    return (sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *argv)


class ServerUnavailable(Exception):  # the name is a state of the machine; the message says what would help
    """A server is not available here; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `env` is added to the parent's environment: secrets go there, never into `argv`.

    `is_ready` may raise OSError for "not yet". SIGKILL follows SIGTERM after `stop_s`.
    """

    name: str
    argv: tuple[str, ...]
    folder: Path
    log_path: Path
    is_ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    ready_s: float = 60
    stop_s: float = 15


class Child:
    """A program that can be killed and restarted within its block; see `running`."""

    def __init__(self, program: ProcessSpec):
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts with the same arguments and data; returns when ready.

        Raises:
            ServerUnavailable: it does not become ready; it has been killed.
        """
        if self.pid is not None:
            raise RuntimeError(f"{self._program.name} runs already")
        await self._spawn()
        try:
            await self._until_ready()
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """Sends SIGKILL to its process group; returns when it has ended."""
        self.signal(signal.SIGKILL)
        await self._wait_for_exit(_KILL_TIMEOUT_S)

    async def stop(self) -> None:
        """Sends SIGTERM, then SIGKILL after `stop_s` or if this wait is cancelled."""
        self.signal(signal.SIGTERM)
        try:
            await self._wait_for_exit(self._program.stop_s)
        except TimeoutError:
            await self.kill()
        finally:
            self.signal(signal.SIGKILL)

    async def _spawn(self) -> None:
        program = self._program
        program.log_path.parent.mkdir(parents=True, exist_ok=True)
        with program.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_parent(*program.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=program.folder,
                env={**os.environ, **program.env},
                start_new_session=True,  # Ctrl-C reaches the parent only, which stops its children in order
            )

    async def _until_ready(self) -> None:
        program = self._program
        try:
            async with asyncio.timeout(program.ready_s):
                while not await self._probe():  # noqa: ASYNC110  # readiness can only be polled
                    await asyncio.sleep(_PROBE_INTERVAL_S)
        except TimeoutError:
            raise self._failure(f"was not ready within {program.ready_s:g} s") from None

    async def _probe(self) -> bool:
        assert self._process
        if self._process.returncode is not None:
            raise self._failure(f"exited with code {self._process.returncode} before it was ready")
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await self._program.is_ready()
        except OSError:  # includes TimeoutError
            return False

    def _failure(self, what: str) -> ServerUnavailable:
        with self._program.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        log_tail = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return ServerUnavailable(f"{self._program.name} {what}. The end of {self._program.log_path}:\n{log_tail}")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal such as SIGSTOP to its process group."""
        if self.pid is not None:
            os.killpg(self.pid, number)

    async def _wait_for_exit(self, timeout_s: float) -> None:
        if self._process:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its address and version, and means to kill and restart it."""

    name: str
    version: str
    child: Child

    @property
    def pid(self) -> int | None:
        return self.child.pid

    async def kill(self) -> None:
        """Sends SIGKILL; as in a crash, data not yet handed to the operating system is lost."""
        await self.child.kill()

    async def restart(self) -> None:
        """Starts it again after `kill` on the same data and ports; returns when it is ready."""
        await self.child.start()


@asynccontextmanager
async def running(program: ProcessSpec) -> AsyncGenerator[Child]:
    """Runs a program, with a new log. Raises ServerUnavailable with the end of the log.

    On Linux the program also dies with the thread that runs this event loop (PR_SET_PDEATHSIG).
    """
    program.folder.mkdir(parents=True, exist_ok=True)
    program.log_path.unlink(missing_ok=True)
    child = Child(program)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()
