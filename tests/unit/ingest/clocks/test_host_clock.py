import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.clocks.host_clock import BROKER_EXPIRY_US, MAX_RECENT_ACKS, MAX_SKEW_US, HostClock

S = 1_000_000
MS = 1_000
BROKER_OFFSET_US = 1_790_000_000 * S  # the broker's wall clock minus our monotonic clock


class World:
    """A host whose wall clock is off by `skew_us`, and acks that take `there_us` and `back_us`."""

    def __init__(self) -> None:
        self.clock = HostClock()
        self.now_us = 5_000 * S
        self.offset_us = BROKER_OFFSET_US
        """True time minus our monotonic clock."""
        self.off_us = dict[int, int]()
        """Of brokers whose clocks are wrong."""

    def host(self, skew_us: int) -> None:
        self.clock.feed_host_time(self.now_us + self.offset_us + skew_us, self.now_us)

    def ack(self, there_us: int, back_us: int, broker: int = 1) -> None:
        sent_us = self.now_us
        appended_us = sent_us + there_us + self.offset_us + self.off_us.get(broker, 0)
        self.now_us += there_us + back_us
        self.clock.feed_ack(appended_us // 1000 * 1000, sent_us, self.now_us, broker)

    def pause(self, for_us: int) -> None:
        """Pauses the machine, which stops its monotonic clock."""
        self.offset_us += for_us

    @property
    def error_us(self) -> int:
        """Our time minus the broker's."""
        return self.clock.offset_us - self.offset_us


delays = st.integers(0, 30 * S)


@given(st.lists(st.tuples(delays, delays), max_size=150), st.integers(-900_000, 900_000))
def test_a_slow_broker_proves_nothing(acks: list[tuple[int, int]], skew_us: int):
    world = World()
    world.host(skew_us)
    for there_us, back_us in acks:
        world.ack(there_us, back_us)
        assert abs(world.clock.skew_us) <= abs(skew_us)
        assert world.error_us == skew_us


@pytest.mark.parametrize("skew_us", [-3600 * S, -2 * S, 2 * S, 86_400 * S])
def test_a_skewed_host_clock_is_corrected_by_the_broker_until_it_is_right(skew_us: int):
    world = World()
    world.host(0)
    world.ack(3_000, 2_000)
    assert world.clock.skew_us == 0
    world.host(skew_us)
    world.ack(3_000, 2_000)
    assert abs(world.clock.skew_us - skew_us) <= 6_000
    assert abs(world.error_us) <= 6_000
    world.host(skew_us // abs(skew_us) * 500_000)  # a skew of half a second is tolerated
    assert world.error_us == skew_us // abs(skew_us) * 500_000
    world.host(0)
    world.ack(3_000, 2_000)
    assert (world.clock.skew_us, world.error_us) == (0, 0)


def test_a_skew_below_one_second_is_not_corrected():
    world = World()
    world.host(MAX_SKEW_US - 10_000)
    world.ack(1_000, 1_000)
    assert world.error_us == MAX_SKEW_US - 10_000


def test_without_acks_the_hosts_clock_is_not_corrected():
    world = World()
    world.host(500 * S)
    assert (world.clock.skew_us, world.error_us) == (0, 500 * S)


def test_only_recent_acks_bound_the_skew():
    world = World()
    world.host(2 * S)
    world.ack(1_000, 1_000)
    assert world.clock.skew_us > MAX_SKEW_US
    for _ in range(MAX_RECENT_ACKS):
        world.ack(5 * S, 5 * S)
    assert world.clock.skew_us == 0


# ---- bounds that contradict one another


@pytest.mark.correctness
@pytest.mark.parametrize("slept_s", [2, 600, 86_400])
def test_after_a_pause_of_the_machine_time_is_never_in_the_past(slept_s: int):
    """Its monotonic clock stopped; its wall clock is right again, as in virtual machines."""
    world = World()
    world.host(0)
    for _ in range(MAX_RECENT_ACKS):
        world.now_us += S // 2
        world.ack(3 * MS, 2 * MS)
    world.pause(slept_s * S)
    for n in range(2 * MAX_RECENT_ACKS):
        world.now_us += S // 2
        world.host(0)
        assert abs(world.error_us) <= 6 * MS, f"{world.error_us / S} s off after {n} acks"
        world.ack(3 * MS, 2 * MS)


@pytest.mark.correctness
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ack"), st.integers(0, 200 * MS), st.integers(0, 200 * MS)),
            st.tuples(st.just("pause"), st.integers(0, 3_600 * S), st.just(0)),
        ),
        max_size=60,
    ),
    st.integers(-300 * MS, 300 * MS),
)
def test_a_correct_host_clock_is_never_corrected_after_pauses_of_the_machine(
    steps: list[tuple[str, int, int]], skew_us: int
):
    world = World()
    world.host(skew_us)
    for what, first_us, second_us in steps:
        if what == "pause":
            world.pause(first_us)
        else:
            world.ack(first_us, second_us)
        world.host(skew_us)
        assert world.error_us == skew_us


@pytest.mark.correctness
def test_the_ack_of_a_record_sent_before_a_pause_proves_nothing():
    world = World()
    world.host(0)
    world.ack(3 * MS, 2 * MS)
    sent_us, appended_us = world.now_us, world.now_us + world.offset_us
    world.pause(600 * S)
    world.now_us += MS
    world.host(0)
    world.now_us += MS
    world.clock.feed_ack(appended_us, sent_us, world.now_us, 1)
    assert world.clock.is_uncertain
    assert world.error_us == 0
    world.ack(3 * MS, 2 * MS)
    assert not world.clock.is_uncertain
    assert world.error_us == 0


