import pytest

from districam_recorder.core.broker_clock import BrokerClock

S = 1_000_000


def test_the_brokers_time_is_unknown_before_the_first_append_time():
    assert BrokerClock().broker_time_us(5) is None


def test_the_latest_append_time_advances_with_the_monotonic_clock():
    clock = BrokerClock()
    clock.feed(1_000, received_us=10, broker_id=1)
    clock.feed(900, received_us=20, broker_id=1)
    assert clock.broker_time_us(30) == 1_020
    clock.feed(1_015, received_us=40, broker_id=1)  # delivered late: the broker's time is at least this
    assert clock.broker_time_us(40) == 1_015


def test_an_instant_before_the_receipt_does_not_go_back():
    clock = BrokerClock()
    clock.feed(1_000, received_us=10, broker_id=1)
    assert clock.broker_time_us(5) == 1_000


@pytest.mark.correctness
@pytest.mark.parametrize("off_s", [-3600, -1.5, 1.5, 3600])
def test_one_broker_of_three_with_a_wrong_clock_has_no_effect(off_s: float):
    """Ahead, it would declare final what is in flight to the others; behind, it would keep everything pending."""
    clock = BrokerClock()
    for broker, its_off_s in ((1, 0), (2, 0), (3, off_s)):
        clock.feed(10_000 * S + round(its_off_s * S), 0, broker)
    assert clock.broker_time_us(9 * S) == 10_009 * S


@pytest.mark.correctness
def test_of_two_brokers_the_earlier_clock_counts():
    clock = BrokerClock()
    clock.feed(10_000 * S, 0, 1)
    clock.feed(13_600 * S, 0, 2)
    assert clock.broker_time_us(9 * S) == 10_009 * S
