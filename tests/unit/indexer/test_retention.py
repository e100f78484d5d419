"""What retention may expire and delete, in any order of events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from districam_common.contract.events import Connected, FootageExpired, Lost, Profile
from districam_common.contract.names import DAY_US, HOUR_US
from districam_common.contract.segment_array import array_from_entries
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.intervals import Interval, intersects, merge
from districam_common.ledger.ledger import LedgerInputs, ledger
from districam_indexer.core.plan import is_covered
from districam_indexer.core.retention import (
    MAX_APPEND_DELAY_US,
    MIN_AGE_US,
    BudgetPlan,
    CameraAge,
    StoredHours,
    age_limit_us,
    has_unexpired,
    is_deletable,
    is_due,
    may_be_locked,
    obsolete_events,
    plan_budget,
    ranges_to_expire,
    redundant_ranges,
    trusted_now_us,
)
from support.announcements import EPOCHS, S, lost

NOW_US = 100 * DAY_US + 40 * 60 * S


LOCK_US = 72 * HOUR_US


# ---- age


def test_the_edge_is_a_whole_hour_and_older_than_retention_days() -> None:
    edge_us = age_limit_us(30, NOW_US)
    assert edge_us % HOUR_US == 0
    assert NOW_US - 30 * DAY_US - HOUR_US < edge_us <= NOW_US - 30 * DAY_US


@pytest.mark.hostile
def test_locked_footage_does_not_expire_however_small_retention_days_is() -> None:
    assert age_limit_us(1, NOW_US, LOCK_US) == (NOW_US - LOCK_US - MAX_APPEND_DELAY_US) // HOUR_US * HOUR_US
    assert age_limit_us(30, NOW_US, LOCK_US) == age_limit_us(30, NOW_US)
    assert age_limit_us(None, NOW_US, LOCK_US) == 0


@pytest.mark.hostile
def test_hours_older_than_the_longest_lock_are_not_locked() -> None:
    assert may_be_locked(NOW_US - 720 * HOUR_US, NOW_US)
    assert not may_be_locked(NOW_US - 722 * HOUR_US, NOW_US)


def test_a_camera_without_a_record_expires_nothing_by_age() -> None:
    assert age_limit_us(None, NOW_US) == 0


def test_a_clock_ahead_of_the_watermarks_deletes_nothing() -> None:
    assert trusted_now_us(NOW_US + 365 * DAY_US, [NOW_US, NOW_US - S]) == NOW_US
    assert trusted_now_us(NOW_US, [NOW_US + 365 * DAY_US]) == NOW_US
    assert trusted_now_us(NOW_US, []) == 0


def test_expired_ranges_go_from_the_beginning_to_the_edge_without_held_ones() -> None:
    assert ranges_to_expire(5, 100, [(0, 10), (40, 50), (90, 120)]) == [(10, 40), (50, 90)]
    assert ranges_to_expire(100, 100, []) == []


def test_a_segment_across_an_edge_or_a_hold_is_not_deleted() -> None:
    expired = [(0, 40), (50, 90)]
    assert is_deletable((30, 40), expired, [])
    assert not is_deletable((35, 45), expired, [])
    assert not is_deletable((85, 95), expired, [])
    assert not is_deletable((10, 20), expired, [(19, 25)])


def test_an_hour_that_one_hold_covers_is_not_due() -> None:
    assert is_due(0, HOUR_US, [(0, HOUR_US - 1)])
    assert not is_due(0, HOUR_US, [(0, HOUR_US)])
    assert not is_due(HOUR_US, HOUR_US, [])


def test_only_unexpired_ranges_are_published() -> None:
    assert has_unexpired([(0, 10)], [(0, 9)])
    assert not has_unexpired([(0, 10), (20, 30)], [(0, 30)])


# ---- any order of events: a small model with the same decisions


@dataclass
class Site:
    """A model of objects, index, announcements and holds. `now` is in hours; cameras keep two days."""

    now: int = 60
    objects: set[Interval] = field(default_factory=set[Interval])
    indexed: set[Interval] = field(default_factory=set[Interval])
    announced: list[Interval] = field(default_factory=list[Interval])
    expired: list[Interval] = field(default_factory=list[Interval])
    holds: dict[int, Interval] = field(default_factory=dict[int, Interval])
    accepted: set[int] = field(default_factory=set[int])
    wanted: list[Interval] = field(default_factory=list[Interval])
    deleted: set[Interval] = field(default_factory=set[Interval])
    seen: list[Interval] = field(default_factory=list[Interval])
    planned: list[Interval] = field(default_factory=list[Interval])

    def held(self) -> list[Interval]:
        return merge(self.holds.values())

    def edge(self) -> int:
        return age_limit_us(2, self.now * HOUR_US)

    def store(self, start_us: int, length_us: int) -> None:
        span = (start_us, start_us + length_us)
        self.objects.add(span)
        self.announced.append(span)
        self.index(span)

    def index(self, span: Interval) -> None:
        if not is_covered(span, self.expired):
            self.indexed.add(span)

    def replay(self) -> None:
        for span in self.announced:
            self.index(span)

    def hold(self, number: int, window: Interval) -> None:
        """The first of two steps: the hold's object is written."""
        if number not in self.holds:
            self.holds[number] = window

    def accept(self, number: int) -> None:
        """The second: refused if the window intersects an expired interval."""
        window = self.holds.get(number)
        if window is None or number in self.accepted:
            return
        if intersects(self.expired, *window):
            del self.holds[number]
        else:
            self.accepted.add(number)

    def release(self, number: int) -> None:
        self.holds.pop(number, None)
        self.accepted.discard(number)

    def plan(self) -> None:
        """Retention reads the holds."""
        self.planned = ranges_to_expire(0, self.edge(), self.held())

    def publish(self) -> None:
        """It publishes the expired intervals, by the holds that it has read."""
        self.expired = merge([*self.expired, *self.planned])

    def list_versions(self) -> None:
        """It reads the holds again, and lists the versions."""
        self.seen = self.held()
        self.wanted = sorted(span for span in self.objects if is_deletable(span, self.expired, self.seen))

    def delete(self, count: int) -> None:
        for span in self.wanted[:count]:
            accepted = merge(self.holds[n] for n in self.accepted)
            assert not intersects(accepted, *span), "held footage was deleted"
            assert span[1] <= self.edge(), "footage was deleted before its time"
            self.objects.discard(span)
            self.deleted.add(span)
        self.wanted = self.wanted[count:]

    def evict(self) -> None:
        over = {s for s in self.indexed if is_deletable(s, self.expired, self.seen) and s not in self.objects}
        self.indexed -= over


