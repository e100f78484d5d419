"""What retention may let go of, whatever happens in whatever order."""

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


def test_the_edge_is_a_whole_hour_and_older_than_the_days() -> None:
    edge_us = age_limit_us(30, NOW_US)
    assert edge_us % HOUR_US == 0
    assert NOW_US - 30 * DAY_US - HOUR_US < edge_us <= NOW_US - 30 * DAY_US


@pytest.mark.hostile
def test_what_the_recorder_locks_is_not_let_go_however_few_days_are_asked_for() -> None:
    assert age_limit_us(1, NOW_US, LOCK_US) == (NOW_US - LOCK_US - MAX_APPEND_DELAY_US) // HOUR_US * HOUR_US
    assert age_limit_us(30, NOW_US, LOCK_US) == age_limit_us(30, NOW_US)
    assert age_limit_us(None, NOW_US, LOCK_US) == 0


@pytest.mark.hostile
def test_no_lock_can_keep_what_is_older_than_the_longest_one() -> None:
    assert may_be_locked(NOW_US - 720 * HOUR_US, NOW_US)
    assert not may_be_locked(NOW_US - 722 * HOUR_US, NOW_US)


def test_a_camera_without_a_record_loses_nothing_by_age() -> None:
    assert age_limit_us(None, NOW_US) == 0


def test_a_clock_that_runs_ahead_of_the_recorders_deletes_nothing() -> None:
    assert trusted_now_us(NOW_US + 365 * DAY_US, [NOW_US, NOW_US - S]) == NOW_US
    assert trusted_now_us(NOW_US, [NOW_US + 365 * DAY_US]) == NOW_US
    assert trusted_now_us(NOW_US, []) == 0


def test_what_is_let_go_reaches_from_the_beginning_to_the_edge_around_holds() -> None:
    assert ranges_to_expire(5, 100, [(0, 10), (40, 50), (90, 120)]) == [(10, 40), (50, 90)]
    assert ranges_to_expire(100, 100, []) == []


def test_a_segment_that_reaches_over_an_edge_or_into_a_hold_stays() -> None:
    expired = [(0, 40), (50, 90)]
    assert is_deletable((30, 40), expired, [])
    assert not is_deletable((35, 45), expired, [])
    assert not is_deletable((85, 95), expired, [])
    assert not is_deletable((10, 20), expired, [(19, 25)])


def test_an_hour_that_one_hold_keeps_whole_is_not_listed() -> None:
    assert is_due(0, HOUR_US, [(0, HOUR_US - 1)])
    assert not is_due(0, HOUR_US, [(0, HOUR_US)])
    assert not is_due(HOUR_US, HOUR_US, [])


def test_only_what_nobody_has_said_yet_is_said() -> None:
    assert has_unexpired([(0, 10)], [(0, 9)])
    assert not has_unexpired([(0, 10), (20, 30)], [(0, 30)])


# ---- any order of events: a small world around the same decisions


@dataclass
class Site:
    """Objects, index, what is told, holds in force. `now` is in hours; a camera keeps two days."""

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
        """The first of two steps: the object is written."""
        if number not in self.holds:
            self.holds[number] = window

    def accept(self, number: int) -> None:
        """The second: what has expired is read."""
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

    def tell(self) -> None:
        """It says what expires, by the holds that it has read."""
        self.expired = merge([*self.expired, *self.planned])

    def look(self) -> None:
        """It reads the holds again, and lists."""
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

    def drop(self) -> None:
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
    st.sampled_from([("replay",), ("plan",), ("tell",), ("look",), ("drop",)]),
)


@given(st.lists(steps, max_size=60), st.integers(49, 70))
@example(
    [
        ("store", 0, 60 * S),
        ("plan",),
        ("hold", 0, (0, HOUR_US)),
        ("accept", 0),
        ("tell",),
        ("look",),
        ("delete", 1),
    ],
    60,
)
@settings(max_examples=300)
def test_held_and_younger_footage_is_never_taken_and_expired_never_comes_back(
    ordered: Sequence[tuple[object, ...]], now: int
) -> None:
    site = Site(now)
    for name, *arguments in ordered:
        getattr(site, str(name))(*arguments)
        assert not site.indexed & site.deleted - site.objects - _undropped(site)
    for number in list(site.holds):
        site.accept(number)
    site.plan()
    site.tell()
    site.look()
    site.delete(len(site.wanted))
    site.drop()
    site.replay()
    assert site.indexed <= site.objects, "what has expired came back"
    assert all(is_covered(span, site.expired) for span in site.objects - site.indexed)
    for start_us, end_us in site.objects:
        assert end_us > site.edge() or not is_deletable(
            (start_us, end_us), ranges_to_expire(0, site.edge(), site.held()), site.held()
        )
    assert not site.deleted & site.indexed


