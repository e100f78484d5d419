"""Decides the S3 Object Lock retention of each PUT; logs and counts segments stored without a lock."""

from dataclasses import dataclass

import structlog

from districam_common.errors import Fatal, Rejected
from districam_common.runtime.service import Runtime
from districam_common.s3.blobs import Blobs
from districam_recorder import metrics
from districam_recorder.core.object_lock import retain_until_us

log = structlog.get_logger()

RETRY_INTERVAL_US = 600_000_000
"""Delay after a refused lock before the next PUT asks for one again."""


@dataclass(frozen=True, slots=True)
class LockDecision:
    """Retention of one PUT. `unlocked_reason` (bucket, refused, late) is set if a wanted lock is left out."""

    retain_until_us: int | None
    unlocked_reason: str = ""


class LockPolicy:
    """Object lock state of this process.

    Args:
        lock_us: lock duration, counted from the recording; 0 turns locking off.
        has_lock: whether the bucket has object lock enabled; None: unknown until the first PUT.
    """

    def __init__(self, runtime: Runtime, lock_us: int, *, has_lock: bool | None) -> None:
        self._clock = runtime.clock
        self._lock_us, self._has_lock = lock_us, has_lock
        self._refused_us: int | None = None

    @classmethod
    async def create(cls, blobs: Blobs, runtime: Runtime, lock_us: int) -> "LockPolicy":
        """Reads the bucket's object lock configuration first.

        Raises:
            Retriable: the store cannot be reached.
        """
        if not lock_us:
            return cls(runtime, 0, has_lock=False)
        try:
            has_lock = await blobs.has_object_lock()
        except (Fatal, Rejected) as error:  # s3:GetBucketObjectLockConfiguration is not among the required permissions
            log.info("object lock configuration of the bucket cannot be read", why=str(error))
            has_lock = None
        if has_lock is False:
            log.warning("new segments are not locked", why="the bucket has no object lock")
        return cls(runtime, lock_us, has_lock=has_lock)

    def decide(self, append_us: int) -> LockDecision:
        """The retention to request for a segment whose first record was appended at `append_us`."""
        if not self._lock_us:
            return LockDecision(None)
        if self._has_lock is False:
            return LockDecision(None, "bucket")
        if self._refused_us is not None and self._clock.monotonic_us() - self._refused_us < RETRY_INTERVAL_US:
            return LockDecision(None, "refused")
        retain_us = retain_until_us(append_us, self._clock.now_us(), self._lock_us)
        return LockDecision(retain_us, "late" if retain_us is None else "")

    def report_refused(self, reason: str) -> LockDecision:
        """Records that the store refused a lock; returns the decision for storing the object without."""
        if self._refused_us is None:
            log.error("new segments are not locked", why=reason)
        self._refused_us = self._clock.monotonic_us()
        return LockDecision(None, "refused")

    def report_stored(self, decision: LockDecision) -> None:
        """Counts a stored object by its decision; ends the refused state if it was stored with a lock."""
        if decision.unlocked_reason:
            metrics.UNLOCKED.labels(decision.unlocked_reason).inc()
        if decision.retain_until_us is not None and self._refused_us is not None:
            log.info("new segments are locked again")
            self._refused_us = None
