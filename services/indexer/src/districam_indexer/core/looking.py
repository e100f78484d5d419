"""What of a hold's window is still to be looked at in the store, and what has been seen there; no store, no clock.

A window of a month has 744 hours, each a listing of its own. So it is looked at in steps: a day (which hours exist), then
each hour. What is announced names its hours; everything is looked at anew from time to time.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.ledger.holds import Hold
from districam_common.ledger.intervals import Interval
from districam_common.s3.store_listing import Version
from districam_indexer.core.holding import Work, hours_of

Step = tuple[str, int]
"""`day` or `hour`, and its start."""


@dataclass(slots=True)
class Seen:
    """Of an hour: how many versions touch the window, and which of them this process has put under legal hold."""

    versions: int = 0
    held: set[int] = field(default_factory=set[int])
    """Of each (key, version) the hash, which takes a tenth of the room."""


class Looking:
    """For one hold. A new one has everything before it."""

    def __init__(self, hold: Hold) -> None:
        hours = hours_of(hold)
        self._inside = frozenset(hours)
        self._days = sorted({hour_us // DAY_US * DAY_US for hour_us in hours})
        self._first: deque[Step] = deque(("day", day_us) for day_us in self._days)
        self._again: deque[Step] = deque()
        self._failed: list[Step] = []
        self._hours: dict[int, Seen] = {}

    @property
    def is_urgent(self) -> bool:
        """Whether something has not been looked at since it arrived, or ever."""
        return bool(self._first)

    @property
    def is_looking_again(self) -> bool:
        return bool(self._again)

    @property
    def is_whole(self) -> bool:
        """Whether everything has been seen, and held."""
        return not self._first and not self._failed

    @property
    def versions(self) -> int:
        return sum(seen.versions for seen in self._hours.values())

    @property
    def held(self) -> int:
        return sum(len(seen.held) for seen in self._hours.values())

    def begin_round(self) -> None:
        """What could not be held is tried once a round."""
        self._first.extend(self._failed)
        self._failed.clear()

    def look_again(self) -> None:
        """At all of it, when there is time: somebody may have deleted there, or stored without announcing."""
        self._again = deque(("day", day_us) for day_us in self._days)

    def arrived(self, intervals: Iterable[Interval]) -> None:
        """Footage has been announced: in the hours in which these intervals lie."""
        hours = {
            hour * HOUR_US
            for from_us, to_us in intervals
            for hour in range(from_us // HOUR_US, (to_us - 1) // HOUR_US + 1)
        }
        known = set(self._first)
        self._first.extend(
            ("hour", hour_us) for hour_us in sorted(hours & self._inside) if ("hour", hour_us) not in known
        )

    def next(self, *, again: bool) -> Step | None:
        """The next step; None when there is none of that kind."""
        steps = self._again if again else self._first
        return steps.popleft() if steps else None

    def put_back(self, step: Step, *, again: bool) -> None:
        """It could not be done."""
        (self._again if again else self._first).appendleft(step)

    def found(self, day_us: int, hours: Iterable[int], *, again: bool) -> None:
        """Which hours of a day exist. What was seen in those that do not any more is forgotten."""
        there = {hour_us for hour_us in hours if hour_us in self._inside}
        for hour_us in [one for one in self._hours if one // DAY_US * DAY_US == day_us and one not in there]:
            del self._hours[hour_us]
        (self._again if again else self._first).extend(("hour", hour_us) for hour_us in sorted(there))

    def missing(self, hour_us: int, work: Work) -> list[int]:
        """Which of the versions found in an hour are not under legal hold yet, as places in `work.versions`."""
        seen = self._hours.setdefault(hour_us, Seen())
        marks = [mark(one) for one in work.versions]
        seen.versions = len(marks)
        seen.held &= set(marks)
        return [place for place, one in enumerate(marks) if one not in seen.held]

    def put_on_hold(self, hour_us: int, marks: Sequence[int]) -> None:
        self._hours[hour_us].held.update(marks)

    def failed(self, hour_us: int) -> None:
        """Something of that hour could not be held: it is looked at once more, in the next round."""
        if ("hour", hour_us) not in self._failed:
            self._failed.append(("hour", hour_us))


def mark(one: Version) -> int:
    """Stands for a version; of this process alone."""
    return hash((one.key, one.version))
