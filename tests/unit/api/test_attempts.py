from districam_api.core.attempts import ADDRESSES_MOST, ALL, EACH, Attempts, Logins, Pace

S = 1_000_000
NOW_US = 1_000 * S


def failures_until_told_to_wait(attempts: Attempts, address: str, now_us: int) -> int:
    for n in range(1000):
        if attempts.failed(address, now_us):
            return n
    raise AssertionError("never")


def test_so_many_at_a_run_then_one_an_interval():
    attempts = Attempts()
    assert failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US) == EACH.run
    wait_us = attempts.failed("10.0.0.1", NOW_US)
    assert wait_us == EACH.interval_us
    assert attempts.failed("10.0.0.1", NOW_US + wait_us - 1) == 1
    assert attempts.failed("10.0.0.1", NOW_US + wait_us) == 0
    assert attempts.failed("10.0.0.1", NOW_US + wait_us) == EACH.interval_us


def test_a_pause_forgives_everything_and_no_more_than_that():
    attempts = Attempts()
    failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US)
    later_us = NOW_US + 100 * EACH.run * EACH.interval_us
    assert failures_until_told_to_wait(attempts, "10.0.0.1", later_us) == EACH.run


def test_addresses_are_counted_apart_and_together():
    attempts = Attempts()
    failed = sum(
        failures_until_told_to_wait(attempts, f"10.0.{n}.1", NOW_US) for n in range(2 * ALL.run // EACH.run)
    )
    assert failed == ALL.run
    assert attempts.failed("10.1.0.1", NOW_US) == ALL.interval_us
    assert attempts.failed("10.1.0.1", NOW_US + ALL.interval_us) == 0


def test_who_has_one_ipv6_address_has_its_neighbours():
    attempts = Attempts()
    addresses = [f"2001:db8::{n:x}" for n in range(EACH.run + 1)]
    assert [bool(attempts.failed(one, NOW_US)) for one in addresses] == [False] * EACH.run + [True]
    assert attempts.failed("2001:db8:0:1::1", NOW_US) == 0
    assert attempts.failed("::ffff:10.0.0.1", NOW_US) == attempts.failed("::ffff:10.0.0.2", NOW_US) == 0


def test_one_address_is_one_however_it_is_written():
    attempts = Attempts()
    assert failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US) == EACH.run
    assert attempts.failed("::ffff:10.0.0.1", NOW_US) > 0


def test_callers_without_an_address_are_one():
    assert failures_until_told_to_wait(Attempts(), "", NOW_US) == EACH.run


def test_memory_is_bounded_and_who_was_still_for_longest_is_forgotten():
    attempts = Attempts(everyone=Pace(run=10**9, interval_us=1))
    failures_until_told_to_wait(attempts, "10.255.0.1", NOW_US)
    failures_until_told_to_wait(attempts, "10.255.0.2", NOW_US)
    for n in range(ADDRESSES_MOST - 1):
        attempts.failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", NOW_US)
    assert attempts.failed("10.255.0.2", NOW_US) > 0
    assert attempts.failed("10.255.0.1", NOW_US) == 0


def test_logins_of_a_key_are_counted_and_another_keys_are_not():
    logins = Logins(Pace(run=3, interval_us=10))
    assert [logins.made("a", 0) for _ in range(4)] == [0, 0, 0, 10]
    assert logins.made("b", 0) == 0
    assert [logins.made("a", 10), logins.made("a", 10)] == [0, 10]
