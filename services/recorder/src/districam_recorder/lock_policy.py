"""Asks the store to keep fresh segments from everybody, as far as it does; what is stored without is told and counted."""

from dataclasses import dataclass

import structlog

from districam_common.errors import Fatal, Rejected
from districam_common.runtime.service import Runtime
from districam_common.s3.blobs import Blobs
from districam_recorder import metrics
from districam_recorder.core.object_lock import retain_until_us

log = structlog.get_logger()

RETRY_INTERVAL_US = 600_000_000
"""After the store has refused a lock, the next one is tried so much later."""


@dataclass(frozen=True, slots=True)
class LockDecision:
    """What an object is put with: `retain_until_us`, or none, and why there is none although there should be."""

    retain_until_us: int | None
    unlocked_reason: str = ""


class LockPolicy:
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
    async def create(cls, blobs: Blobs, runtime: Runtime, lock_us: int) -> "LockPolicy":
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

    def decide(self, append_us: int) -> LockDecision:
        """What the next put shall ask for; `append_us` is when the segment's first record was appended."""
        if not self._lock_us:
            return LockDecision(None)
        if self._has_lock is False:
            return LockDecision(None, "bucket")
        if self._refused_us is not None and self._clock.monotonic_us() - self._refused_us < RETRY_INTERVAL_US:
            return LockDecision(None, "refused")
        retain_us = retain_until_us(append_us, self._clock.now_us(), self._lock_us)
        return LockDecision(retain_us, "late" if retain_us is None else "")

    def report_refused(self, reason: str) -> LockDecision:
        """The store took no lock for an object; gives what it is to be stored with."""
        if self._refused_us is None:
            log.error("fresh footage is not locked", why=reason)
        self._refused_us = self._clock.monotonic_us()
        return LockDecision(None, "refused")

    def report_stored(self, decision: LockDecision) -> None:
        """An object is stored so."""
        if decision.unlocked_reason:
            metrics.UNLOCKED.labels(decision.unlocked_reason).inc()
        if decision.retain_until_us is not None and self._refused_us is not None:
            log.info("fresh footage is locked again")
            self._refused_us = None