windows = st.tuples(st.integers(0, 30), st.integers(1, 6)).map(
    lambda w: (w[0] * HOUR_US // 2, (w[0] + w[1]) * HOUR_US // 2)
)
steps = st.one_of(
    st.tuples(
        st.just("store"),
        st.integers(0, 60).map(lambda n: n * HOUR_US // 4),
        st.integers(1, 40).map(lambda n: n * 60 * S),
    ),
    st.tuples(st.just("hold"), st.integers(0, 2), windows),
    st.tuples(st.just("accept"), st.integers(0, 2)),
    st.tuples(st.just("release"), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.integers(1, 5)),
    st.sampled_from([("replay",), ("plan",), ("publish",), ("list_versions",), ("evict",)]),
)


@given(st.lists(steps, max_size=60), st.integers(49, 70))
@example(
    [
        ("store", 0, 60 * S),
        ("plan",),
        ("hold", 0, (0, HOUR_US)),
        ("accept", 0),
        ("publish",),
        ("list_versions",),
        ("delete", 1),
    ],
    60,
)
@settings(max_examples=300)
def test_held_and_younger_footage_is_never_deleted_and_expired_never_comes_back(
    ordered: Sequence[tuple[object, ...]], now: int
) -> None:
    site = Site(now)
    for name, *arguments in ordered:
        getattr(site, str(name))(*arguments)
        assert not site.indexed & site.deleted - site.objects - _unevicted(site)
    for number in list(site.holds):
        site.accept(number)
    site.plan()
    site.publish()
    site.list_versions()
    site.delete(len(site.wanted))
    site.evict()
    site.replay()
    assert site.indexed <= site.objects, "expired footage was indexed again"
    assert all(is_covered(span, site.expired) for span in site.objects - site.indexed)
    for start_us, end_us in site.objects:
        assert end_us > site.edge() or not is_deletable(
            (start_us, end_us), ranges_to_expire(0, site.edge(), site.held()), site.held()
        )
    assert not site.deleted & site.indexed


def _unevicted(site: Site) -> set[Interval]:
    """Deleted and still indexed until the next eviction, as after a kill in between."""
    return {span for span in site.indexed if span not in site.objects and is_covered(span, site.expired)}


# ---- the budget


@dataclass(frozen=True)
class StoredCamera:
    """A camera's stored hours, holds and `retention_days`."""

    days: int | None
    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()

    @property
    def stock(self) -> StoredHours:
        return StoredHours(self.bytes_by_hour, self.held)


def run_plan(
    budget: int, some: dict[str, StoredCamera], now_us: int, known: dict[str, int] | None = None, lock_us: int = 0
) -> tuple[BudgetPlan, list[str]]:
    """The plan, and the cameras whose hours were read for it, in order."""
    excess = sum(sum(stock.bytes_by_hour.values()) for stock in some.values()) - budget
    oldest = {one: CameraAge(stock.days, (known or {}).get(one, 0)) for one, stock in some.items()}
    planner = plan_budget(excess, oldest, now_us, lock_us)
    cameras_read: list[str] = []
    try:
        wanted = next(planner)
        while True:
            cameras_read += [wanted] if wanted else []
            wanted = planner.send(some[wanted].stock if wanted else None)
    except StopIteration as end:
        return end.value, cameras_read


stocks = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(
        StoredCamera,
        st.one_of(st.none(), st.integers(1, 60)),
        st.dictionaries(st.integers(0, 99 * 24).map(lambda n: n * HOUR_US), st.integers(1, 1000), max_size=40),
        st.lists(st.tuples(st.integers(0, 2400), st.integers(1, 50)), max_size=3).map(
            lambda some: merge((a * HOUR_US, (a + b) * HOUR_US) for a, b in some)
        ),
    ),
)


def _left(stocks_: dict[str, StoredCamera], result: BudgetPlan) -> dict[str, dict[int, int]]:
    """Hours that the plan keeps, by camera."""
    return {
        camera_id: {
            hour_us: size
            for hour_us, size in stock.bytes_by_hour.items()
            if hour_us >= result.edges.get(camera_id, 0) or intersects(stock.held, hour_us, hour_us + HOUR_US)
        }
        for camera_id, stock in stocks_.items()
    }


@given(stocks, st.integers(0, 20_000))
def test_the_plan_reaches_the_budget_or_gives_the_bytes_over_it(some: dict[str, StoredCamera], budget: int) -> None:
    result, _ = run_plan(budget, some, NOW_US)
    left = _left(some, result)
    assert sum(sum(hours.values()) for hours in left.values()) <= budget + result.over_bytes
    if result.over_bytes:
        for camera_id, hours in left.items():
            for hour_us in hours:
                is_young = hour_us + HOUR_US > NOW_US - MIN_AGE_US
                assert is_young or intersects(some[camera_id].held, hour_us, hour_us + HOUR_US)


@pytest.mark.hostile
def test_the_plan_leaves_locked_hours_and_gives_the_bytes_over_the_budget() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 10 for n in range(100)}
    result, _ = run_plan(0, {"a": StoredCamera(30, hours, [])}, NOW_US, lock_us=LOCK_US)
    left = [hour_us for hour_us in hours if hour_us >= result.edges["a"]]
    assert min(left) == result.edges["a"] <= NOW_US - LOCK_US < result.edges["a"] + 2 * HOUR_US
    assert result.over_bytes == 10 * len(left)