def _undropped(site: Site) -> set[Interval]:
    """Deleted and still indexed, until the next drop: what a kill in between leaves."""
    return {span for span in site.indexed if span not in site.objects and is_covered(span, site.expired)}


# ---- the budget


@dataclass(frozen=True)
class Shelf:
    """What a camera has, and for how long it wants it."""

    days: int | None
    bytes_by_hour: Mapping[int, int]
    held: Sequence[Interval] = ()

    @property
    def stock(self) -> StoredHours:
        return StoredHours(self.bytes_by_hour, self.held)


def free_for(
    budget: int, some: dict[str, Shelf], now_us: int, known: dict[str, int] | None = None, lock_us: int = 0
) -> tuple[BudgetPlan, list[str]]:
    """What is let go of, and whose hours were read for it, in order."""
    excess = sum(sum(stock.bytes_by_hour.values()) for stock in some.values()) - budget
    oldest = {one: CameraAge(stock.days, (known or {}).get(one, 0)) for one, stock in some.items()}
    asking = plan_budget(excess, oldest, now_us, lock_us)
    asked: list[str] = []
    try:
        wanted = next(asking)
        while True:
            asked += [wanted] if wanted else []
            wanted = asking.send(some[wanted].stock if wanted else None)
    except StopIteration as end:
        return end.value, asked


stocks = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(
        Shelf,
        st.one_of(st.none(), st.integers(1, 60)),
        st.dictionaries(st.integers(0, 99 * 24).map(lambda n: n * HOUR_US), st.integers(1, 1000), max_size=40),
        st.lists(st.tuples(st.integers(0, 2400), st.integers(1, 50)), max_size=3).map(
            lambda some: merge((a * HOUR_US, (a + b) * HOUR_US) for a, b in some)
        ),
    ),
)


def _left(stocks_: dict[str, Shelf], freed: BudgetPlan) -> dict[str, dict[int, int]]:
    """Hours that stay, by camera."""
    return {
        camera_id: {
            hour_us: size
            for hour_us, size in stock.bytes_by_hour.items()
            if hour_us >= freed.edges.get(camera_id, 0) or intersects(stock.held, hour_us, hour_us + HOUR_US)
        }
        for camera_id, stock in stocks_.items()
    }


@given(stocks, st.integers(0, 20_000))
def test_freeing_reaches_the_budget_or_says_by_how_much_it_does_not(some: dict[str, Shelf], budget: int) -> None:
    freed, _ = free_for(budget, some, NOW_US)
    left = _left(some, freed)
    assert sum(sum(hours.values()) for hours in left.values()) <= budget + freed.over_bytes
    if freed.over_bytes:
        for camera_id, hours in left.items():
            for hour_us in hours:
                is_young = hour_us + HOUR_US > NOW_US - MIN_AGE_US
                assert is_young or intersects(some[camera_id].held, hour_us, hour_us + HOUR_US)


@pytest.mark.hostile
def test_a_budget_leaves_what_is_locked_and_says_by_how_much_it_is_over() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 10 for n in range(100)}
    freed, _ = free_for(0, {"a": Shelf(30, hours, [])}, NOW_US, lock_us=LOCK_US)
    left = [hour_us for hour_us in hours if hour_us >= freed.edges["a"]]
    assert min(left) == freed.edges["a"] <= NOW_US - LOCK_US < freed.edges["a"] + 2 * HOUR_US
    assert freed.over_bytes == 10 * len(left)


@given(stocks, st.integers(0, 20_000))
def test_freeing_is_fair_and_takes_no_more_than_it_needs(some: dict[str, Shelf], budget: int) -> None:
    freed, _ = free_for(budget, some, NOW_US)
    left = _left(some, freed)
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
        assert min(taken)[0] >= max(kept), "somebody kept older footage, for its days, than another lost"
    if taken:
        total = sum(sum(hours.values()) for hours in left.values())
        assert total + min(taken)[1] > budget, "more was taken than was needed"


def test_the_last_day_is_never_let_go() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 10 for n in range(30)}
    freed, _ = free_for(1, {"a": Shelf(30, hours)}, NOW_US)
    assert freed.edges["a"] <= NOW_US - DAY_US
    assert freed.over_bytes > 0


@given(stocks, st.integers(0, 20_000))
def test_what_is_known_from_the_last_time_changes_nothing(some: dict[str, Shelf], budget: int) -> None:
    freed, asked = free_for(budget, some, NOW_US)
    again, asked_again = free_for(budget, some, NOW_US, dict(freed.oldest_hours))
    assert (again.edges, again.over_bytes) == (freed.edges, freed.over_bytes)
    assert len(asked_again) <= len(asked)


