import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.core.host_clock import RECENT, TOLERATED_US, HostClock

S = 1_000_000
BROKER_OFFSET_US = 1_790_000_000 * S  # the broker's wall clock minus our monotonic clock


class World:
    """A host whose wall clock is off by `skew_us`, and acks that take `there_us` and `back_us`."""

    def __init__(self) -> None:
        self.clock = HostClock()
        self.now_us = 5_000 * S

    def host(self, skew_us: int) -> None:
        self.clock.host(self.now_us + BROKER_OFFSET_US + skew_us, self.now_us)

    def ack(self, there_us: int, back_us: int) -> None:
        sent_us = self.now_us
        append_us = (sent_us + there_us + BROKER_OFFSET_US) // 1000 * 1000
        self.now_us += there_us + back_us
        self.clock.acked(append_us, sent_us, self.now_us)

    @property
    def error_us(self) -> int:
        """Our time minus the broker's."""
        return self.clock.offset_us - BROKER_OFFSET_US


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
def test_a_clock_that_is_off_is_seen_and_the_brokers_time_is_taken_until_it_is_right(skew_us: int):
    world = World()
    world.host(0)
    world.ack(3_000, 2_000)
    assert world.clock.skew_us == 0
    world.host(skew_us)
    world.ack(3_000, 2_000)
    assert abs(world.clock.skew_us - skew_us) <= 6_000
    assert abs(world.error_us) <= 6_000
    world.host(skew_us // abs(skew_us) * 500_000)  # half a second off is right enough
    assert world.error_us == skew_us // abs(skew_us) * 500_000
    world.host(0)
    world.ack(3_000, 2_000)
    assert (world.clock.skew_us, world.error_us) == (0, 0)


def test_a_second_is_tolerated():
    world = World()
    world.host(TOLERATED_US - 10_000)
    world.ack(1_000, 1_000)
    assert world.error_us == TOLERATED_US - 10_000


def test_without_an_ack_the_hosts_clock_stands():
    world = World()
    world.host(500 * S)
    assert (world.clock.skew_us, world.error_us) == (0, 500 * S)


def test_the_best_of_the_recent_acks_counts_and_old_ones_do_not():
    world = World()
    world.host(2 * S)
    world.ack(1_000, 1_000)
    assert world.clock.skew_us > TOLERATED_US
    for _ in range(RECENT):
        world.ack(5 * S, 5 * S)
    assert world.clock.skew_us == 0
