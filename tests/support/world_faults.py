"""What goes wrong in a simulated site, and when. Times are seconds since the world began."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

TICKS_A_SECOND = 2

Kind = Literal[
    "silent",  # the camera is connected and sends nothing
    "unreachable",  # its connections break, new ones are refused
    "lossy",  # half of its pictures are lost on the way
    "oversize",  # its keyframes are larger than a record may be
    "disabled",  # its record says so for a while
    "renamed",  # its record changes in what no stream depends on
    "changed",  # its record changes in what its stream depends on
    "misdated",  # the clock of the operator who changes its record is off by up to two and a half minutes
    "killed",  # an ingest dies with what it had queued
    "stalled",  # an ingest stands still
    "moved",  # the group gives a camera to the other ingest
    "skewed",  # a host's clock is off by less than a second
    "stepped",  # a host's clock jumps
    "suspended",  # a host's machine is paused: its monotonic clock stands still, its wall clock is right afterwards
    "ahead",  # a host starts anew, hours ahead until somebody sets its clock
    "stray",  # one of three brokers' clocks is off
    "cut",  # an ingest cannot reach the broker, the others can
    "narrowed",  # an ingest cannot reach the leader of `fragments`
    "shedding",  # an ingest has no room left
    "poisoned",  # a fragment is spoilt on its way into the log
    "broker",  # nobody reaches the broker
    "leader",  # nobody reaches the leader of a partition of `fragments`; the group's coordinator answers
    "rotten",  # what the broker writes of a partition cannot be read again
    "truncated",  # the log keeps only its last 20 s
    "torn",  # that leader is away, and the log has lost its last seconds when it is back
    "store",  # nobody reaches S3
    "recorder",  # the recorder crashes, at whatever it is about to do, and is away
    "forgetful",  # a bug: the recorder takes an announcement for sent that was not
    "indexer",  # the indexer is away (who 0), or only looks how far the recorder has got (who 1)
    "setback",  # when it ends, Redis is what it was when it began
]
CAMERA_FAULTS: list[Kind] = ["silent", "unreachable", "lossy", "oversize", "disabled", "renamed", "changed"]
RECORD_FAULTS: list[Kind] = ["misdated", "disabled", "renamed", "changed"]
INGEST_FAULTS: list[Kind] = ["killed", "moved", "skewed", "stepped", "ahead", "shedding"]
ZOMBIE_FAULTS: list[Kind] = ["stalled", "suspended", "cut", "narrowed"]
"""After these, footage may come long after its camera was taken for lost."""
STORAGE_FAULTS: list[Kind] = ["broker", "stray", "leader", "store", "recorder", "indexer"]
INDEX_FAULTS: list[Kind] = ["setback"]
"""After these, what was final may be pending for a while: the index has to read again how far the truth had got."""
LOSS_BUGS: list[Kind] = ["poisoned", "forgetful"]
"""Bugs: after these, footage is missing that had reached the log."""
LEADER_FAULTS: list[Kind] = ["leader", "torn", "broker", "recorder"]
FAULTS_WITHOUT_LOSS: list[Kind] = [*CAMERA_FAULTS, *INGEST_FAULTS, *ZOMBIE_FAULTS, *STORAGE_FAULTS]


@dataclass(frozen=True)
class Fault:
    """`target`: number of the camera, host or partition that it befalls."""

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
    """All that a world depends on."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0
    single_client: tuple[bool, bool] = (False, False)

    def has(self, *kinds: Kind) -> bool:
        return any(fault.kind in kinds for fault in self.faults)


MAX_DURATION_S = {"broker": 100, "leader": 100, "torn": 20, "poisoned": 2, "lossy": 30, "rotten": 12}
MAX_TRUNCATED_S = 12


def truncated_tail_s(fault: Fault) -> int:
    """How many seconds a log loses."""
    return 1 + fault.for_s % MAX_TRUNCATED_S


def _bounded(fault: Fault) -> Fault:
    return replace(fault, for_s=min(fault.for_s, MAX_DURATION_S.get(fault.kind, 90)))


def fault_plans(kinds: Sequence[Kind], *, min_faults: int = 0, max_faults: int = 3) -> st.SearchStrategy[FaultPlan]:
    """Worlds with some faults of these kinds, over each other or not."""
    fault = st.builds(Fault, st.sampled_from(kinds), st.integers(10, 60), st.integers(1, 90), st.integers(0, 1)).map(
        _bounded
    )
    return st.builds(
        FaultPlan,
        st.lists(fault, min_size=min_faults, max_size=max_faults).map(tuple),
        st.integers(0, 15),
        st.tuples(st.booleans(), st.booleans()),
    )
