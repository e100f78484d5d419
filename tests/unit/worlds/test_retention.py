"""Days of retention with losses of the index: expired footage is reported as expired, or as pending."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract.names import DAY_US, HOUR_US
from support.examples import examples_percent
from support.world_retention import ARCHIVE_START_US, Archive

TICKS = 200
_LOST = st.frozensets(st.integers(130, TICKS - 1), max_size=3)
_CUTOVERS = st.sampled_from([0, ARCHIVE_START_US + DAY_US + 8 * HOUR_US, ARCHIVE_START_US + 9 * DAY_US])


@examples_percent(8)
@given(st.integers(0, 1 << 30), _LOST, _CUTOVERS)
def test_expired_footage_is_never_a_gap(seed: int, lost_at: frozenset[int], until_us: int):
    check_no_gaps(Archive(Random(seed), lost_at, TICKS, until_us))


@pytest.mark.parametrize("seed", range(8))
def test_a_rebuilt_index_reports_pending_until_it_knows_what_expired(seed: int):
    """Otherwise, with `segments` and `streams` read and `retention` not yet, expired hours would be `pipeline_loss`."""
    check_no_gaps(Archive(Random(seed), frozenset({150, 180}), TICKS))


def check_no_gaps(archive: Archive) -> None:
    """The camera never failed: no second may ever be a gap, and in the end all is decided."""
    for snapshot in archive.snapshots:
        assert [state for state in snapshot.states if state.state == "gap"] == []
    assert {state.state for state in archive.snapshots[-1].states} <= {"expired", "recorded", "pending"}
    (oldest, *_) = archive.snapshots[-1].states
    assert oldest.state in {"expired", "pending"}
