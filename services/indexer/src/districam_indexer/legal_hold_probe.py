"""Probes whether the store enforces legal holds (S3 Object Lock); until known, holds count as advisory."""

from typing import Literal

import structlog

from districam_common.runtime.backoff import delays
from districam_indexer import metrics
from districam_indexer.dependencies import Dependencies

log = structlog.get_logger()

ProtectionState = Literal["enforced", "advisory", "unknown"]
PROTECTION_STATES: tuple[ProtectionState, ...] = ("enforced", "advisory", "unknown")
DEPENDENCY = "holds"
_MIN_DELAY_S = 1.0
_MAX_DELAY_S = 300.0
"""Bounds of the delay between attempts while the result is unknown."""
_HEALTH_DETAILS = {
    "enforced": "",
    "advisory": "advisory: the store deletes objects under legal hold, or the bucket has no object lock",
    "unknown": "advisory: it is unknown whether the store enforces legal holds; the probe is repeated",
}


class LegalHoldProbe:
    """Probes when due; reports the result to health and metrics. Not for concurrent use."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._state: ProtectionState | None = None
        self._next_probe_us: int | None = 0
        self._delays = delays(_MIN_DELAY_S, _MAX_DELAY_S)

    @property
    def is_enforced(self) -> bool:
        return self._state == "enforced"

    async def refresh(self) -> bool:
        """Probes if due; returns whether `is_enforced` has changed."""
        now_us = self._deps.runtime.clock.monotonic_us()
        if self._next_probe_us is None or now_us < self._next_probe_us:
            return False
        enforces = await self._deps.bucket.enforces_legal_hold(self._deps.runtime.instance)
        if enforces is None:
            self._next_probe_us = now_us + round(next(self._delays) * 1e6)
        else:
            self._next_probe_us = None
            self._delays = delays(_MIN_DELAY_S, _MAX_DELAY_S)
        state: ProtectionState = "unknown" if enforces is None else "enforced" if enforces else "advisory"
        was_enforced, before = self.is_enforced, self._state
        self._state = state
        self._report(before)
        return was_enforced != self.is_enforced and before is not None

    def report_refused(self) -> None:
        """The store refused a legal hold: schedules a new probe, with backoff."""
        if self._next_probe_us is None:
            self._next_probe_us = self._deps.runtime.clock.monotonic_us() + round(next(self._delays) * 1e6)

    def _report(self, before: ProtectionState | None) -> None:
        state = self._state or "unknown"
        if state != before:
            log.info("protection of holds", state=state)
        self._deps.runtime.health.report_ok(DEPENDENCY, _HEALTH_DETAILS[state])
        for one in PROTECTION_STATES:
            metrics.PROTECTION.labels(one).set(one == state)
