"""A pool of child processes that decode pictures: with a memory limit, without secrets, replaced when they fail."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from districam_common.pictures.messages import (
    LENGTHS_BYTES,
    BadMessageError,
    MessageHead,
    decode_head,
    decode_lengths,
    encode_message,
)

log = structlog.get_logger()

MEMORY_BYTES = 400 << 20
"""Address space that a child may use for a picture: an 8K picture needs 350 MiB for decoding, scaling and encoding (measured)."""
START_S = 20.0
_INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_MALLOC_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""Keeps malloc from returning the memory of each picture to the system, only to fault it in again for the next (mallopt(3))."""
_PIPE_ERRORS = (OSError, asyncio.IncompleteReadError, BadMessageError, RuntimeError)
"""Errors of reading and writing when the child has ended; uvloop raises RuntimeError for a closed pipe."""


class DecoderFailedError(Exception):
    """The child did not answer; it is replaced by a new one."""


class DecoderExitedError(DecoderFailedError):
    """The child ended, perhaps because of the request."""


class DecoderTimeoutError(DecoderFailedError):
    """The child did not answer in time, because of the picture or of a busy host."""


@dataclass(slots=True)
class _Job:
    head: MessageHead
    body: tuple[bytes, ...]
    timeout_s: float
    answer: asyncio.Future[tuple[MessageHead, bytes]]


class DecoderPool:
    """Decodes at most `count` pictures at once; further requests wait.

    A child starts with its first request and handles one at a time; cancelling a request does not disturb it.
    """

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._is_closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, count: int, *, memory_bytes: int = MEMORY_BYTES) -> AsyncGenerator["DecoderPool"]:
        """A pool for the duration of the block; requests that still wait at its end are cancelled."""
        children = cls()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                worker = _Worker(children._jobs, memory_bytes)
                children._workers.append(tasks.create_task(worker.run(), name="pictures"))
            try:
                yield children
            finally:
                children.close()

    def close(self) -> None:
        """Ends the children; running and waiting requests are cancelled."""
        self._is_closed = True
        for worker in self._workers:
            worker.cancel()
        while not self._jobs.empty():
            self._jobs.get_nowait().answer.cancel()

    async def request(self, head: MessageHead, *body: bytes, timeout_s: float) -> tuple[MessageHead, bytes]:
        """The response's head and body; `districam_common.pictures.decoder_process` describes the requests.

        Raises:
            DecoderExitedError: the child ended.
            DecoderTimeoutError: it took longer than `timeout_s` after it had begun.
        """
        if self._is_closed:
            raise DecoderExitedError("closed")
        answer: asyncio.Future[tuple[MessageHead, bytes]] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(head, body, timeout_s, answer))
        return await answer


class _Worker:
    """Handles requests with one child, which it replaces when it fails."""

    def __init__(self, jobs: asyncio.Queue[_Job], memory_bytes: int) -> None:
        self._jobs, self._memory_bytes = jobs, memory_bytes
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        try:
            while True:
                job = await self._jobs.get()
                if not job.answer.done():  # not cancelled while it waited
                    await self._handle(job)
        finally:
            await self._kill()

    async def _handle(self, job: _Job) -> None:
        try:
            answer = await self._request(job)
        except (*_PIPE_ERRORS, TimeoutError) as error:
            failed = (
                DecoderTimeoutError(f"no answer within {job.timeout_s:.0f} s")
                if isinstance(error, TimeoutError)
                else DecoderExitedError("the decoding process ended")
            )
            log.warning("picture decoder replaced", why=str(failed), request=job.head.get("do"))
            await self._kill()
            if not job.answer.done():
                job.answer.set_exception(failed)
        except BaseException:
            job.answer.cancel()
            raise
        else:
            if not job.answer.done():
                job.answer.set_result(answer)

    async def _request(self, job: _Job) -> tuple[MessageHead, bytes]:
        if self._child is None:
            self._child = await _start_process(self._memory_bytes)
        async with asyncio.timeout(job.timeout_s):
            pipe = self._child.stdin
            assert pipe is not None
            pipe.writelines(encode_message(job.head, *job.body))
            await pipe.drain()
            head, body = await _message(self._child)
        if head.get("is_spent"):
            await self._kill()
        return head, body

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _start_process(memory_bytes: int) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "districam_common.pictures.decoder_process", str(memory_bytes)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
    )
    try:
        async with asyncio.timeout(START_S):
            head, _ = await _message(child)
    except BaseException:
        child.kill()
        await child.wait()
        raise
    if not head.get("confined"):
        log.info("picture decoders are not restricted from files and network: the kernel has no Landlock")
    return child


def _environment() -> dict[str, str]:
    """The child's environment: without our settings and secrets."""
    ours = os.environ  # noqa: TID251  # filtered, not read for settings
    return {name: ours[name] for name in _INHERITED_VARIABLES if name in ours} | _MALLOC_VARIABLES


async def _message(child: asyncio.subprocess.Process) -> tuple[MessageHead, bytes]:
    pipe = child.stdout
    assert pipe is not None
    head_bytes, body_bytes = decode_lengths(await pipe.readexactly(LENGTHS_BYTES))
    return decode_head(await pipe.readexactly(head_bytes)), await pipe.readexactly(body_bytes)