@given(stocks, st.integers(0, 20_000))
def test_the_plan_is_fair_and_frees_no_more_than_needed(some: dict[str, StoredCamera], budget: int) -> None:
    result, _ = run_plan(budget, some, NOW_US)
    left = _left(some, result)
    taken = [
        ((NOW_US - hour_us) / (stock.days or 30), stock.bytes_by_hour[hour_us])
        for camera_id, stock in some.items()
        for hour_us in stock.bytes_by_hour
        if hour_us not in left[camera_id]
    ]
    kept = [
        (NOW_US - hour_us) / (some[camera_id].days or 30)
        for camera_id, hours in left.items()
        for hour_us in hours
        if not intersects(some[camera_id].held, hour_us, hour_us + HOUR_US) and hour_us + HOUR_US <= NOW_US - MIN_AGE_US
    ]
    if taken and kept:
        assert min(taken)[0] >= max(kept), "a camera keeps relatively older footage than another loses"
    if taken:
        total = sum(sum(hours.values()) for hours in left.values())
        assert total + min(taken)[1] > budget, "more was result than needed"


def test_the_last_day_never_expires() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 10 for n in range(30)}
    result, _ = run_plan(1, {"a": StoredCamera(30, hours)}, NOW_US)
    assert result.edges["a"] <= NOW_US - DAY_US
    assert result.over_bytes > 0


@given(stocks, st.integers(0, 20_000))
def test_known_oldest_hours_do_not_change_the_plan(some: dict[str, StoredCamera], budget: int) -> None:
    result, cameras_read = run_plan(budget, some, NOW_US)
    again, read_again = run_plan(budget, some, NOW_US, dict(result.oldest_hours))
    assert (again.edges, again.over_bytes) == (result.edges, result.over_bytes)
    assert len(read_again) <= len(cameras_read)


