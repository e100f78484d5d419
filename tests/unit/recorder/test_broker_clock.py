from districam_recorder.core.broker_clock import BrokerClock


def test_unknown_until_the_broker_has_said_a_time():
    assert BrokerClock().at(5) is None


def test_the_latest_append_time_goes_on_with_the_monotonic_clock():
    clock = BrokerClock()
    clock.seen(1_000, received_us=10)
    clock.seen(900, received_us=20)
    assert clock.at(30) == 1_020
    clock.seen(1_015, received_us=40)  # delivered late: the broker's time is at least this
    assert clock.at(40) == 1_015


def test_an_instant_before_the_receipt_is_not_carried_back():
    clock = BrokerClock()
    clock.seen(1_000, received_us=10)
    assert clock.at(5) == 1_000
