from districam_api.core.rate_limits import (
    GLOBAL_LIMIT,
    MAX_ADDRESSES,
    PER_ADDRESS_LIMIT,
    FailureLimiter,
    LoginLimiter,
    RateLimit,
)

S = 1_000_000
NOW_US = 1_000 * S


def failures_until_told_to_wait(attempts: FailureLimiter, address: str, now_us: int) -> int:
    for n in range(1000):
        if attempts.record_failure(address, now_us):
            return n
    raise AssertionError("never")


def test_a_burst_is_allowed_then_one_per_interval():
    attempts = FailureLimiter()
    assert failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US) == PER_ADDRESS_LIMIT.burst
    wait_us = attempts.record_failure("10.0.0.1", NOW_US)
    assert wait_us == PER_ADDRESS_LIMIT.interval_us
    assert attempts.record_failure("10.0.0.1", NOW_US + wait_us - 1) == 1
    assert attempts.record_failure("10.0.0.1", NOW_US + wait_us) == 0
    assert attempts.record_failure("10.0.0.1", NOW_US + wait_us) == PER_ADDRESS_LIMIT.interval_us


def test_a_pause_restores_the_burst_and_no_more():
    attempts = FailureLimiter()
    failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US)
    later_us = NOW_US + 100 * PER_ADDRESS_LIMIT.burst * PER_ADDRESS_LIMIT.interval_us
    assert failures_until_told_to_wait(attempts, "10.0.0.1", later_us) == PER_ADDRESS_LIMIT.burst


def test_failures_are_limited_per_address_and_in_total():
    attempts = FailureLimiter()
    failed = sum(
        failures_until_told_to_wait(attempts, f"10.0.{n}.1", NOW_US)
        for n in range(2 * GLOBAL_LIMIT.burst // PER_ADDRESS_LIMIT.burst)
    )
    assert failed == GLOBAL_LIMIT.burst
    assert attempts.record_failure("10.1.0.1", NOW_US) == GLOBAL_LIMIT.interval_us
    assert attempts.record_failure("10.1.0.1", NOW_US + GLOBAL_LIMIT.interval_us) == 0


def test_ipv6_addresses_of_one_64_count_as_one():
    attempts = FailureLimiter()
    addresses = [f"2001:db8::{n:x}" for n in range(PER_ADDRESS_LIMIT.burst + 1)]
    assert [bool(attempts.record_failure(one, NOW_US)) for one in addresses] == [False] * PER_ADDRESS_LIMIT.burst + [
        True
    ]
    assert attempts.record_failure("2001:db8:0:1::1", NOW_US) == 0
    assert attempts.record_failure("::ffff:10.0.0.1", NOW_US) == attempts.record_failure("::ffff:10.0.0.2", NOW_US) == 0


def test_an_address_counts_as_one_in_any_notation():
    attempts = FailureLimiter()
    assert failures_until_told_to_wait(attempts, "10.0.0.1", NOW_US) == PER_ADDRESS_LIMIT.burst
    assert attempts.record_failure("::ffff:10.0.0.1", NOW_US) > 0


def test_callers_without_an_address_count_as_one():
    assert failures_until_told_to_wait(FailureLimiter(), "", NOW_US) == PER_ADDRESS_LIMIT.burst


def test_memory_is_bounded_by_dropping_the_least_recent_address():
    attempts = FailureLimiter(overall=RateLimit(burst=10**9, interval_us=1))
    failures_until_told_to_wait(attempts, "10.255.0.1", NOW_US)
    failures_until_told_to_wait(attempts, "10.255.0.2", NOW_US)
    for n in range(MAX_ADDRESSES - 1):
        attempts.record_failure(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", NOW_US)
    assert attempts.record_failure("10.255.0.2", NOW_US) > 0
    assert attempts.record_failure("10.255.0.1", NOW_US) == 0


def test_logins_are_limited_per_key():
    logins = LoginLimiter(RateLimit(burst=3, interval_us=10))
    assert [logins.record_login("a", 0) for _ in range(4)] == [0, 0, 0, 10]
    assert logins.record_login("b", 0) == 0
    assert [logins.record_login("a", 10), logins.record_login("a", 10)] == [0, 10]