@pytest.mark.correctness
def test_a_camera_that_is_not_due_is_not_read() -> None:
    now_hour_us = NOW_US // HOUR_US * HOUR_US
    hours = {now_hour_us - n * HOUR_US: 10 for n in range(720)}
    some = {f"cam-{n:04}": StoredCamera(30, hours) for n in range(1000)}
    result, cameras_read = run_plan(720 * 1000 * 10, some, NOW_US)
    assert (result.edges, cameras_read) == ({}, [])
    known = dict.fromkeys(some, now_hour_us - 719 * HOUR_US)
    result, cameras_read = run_plan(720 * 1000 * 10 - 55, some, NOW_US, known)
    assert len(result.edges) == 6
    assert len(cameras_read) <= 12, "the plan reads all cameras"


def test_more_hours_of_a_camera_than_are_buffered_can_expire() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 1 for n in range(400)}
    result, cameras_read = run_plan(100, {"a": StoredCamera(30, hours)}, NOW_US)
    assert result.edges["a"] == NOW_US // HOUR_US * HOUR_US - 99 * HOUR_US
    assert len(cameras_read) < 10


# ---- eviction of events


def expired_event(from_us: int, to_us: int, at_us: int) -> FootageExpired:
    return FootageExpired(camera_id="cam-1", at_us=at_us, instance="i", from_us=from_us, to_us=to_us, reason="r")


def connected(at_us: int, epoch: int = 0) -> Connected:
    return Connected(
        camera_id="cam-1", at_us=at_us, instance="i", epoch=EPOCHS[epoch], reader="native", transport="tcp",
        codecs="avc1.640028", width=1, height=1,
    )  # fmt: skip


def test_the_last_effective_event_before_the_edge_is_kept_and_older_ones_are_evicted() -> None:
    edge_us = 10 * DAY_US
    events = [lost(edge_us - 5 * DAY_US), connected(edge_us - 4 * DAY_US, 1), lost(edge_us + S)]
    members = [(str(n).encode(), LoggedEvent(event)) for n, event in enumerate(events)]
    assert obsolete_events(members, edge_us) == [b"0"]


@pytest.mark.correctness
def test_the_event_kept_from_before_the_edge_is_an_effective_one() -> None:
    edge_us = 10 * DAY_US
    ours = connected(edge_us - HOUR_US, 1)
    events = [connected(edge_us - 2 * HOUR_US, 0), ours, lost(edge_us - HOUR_US + 20 * S)]
    members = [(str(n).encode(), LoggedEvent(event)) for n, event in enumerate(events)]
    assert obsolete_events(members, edge_us) == [b"0", b"2"]


def test_eviction_of_events_changes_no_state_from_the_edge_on() -> None:
    edge_us = 10 * DAY_US
    events: list[Connected | Lost | FootageExpired | Profile] = [
        connected(edge_us - 40 * 60 * S), lost(edge_us - 30 * 60 * S), connected(edge_us - 20 * 60 * S, 1),
        expired_event(0, edge_us - HOUR_US, edge_us + S), expired_event(0, edge_us, edge_us + 2 * S),
    ]  # fmt: skip
    members = [(repr(event).encode(), LoggedEvent(event)) for event in events]
    gone = set(obsolete_events(members, edge_us))
    assert len(gone) == 3
    kept = [logged for member, logged in members if member not in gone]

    def states(logged: Sequence[LoggedEvent]) -> object:
        now_us = edge_us + DAY_US
        known = LedgerInputs(revisions=[], segments=array_from_entries([]), events=logged, log_us=now_us)
        return ledger((edge_us, edge_us + HOUR_US), known, now_us=now_us)

    assert states(kept) == states([logged for _, logged in members])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=8))
def test_expired_intervals_survive_the_eviction_of_events(some: list[tuple[int, int]]) -> None:
    ranges = [(a, a + b) for a, b in some]
    redundant = redundant_ranges(ranges)
    assert merge(set(ranges) - set(redundant)) == merge(ranges)
    members = [(b"%d" % n, LoggedEvent(expired_event(*one, at_us=n))) for n, one in enumerate(ranges)]
    gone = set(obsolete_events(members, 1 << 50))
    left = [logged.event for member, logged in members if member not in gone]
    assert merge((e.from_us, e.to_us) for e in left if isinstance(e, FootageExpired)) == merge(ranges)


@pytest.mark.parametrize("rounds", [1, 5])
def test_each_rounds_expired_event_covers_the_earlier_ones_which_are_evicted(rounds: int) -> None:
    members = [
        (b"%d" % n, LoggedEvent(expired_event(*ranges_to_expire(0, (n + 1) * HOUR_US, [])[0], at_us=n * HOUR_US)))
        for n in range(rounds)
    ]
    assert len(obsolete_events(members, 0)) == rounds - 1