@pytest.mark.correctness
@pytest.mark.parametrize("wakes_s", [-600, -2])
def test_a_wall_clock_that_stopped_during_a_pause_is_corrected_by_the_broker(wakes_s: int):
    world = World()
    world.host(0)
    world.ack(3 * MS, 2 * MS)
    world.pause(-wakes_s * S)
    world.host(wakes_s * S)
    for _ in range(2):  # a single one is not trusted
        world.ack(3 * MS, 2 * MS)
    assert abs(world.error_us) <= 6 * MS


@pytest.mark.correctness
def test_a_single_contradicting_ack_changes_nothing():
    """It may hold the previous leader's append time."""
    world = World()
    world.host(0)
    for n in range(3 * MAX_RECENT_ACKS):
        world.off_us[1] = -90 * S if n % 7 == 3 else 0
        world.ack(MS, MS)
        assert world.error_us == 0


def test_a_clock_that_steps_ahead_is_uncertain_until_a_later_record_is_acked():
    world = World()
    world.host(0)
    world.ack(MS, MS)
    world.host(3600 * S)
    assert world.clock.is_uncertain
    world.ack(MS, MS)
    assert not world.clock.is_uncertain
    assert abs(world.error_us) <= 3 * MS


def test_a_clock_that_is_corrected_is_not_uncertain():
    world = World()
    world.host(-3600 * S)
    world.ack(MS, MS)
    world.host(0)
    assert not world.clock.is_uncertain
    assert world.error_us == 0


# ---- several brokers

BROKERS = (1, 2, 3)


@pytest.mark.correctness
@given(
    st.lists(st.tuples(st.sampled_from(BROKERS), delays, delays), max_size=150),
    st.integers(-3600 * S, 3600 * S),
    st.integers(-900_000, 900_000),
)
def test_one_skewed_broker_of_three_never_changes_our_time(acks: list[tuple[int, int, int]], off_us: int, skew_us: int):
    world = World()
    world.off_us[3] = off_us
    world.host(skew_us)
    world.clock.expect_brokers(BROKERS, world.now_us)
    for broker, there_us, back_us in acks:
        world.ack(there_us, back_us, broker)
        world.host(skew_us)
        assert world.error_us == skew_us


@pytest.mark.correctness
def test_a_skewed_broker_that_seldom_acks_never_changes_our_time():
    world = World()
    world.off_us[3] = -3 * S // 2
    world.host(0)
    for n in range(3000):
        world.now_us += S // 50
        world.host(0)
        world.ack(2 * MS, 3 * MS, 3 if n % 500 == 499 else 1 + n % 2)
        assert world.error_us == 0
    assert world.clock.broker_skews_us()[3] == pytest.approx(-1.5 * S, abs=6 * MS)


@pytest.mark.correctness
@pytest.mark.parametrize("skew_us", [-3600 * S, 7 * 3600 * S])
def test_a_skewed_host_clock_follows_the_majority_of_brokers(skew_us: int):
    world = World()
    world.off_us[3] = 3 * S // 2
    world.host(skew_us)
    world.clock.expect_brokers(BROKERS, world.now_us)
    for broker in BROKERS:
        world.ack(MS, MS, broker)
    assert abs(world.error_us) <= 3 * MS


@pytest.mark.correctness
@pytest.mark.parametrize("skew_us", [0, 2 * S])
def test_two_brokers_that_disagree_correct_nothing(skew_us: int):
    """One of them confirms the host's clock."""
    world = World()
    world.off_us[2] = 2 * S
    world.host(skew_us)
    world.ack(MS, MS, 1)
    world.ack(MS, MS, 2)
    assert world.clock.offset_us - world.offset_us == skew_us
    assert max(map(abs, world.clock.broker_skews_us().values())) == pytest.approx(2 * S, abs=6 * MS)


def test_of_two_brokers_the_smaller_proven_skew_counts():
    world = World()
    world.off_us[2] = 2 * S
    world.host(3600 * S)
    world.ack(MS, MS, 1)
    world.ack(MS, MS, 2)
    assert abs(world.error_us - 2 * S) <= 3 * MS


def test_a_broker_without_recent_acks_is_forgotten():
    world = World()
    world.host(5 * S)
    world.clock.expect_brokers((1, 2, 3), world.now_us)
    world.ack(MS, MS, 1)
    assert world.clock.skew_us == 0  # one of three
    world.now_us += BROKER_EXPIRY_US + S
    world.ack(MS, MS, 1)
    assert world.clock.skew_us == pytest.approx(5 * S, abs=6 * MS)


@given(st.lists(st.tuples(st.sampled_from(BROKERS), st.integers(-9 * S, 9 * S), delays), max_size=80))
def test_bounds_are_consistent_for_any_acks(acks: list[tuple[int, int, int]]):
    """The correction is what more than half of the brokers prove, or 0."""
    clock = HostClock()
    clock.feed_host_time(0, 0)
    for n, (broker, append_us, took_us) in enumerate(acks):
        clock.feed_ack(append_us + n * S, n * S, n * S + took_us, broker)
        windows = list(clock._windows.values())  # pyright: ignore[reportPrivateUsage]
        bounds = [window.bounds for window in windows if window.bounds]
        assert all(low <= high for low, high in bounds)
        corrected_us = clock.offset_us
        proving = [b for b in bounds if (b[0] >= corrected_us if corrected_us > 0 else b[1] <= corrected_us)]
        assert not corrected_us or 2 * len(proving) > len(windows)
