"""Whether the store keeps what is under legal hold. Tried out, never assumed; while nobody can tell, holds are advisory."""

from typing import Literal

import structlog

from districam_common.runtime.backoff import delays
from districam_indexer import metrics
from districam_indexer.doors import Doors

log = structlog.get_logger()

State = Literal["enforced", "advisory", "unknown"]
STATES: tuple[State, ...] = ("enforced", "advisory", "unknown")
DEPENDENCY = "holds"
_FIRST_S = 1.0
_CAP_S = 300.0
"""Between two attempts while nobody can tell."""
_WHY = {
    "enforced": "",
    "advisory": "advisory: the store lets us delete what is under legal hold, or its bucket has no object lock",
    "unknown": "advisory: the store's answers do not tell whether it keeps what is under legal hold",
}


class Protection:
    """For one loop; tells health and metrics."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._state: State | None = None
        self._again_us: int | None = 0
        self._delays = delays(_FIRST_S, _CAP_S)

    @property
    def is_enforced(self) -> bool:
        return self._state == "enforced"

    async def look(self) -> bool:
        """Tries it out where that is due; whether what holds are has changed by it."""
        now_us = self._doors.runtime.clock.monotonic_us()
        if self._again_us is None or now_us < self._again_us:
            return False
        protects = await self._doors.vault.protects(self._doors.runtime.instance)
        if protects is None:
            self._again_us = now_us + round(next(self._delays) * 1e6)
        else:
            self._again_us = None
            self._delays = delays(_FIRST_S, _CAP_S)
        state: State = "unknown" if protects is None else "enforced" if protects else "advisory"
        was_enforced, before = self.is_enforced, self._state
        self._state = state
        self._tell(before)
        return was_enforced != self.is_enforced and before is not None

    def doubt(self) -> None:
        """The store has refused a legal hold: what is known of it is to be tried out anew, not at once."""
        if self._again_us is None:
            self._again_us = self._doors.runtime.clock.monotonic_us() + round(next(self._delays) * 1e6)

    def _tell(self, before: State | None) -> None:
        state = self._state or "unknown"
        if state != before:
            log.info("holds", protection=state)
        self._doors.runtime.health.ok(DEPENDENCY, _WHY[state])
        for one in STATES:
            metrics.PROTECTION.labels(one).set(one == state)
