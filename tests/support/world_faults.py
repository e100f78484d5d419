"""Faults of a simulated site. Times are seconds since the start of the world."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

TICKS_A_SECOND = 2

Kind = Literal[
    "silent",  # the camera is connected and sends nothing
    "unreachable",  # its connections break, new ones are refused
    "lossy",  # half of its pictures are lost in transit
    "oversize",  # its keyframes exceed the maximum record size
    "disabled",  # its record is disabled for the duration
    "renamed",  # a field of its record changes that its stream does not depend on
    "changed",  # a stream setting of its record changes
    "misdated",  # the clock of the operator who changes its record is off by up to two and a half minutes
    "killed",  # an ingest dies and loses its queue
    "stalled",  # an ingest process is stopped
    "moved",  # the group assigns a camera to the other ingest
    "skewed",  # a host's clock is off by less than a second
    "stepped",  # a host's clock jumps
    "suspended",  # a host is suspended: its monotonic clock stops, its wall clock is right afterwards
    "restarted_ahead",  # a host restarts with a clock that is hours ahead until it is set
    "broker_clock_wrong",  # the clock of one of the three brokers is wrong
    "cut_off",  # an ingest cannot reach the broker, the others can
    "leader_cut_off",  # an ingest cannot reach the leader of `fragments`
    "shedding",  # an ingest's buffer is full
    "corrupted_in_transit",  # a fragment is corrupted on its way into the log
    "broker",  # the broker is unreachable for all
    "leader",  # the leader of a partition of `fragments` is unreachable; the group's coordinator answers
    "corrupt",  # the records that the broker writes to a partition are unreadable
    "truncated",  # the log keeps only its last 20 s
    "tail_lost",  # that leader is down, and the log has lost its last seconds when it returns
    "store",  # S3 is unreachable
    "recorder",  # the recorder crashes at a random step and stays down
    "announcement_skipped",  # a bug: the recorder skips an announcement but treats it as sent
    "indexer",  # the indexer is down (target 0), or only reads the recorder's commits (target 1)
    "redis_restored",  # at its end Redis is restored to its state at the start
]
CAMERA_FAULTS: list[Kind] = ["silent", "unreachable", "lossy", "oversize", "disabled", "renamed", "changed"]
RECORD_FAULTS: list[Kind] = ["misdated", "disabled", "renamed", "changed"]
INGEST_FAULTS: list[Kind] = ["killed", "moved", "skewed", "stepped", "restarted_ahead", "shedding"]
ZOMBIE_FAULTS: list[Kind] = ["stalled", "suspended", "cut_off", "leader_cut_off"]
"""After these, footage may arrive long after its camera was considered lost."""
STORAGE_FAULTS: list[Kind] = ["broker", "broker_clock_wrong", "leader", "store", "recorder", "indexer"]
INDEX_FAULTS: list[Kind] = ["redis_restored"]
"""After these, final states may be pending for a while: the index has to read the watermarks again."""
LOSS_BUGS: list[Kind] = ["corrupted_in_transit", "announcement_skipped"]
"""Bugs: after these, footage that had reached the log is missing."""
LEADER_FAULTS: list[Kind] = ["leader", "tail_lost", "broker", "recorder"]
FAULTS_WITHOUT_LOSS: list[Kind] = [*CAMERA_FAULTS, *INGEST_FAULTS, *ZOMBIE_FAULTS, *STORAGE_FAULTS]


@dataclass(frozen=True)
class Fault:
    """`target`: number of the affected camera, host or partition."""

    kind: Kind
    at_s: int
    for_s: int
    target: int = 0

    def is_active(self, tick: int) -> bool:
        return self.at_s * TICKS_A_SECOND <= tick < (self.at_s + self.for_s) * TICKS_A_SECOND

    def starts_at(self, tick: int) -> bool:
        return tick == self.at_s * TICKS_A_SECOND

    def ends_at(self, tick: int) -> bool:
        return tick == (self.at_s + self.for_s) * TICKS_A_SECOND


@dataclass(frozen=True)
class FaultPlan:
    """All inputs of a world."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0
    single_client: tuple[bool, bool] = (False, False)

    def has(self, *kinds: Kind) -> bool:
        return any(fault.kind in kinds for fault in self.faults)


MAX_DURATION_S = {"broker": 100, "leader": 100, "tail_lost": 20, "corrupted_in_transit": 2, "lossy": 30, "corrupt": 12}
MAX_TRUNCATED_S = 12


def truncated_tail_s(fault: Fault) -> int:
    """How many seconds of the log are lost."""
    return 1 + fault.for_s % MAX_TRUNCATED_S


def _bounded(fault: Fault) -> Fault:
    return replace(fault, for_s=min(fault.for_s, MAX_DURATION_S.get(fault.kind, 90)))


def fault_plans(kinds: Sequence[Kind], *, min_faults: int = 0, max_faults: int = 3) -> st.SearchStrategy[FaultPlan]:
    """Fault plans with faults of these kinds, overlapping or not."""
    fault = st.builds(Fault, st.sampled_from(kinds), st.integers(10, 60), st.integers(1, 90), st.integers(0, 1)).map(
        _bounded
    )
    return st.builds(
        FaultPlan,
        st.lists(fault, min_size=min_faults, max_size=max_faults).map(tuple),
        st.integers(0, 15),
        st.tuples(st.booleans(), st.booleans()),
    )
