"""Which `expired` events are accepted."""

from collections.abc import Generator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import names
from districam_common.contract.events import FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US
from districam_indexer.core.expired_validation import MIN_EXPIRED_AGE_US, rejection_reason
from districam_indexer.core.retention import BudgetPlan, CameraAge, StoredHours, age_limit_us, plan_budget

NOW_US = 1_790_000_000_000_000
OLD = FootageExpired(camera_id="cam-1", at_us=NOW_US, instance="i", from_us=0, to_us=NOW_US - 3 * DAY_US, reason="r")
pytestmark = pytest.mark.hostile


def test_an_old_enough_expired_event_on_its_own_topic_is_valid():
    assert rejection_reason(OLD, names.RETENTION, NOW_US, 0) is None


@pytest.mark.parametrize("topic", [names.RETENTION, names.STREAMS])
@pytest.mark.parametrize("to_us", [NOW_US + DAY_US, NOW_US, NOW_US - MIN_EXPIRED_AGE_US + 1, (1 << 53) - 1])
def test_an_expired_event_younger_than_a_day_is_rejected(topic: str, to_us: int):
    found = rejection_reason(replace(OLD, to_us=to_us), topic, NOW_US, NOW_US)
    assert "younger than a day" in (found or "")


def test_an_expired_event_on_streams_is_valid_up_to_the_cutover():
    assert rejection_reason(OLD, names.STREAMS, NOW_US, NOW_US) is None
    assert names.RETENTION in (rejection_reason(OLD, names.STREAMS, NOW_US + 1, NOW_US) or "")
    assert names.RETENTION in (rejection_reason(OLD, names.STREAMS, NOW_US, 0) or "")


BEHIND_US = st.integers(0, HOUR_US)
"""How far the broker's clock is behind the watermark."""


@given(st.integers(1, 400), st.integers(NOW_US, NOW_US + 9 * DAY_US), BEHIND_US)
def test_expiry_by_age_always_passes_validation(days: int, now_us: int, behind_us: int):
    event = replace(OLD, to_us=age_limit_us(days, now_us))
    assert rejection_reason(event, names.RETENTION, now_us - behind_us, 0) is None


@given(st.lists(st.integers(0, 80), min_size=1), st.integers(NOW_US, NOW_US + DAY_US), BEHIND_US)
def test_expiry_for_the_budget_always_passes_validation(ages_h: list[int], now_us: int, behind_us: int):
    hours = {(now_us // HOUR_US - age_h) * HOUR_US: 1 for age_h in ages_h}
    edges = run_plan(plan_budget(1 << 30, {"cam-1": CameraAge(1)}, now_us), StoredHours(hours)).edges
    for edge_us in edges.values():
        assert rejection_reason(replace(OLD, to_us=edge_us), names.RETENTION, now_us - behind_us, 0) is None


def run_plan(planner: Generator[str | None, StoredHours | None, BudgetPlan], stock: StoredHours) -> BudgetPlan:
    answer: StoredHours | None = None
    while True:
        try:
            wanted = planner.send(answer)
        except StopIteration as end:
            return end.value
        answer = None if wanted is None else stock