@pytest.mark.correctness
def test_a_camera_whose_turn_does_not_come_is_not_read() -> None:
    now_hour_us = NOW_US // HOUR_US * HOUR_US
    hours = {now_hour_us - n * HOUR_US: 10 for n in range(720)}
    some = {f"cam-{n:04}": Shelf(30, hours) for n in range(1000)}
    freed, asked = free_for(720 * 1000 * 10, some, NOW_US)
    assert (freed.edges, asked) == ({}, [])
    known = dict.fromkeys(some, now_hour_us - 719 * HOUR_US)
    freed, asked = free_for(720 * 1000 * 10 - 55, some, NOW_US, known)
    assert len(freed.edges) == 6
    assert len(asked) <= 12, "a round of the budget reads the whole district"


def test_more_hours_of_a_camera_than_are_kept_in_memory_go_too() -> None:
    hours = {NOW_US // HOUR_US * HOUR_US - n * HOUR_US: 1 for n in range(400)}
    freed, asked = free_for(100, {"a": Shelf(30, hours)}, NOW_US)
    assert freed.edges["a"] == NOW_US // HOUR_US * HOUR_US - 99 * HOUR_US
    assert len(asked) < 10


# ---- what the index forgets


def expired_event(from_us: int, to_us: int, at_us: int) -> FootageExpired:
    return FootageExpired(camera_id="cam-1", at_us=at_us, instance="i", from_us=from_us, to_us=to_us, reason="r")


def connected(at_us: int, epoch: int = 0) -> Connected:
    return Connected(
        camera_id="cam-1", at_us=at_us, instance="i", epoch=EPOCHS[epoch], reader="native", transport="tcp",
        codecs="avc1.640028", width=1, height=1,
    )  # fmt: skip


def test_the_last_event_in_force_before_the_edge_is_kept_and_what_is_older_goes() -> None:
    edge_us = 10 * DAY_US
    events = [lost(edge_us - 5 * DAY_US), connected(edge_us - 4 * DAY_US, 1), lost(edge_us + S)]
    members = [(str(n).encode(), LoggedEvent(event)) for n, event in enumerate(events)]
    assert obsolete_events(members, edge_us) == [b"0"]


@pytest.mark.correctness
def test_what_is_kept_of_before_the_edge_is_what_is_in_force_and_not_a_word_that_counts_for_nothing() -> None:
    edge_us = 10 * DAY_US
    ours = connected(edge_us - HOUR_US, 1)
    events = [connected(edge_us - 2 * HOUR_US, 0), ours, lost(edge_us - HOUR_US + 20 * S)]
    members = [(str(n).encode(), LoggedEvent(event)) for n, event in enumerate(events)]
    assert obsolete_events(members, edge_us) == [b"0", b"2"]


def test_trimming_changes_no_state_from_the_edge_on() -> None:
    edge_us = 10 * DAY_US
    events: list[Connected | Lost | FootageExpired | Profile] = [
        connected(edge_us - 40 * 60 * S), lost(edge_us - 30 * 60 * S), connected(edge_us - 20 * 60 * S, 1),
        expired_event(0, edge_us - HOUR_US, edge_us + S), expired_event(0, edge_us, edge_us + 2 * S),
    ]  # fmt: skip
    members = [(repr(event).encode(), LoggedEvent(event)) for event in events]
    gone = set(obsolete_events(members, edge_us))
    assert len(gone) == 3
    kept = [told for member, told in members if member not in gone]

    def states(told: Sequence[LoggedEvent]) -> object:
        now_us = edge_us + DAY_US
        known = LedgerInputs(revisions=[], segments=array_from_entries([]), events=told, log_us=now_us)
        return ledger((edge_us, edge_us + HOUR_US), known, now_us=now_us)

    assert states(kept) == states([told for _, told in members])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=8))
def test_what_has_expired_stays_expired_through_trimming(some: list[tuple[int, int]]) -> None:
    ranges = [(a, a + b) for a, b in some]
    needless = redundant_ranges(ranges)
    assert merge(set(ranges) - set(needless)) == merge(ranges)
    members = [(b"%d" % n, LoggedEvent(expired_event(*one, at_us=n))) for n, one in enumerate(ranges)]
    gone = set(obsolete_events(members, 1 << 50))
    left = [told.event for member, told in members if member not in gone]
    assert merge((e.from_us, e.to_us) for e in left if isinstance(e, FootageExpired)) == merge(ranges)


@pytest.mark.parametrize("rounds", [1, 5])
def test_each_round_speaks_for_everything_so_that_trimming_can_forget_the_older_ones(rounds: int) -> None:
    members = [
        (
            b"%d" % n,
            LoggedEvent(expired_event(*ranges_to_expire(0, (n + 1) * HOUR_US, [])[0], at_us=n * HOUR_US)),
        )
        for n in range(rounds)
    ]
    assert len(obsolete_events(members, 0)) == rounds - 1
