"""A few child processes that decode pictures: with a memory limit, without secrets, replaced when they fail."""

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
"""Address space that a child may take for a picture: one of 8K needs 350 MiB (measured), decoded, scaled and encoded."""
START_S = 20.0
_INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_MALLOC_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""Pictures come and go; memory that is given back is paid for again, page by page, with the next one (mallopt(3))."""
_PIPE_ERRORS = (OSError, asyncio.IncompleteReadError, BadMessageError, RuntimeError)
"""What reading and writing raise when the child is gone; RuntimeError is uvloop's word for a pipe that is closed."""


class DecoderFailedError(Exception):
    """No answer came; another child takes the place of the one that was asked."""


class DecoderExitedError(DecoderFailedError):
    """The child ended, which what it was asked may have caused."""


class DecoderTimeoutError(DecoderFailedError):
    """The child had no answer in time, be it for the picture or for a busy machine."""


@dataclass(slots=True)
class _Job:
    head: MessageHead
    body: tuple[bytes, ...]
    timeout_s: float
    answer: asyncio.Future[tuple[MessageHead, bytes]]


class DecoderPool:
    """At most `count` pictures are decoded at once; the others wait for their turn.

    A child starts at its first picture, and answers to nobody else: who gives up waiting does not disturb it.
    """

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._is_closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, count: int, *, memory_bytes: int = MEMORY_BYTES) -> AsyncGenerator["DecoderPool"]:
        """Children for the length of the block; what waits at its end is not answered any more."""
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
        """Ends the children; what is asked or waits is cancelled."""
        self._is_closed = True
        for worker in self._workers:
            worker.cancel()
        while not self._jobs.empty():
            self._jobs.get_nowait().answer.cancel()

    async def request(self, head: MessageHead, *body: bytes, timeout_s: float) -> tuple[MessageHead, bytes]:
        """The answer's head and body; see `districam_common.pictures.decoder_process` for what may be asked.

        Raises:
            ChildDiedError: the child ended. ChildSlowError: it took longer than `timeout_s` once it had begun.
        """
        if self._is_closed:
            raise DecoderExitedError("closed")
        answer: asyncio.Future[tuple[MessageHead, bytes]] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(head, body, timeout_s, answer))
        return await answer


class _Worker:
    """One child at a time."""

    def __init__(self, jobs: asyncio.Queue[_Job], memory_bytes: int) -> None:
        self._jobs, self._memory_bytes = jobs, memory_bytes
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        try:
            while True:
                job = await self._jobs.get()
                if not job.answer.done():  # who asked has not given up meanwhile
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
            log.warning("a child that decodes pictures is replaced", why=str(failed), asked=job.head.get("do"))
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
        log.info("children that decode pictures are not kept from files and network: the kernel has no Landlock")
    return child


def _environment() -> dict[str, str]:
    """Ours without what holds settings and secrets."""
    ours = os.environ  # noqa: TID251  # to be left out, not to be read
    return {name: ours[name] for name in _INHERITED_VARIABLES if name in ours} | _MALLOC_VARIABLES


async def _message(child: asyncio.subprocess.Process) -> tuple[MessageHead, bytes]:
    pipe = child.stdout
    assert pipe is not None
    head_bytes, body_bytes = decode_lengths(await pipe.readexactly(LENGTHS_BYTES))
    return decode_head(await pipe.readexactly(head_bytes)), await pipe.readexactly(body_bytes)
