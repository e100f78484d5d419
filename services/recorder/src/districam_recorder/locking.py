"""Asks the store to keep fresh segments from everybody, as far as it does; what is stored without is told and counted."""

from dataclasses import dataclass

import structlog

from districam_common.errors import Fatal, Rejected
from districam_common.runtime.service import Runtime
from districam_common.s3.blobs import Blobs
from districam_recorder import metrics
from districam_recorder.core.locks import locked_until

log = structlog.get_logger()

AGAIN_US = 600_000_000
"""After the store has refused a lock, the next one is tried so much later."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What an object is put with: `until_us`, or none, and why there is none although there should be."""

    until_us: int | None
    why: str = ""


class Locking:
    """Of one process.

    Args:
        lock_us: how long from its recording on; 0: nothing is to be locked.
        has_lock: whether the bucket has object lock; None: nobody knows, which the first put will tell.
    """

    def __init__(self, runtime: Runtime, lock_us: int, *, has_lock: bool | None) -> None:
        self._clock = runtime.clock
        self._lock_us, self._has_lock = lock_us, has_lock
        self._refused_us: int | None = None

    @classmethod
    async def begun(cls, blobs: Blobs, runtime: Runtime, lock_us: int) -> "Locking":
        """Asks what the bucket can.

        Raises:
            Retriable: the store is away.
        """
        if not lock_us:
            return cls(runtime, 0, has_lock=False)
        try:
            has_lock = await blobs.has_object_lock()
        except (Fatal, Rejected) as error:  # our keys need not be allowed to ask
            log.info("the store does not say whether the bucket has object lock", why=str(error))
            has_lock = None
        if has_lock is False:
            log.warning("fresh footage is not locked", why="the bucket has no object lock")
        return cls(runtime, lock_us, has_lock=has_lock)

    def of(self, append_us: int) -> Lock:
        """What the next put shall ask for; `append_us` is when the segment's first record was appended."""
        if not self._lock_us:
            return Lock(None)
        if self._has_lock is False:
            return Lock(None, "bucket")
        if self._refused_us is not None and self._clock.monotonic_us() - self._refused_us < AGAIN_US:
            return Lock(None, "refused")
        until_us = locked_until(append_us, self._clock.now_us(), self._lock_us)
        return Lock(until_us, "late" if until_us is None else "")

    def refused(self, why: str) -> Lock:
        """The store took no lock for an object; gives what it is to be stored with."""
        if self._refused_us is None:
            log.error("fresh footage is not locked", why=why)
        self._refused_us = self._clock.monotonic_us()
        return Lock(None, "refused")

    def stored(self, lock: Lock) -> None:
        """An object is stored so."""
        if lock.why:
            metrics.UNLOCKED.labels(lock.why).inc()
        if lock.until_us is not None and self._refused_us is not None:
            log.info("fresh footage is locked again")
            self._refused_us = None
