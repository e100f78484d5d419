"""New segments are locked if the store supports it, and stored in any case."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from districam_common.errors import Fatal, Retriable
from districam_common.runtime.service import Runtime
from districam_recorder.core.object_lock import MIN_LOCK_US, retain_until_us
from districam_recorder.lock_policy import RETRY_INTERVAL_US, LockDecision, LockPolicy

if TYPE_CHECKING:
    from districam_common.s3.blobs import Blobs

pytestmark = pytest.mark.hostile

H = 3_600_000_000
NOW_US = 1_795_531_620_000_000
DAY = 24 * H
times = st.integers(0, 4 * NOW_US)


@dataclass
class Clock:
    now: int = NOW_US
    monotonic: int = 0

    def now_us(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return self.monotonic


@given(times, times, st.integers(0, 30 * DAY))
def test_no_single_wrong_clock_makes_a_lock_longer_than_configured(append_us: int, now_us: int, lock_us: int) -> None:
    until_us = retain_until_us(append_us, now_us, lock_us)
    if until_us is not None:
        assert until_us <= min(append_us, now_us) + lock_us
        assert until_us > now_us + MIN_LOCK_US


def test_a_segment_stored_in_time_is_locked_for_lock_h_and_a_late_one_for_the_rest() -> None:
    assert retain_until_us(NOW_US - 70_000_000, NOW_US, DAY) == NOW_US - 70_000_000 + DAY
    assert retain_until_us(NOW_US - 6 * H, NOW_US, DAY) == NOW_US + 18 * H
    assert retain_until_us(NOW_US - 25 * H, NOW_US, DAY) is None
    assert retain_until_us(NOW_US, NOW_US, 0) is None


def test_a_host_a_year_ahead_does_not_lock_for_a_year() -> None:
    assert retain_until_us(NOW_US, NOW_US + 365 * DAY, DAY) is None
    assert retain_until_us(NOW_US + 365 * DAY, NOW_US, DAY) == NOW_US + DAY


@dataclass
class Bucket:
    answer: bool | Exception | None

    async def has_object_lock(self) -> bool | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def create_policy(answer: bool | Exception | None, clock: Clock, lock_us: int = DAY) -> LockPolicy:  # noqa: FBT001  # an answer
    return asyncio.run(LockPolicy.create(cast("Blobs", Bucket(answer)), Runtime("recorder", clock=clock), lock_us))


def unlocked(why: str) -> float:
    return REGISTRY.get_sample_value("districam_recorder_unlocked_total", {"why": why}) or 0.0


@pytest.mark.parametrize("answer", [True, None, Fatal("AccessDenied")], ids=["enabled", "unknown", "not permitted"])
def test_locks_are_requested_unless_the_bucket_is_known_to_have_no_object_lock(answer: bool | Exception | None) -> None:  # noqa: FBT001
    assert create_policy(answer, Clock()).decide(NOW_US) == LockDecision(NOW_US + DAY)


def test_unlocked_segments_in_a_bucket_without_object_lock_are_counted() -> None:
    before = unlocked("bucket")
    lock_policy = create_policy(False, Clock())  # noqa: FBT003
    lock = lock_policy.decide(NOW_US)
    lock_policy.report_stored(lock)
    assert lock.retain_until_us is None
    assert unlocked("bucket") == before + 1


def test_lock_h_zero_requests_no_lock_and_no_bucket_configuration() -> None:
    assert create_policy(Retriable("away"), Clock(), 0).decide(NOW_US) == LockDecision(None)


def test_after_a_refusal_locks_are_requested_again_after_the_retry_interval() -> None:
    clock, before = Clock(), unlocked("refused")
    lock_policy = create_policy(True, clock)  # noqa: FBT003
    for lock in (lock_policy.report_refused("InvalidRequest"), lock_policy.decide(NOW_US)):
        assert lock.retain_until_us is None
        lock_policy.report_stored(lock)
    assert unlocked("refused") == before + 2
    clock.monotonic += RETRY_INTERVAL_US
    assert lock_policy.decide(NOW_US).retain_until_us == NOW_US + DAY
