"""State of the scan of a hold's window in the bucket: steps still to do, and versions seen. Pure.

A window of a month has 744 hours, each with its own listing. So it is scanned in steps: a day (which hours
exist), then each of its hours. Announcements queue their hours; the whole window is scanned again from time
to time.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.ledger.holds import Hold
from districam_common.ledger.intervals import Interval
from districam_common.s3.s3_listing import ObjectVersion
from districam_indexer.core.hold_rules import HoldTargets, hold_hours

ScanStep = tuple[str, int]
"""`day` or `hour`, and its start."""


@dataclass(slots=True)
class ScannedHour:
    """An hour: number of versions in the window, and those that this process has put under legal hold."""

    versions: int = 0
    held: set[int] = field(default_factory=set[int])
    """Hashes of (key, version id), which take a tenth of the memory."""


class HoldScan:
    """The scan of one hold; begins with the whole window queued."""

    def __init__(self, hold: Hold) -> None:
        hours = hold_hours(hold)
        self._window_hours = frozenset(hours)
        self._days = sorted({hour_us // DAY_US * DAY_US for hour_us in hours})
        self._urgent: deque[ScanStep] = deque(("day", day_us) for day_us in self._days)
        self._rescan: deque[ScanStep] = deque()
        self._failed: list[ScanStep] = []
        self._hours: dict[int, ScannedHour] = {}

    @property
    def has_urgent_steps(self) -> bool:
        """Whether any new footage, or part of the first scan, is not scanned yet."""
        return bool(self._urgent)

    @property
    def has_rescan_steps(self) -> bool:
        return bool(self._rescan)

    @property
    def is_complete(self) -> bool:
        """Whether the whole window is scanned and held."""
        return not self._urgent and not self._failed

    @property
    def versions(self) -> int:
        return sum(seen.versions for seen in self._hours.values())

    @property
    def held(self) -> int:
        return sum(len(seen.held) for seen in self._hours.values())

    def begin_round(self) -> None:
        """Queues the failed steps again: one attempt in each round."""
        self._urgent.extend(self._failed)
        self._failed.clear()

    def begin_rescan(self) -> None:
        """Queues the whole window at low priority: objects may have been deleted, or stored unannounced."""
        self._rescan = deque(("day", day_us) for day_us in self._days)

    def report_announced(self, intervals: Iterable[Interval]) -> None:
        """Queues the hours of newly announced footage."""
        hours = {
            hour * HOUR_US
            for from_us, to_us in intervals
            for hour in range(from_us // HOUR_US, (to_us - 1) // HOUR_US + 1)
        }
        queued = set(self._urgent)
        self._urgent.extend(
            ("hour", hour_us) for hour_us in sorted(hours & self._window_hours) if ("hour", hour_us) not in queued
        )

    def next_step(self, *, is_rescan: bool) -> ScanStep | None:
        """Takes the next step of that kind; None if there is none."""
        steps = self._rescan if is_rescan else self._urgent
        return steps.popleft() if steps else None

    def requeue(self, step: ScanStep, *, is_rescan: bool) -> None:
        """Puts a step that failed back to the front."""
        (self._rescan if is_rescan else self._urgent).appendleft(step)

    def report_hours(self, day_us: int, hours: Iterable[int], *, is_rescan: bool) -> None:
        """Queues the existing hours of a day; forgets the state of hours that no longer exist."""
        existing = {hour_us for hour_us in hours if hour_us in self._window_hours}
        for hour_us in [one for one in self._hours if one // DAY_US * DAY_US == day_us and one not in existing]:
            del self._hours[hour_us]
        (self._rescan if is_rescan else self._urgent).extend(("hour", hour_us) for hour_us in sorted(existing))

    def unheld_indexes(self, hour_us: int, targets: HoldTargets) -> list[int]:
        """Updates an hour's state; returns indexes in `targets.versions` of those not under legal hold yet."""
        scanned = self._hours.setdefault(hour_us, ScannedHour())
        hashes = [version_hash(one) for one in targets.versions]
        scanned.versions = len(hashes)
        scanned.held &= set(hashes)
        return [index for index, one in enumerate(hashes) if one not in scanned.held]

    def report_held(self, hour_us: int, hashes: Sequence[int]) -> None:
        self._hours[hour_us].held.update(hashes)

    def report_failed(self, hour_us: int) -> None:
        """A legal hold in that hour failed: the hour is scanned again in the next round."""
        if ("hour", hour_us) not in self._failed:
            self._failed.append(("hour", hour_us))


def version_hash(version: ObjectVersion) -> int:
    """Identifies a version within this process."""
    return hash((version.key, version.version_id))
