"""Days of retention, and an index that is lost meanwhile: what was let go is told as that, or as not known yet."""

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
def test_expired_footage_is_never_a_gap(dice: int, lost_at: frozenset[int], until_us: int):
    judged(Archive(Random(dice), lost_at, TICKS, until_us))


@pytest.mark.parametrize("dice", range(8))
def test_a_rebuilt_index_reports_pending_until_it_knows_what_expired(dice: int):
    """Its members had read `segments` and `streams`, and `retention` not yet: hours that had expired read `pipeline_loss`."""
    judged(Archive(Random(dice), frozenset({150, 180}), TICKS))


def judged(archive: Archive) -> None:
    """The camera never failed: no second of it may ever be told as a gap. In the end all is known."""
    for look in archive.snapshots:
        assert [state for state in look.states if state.state == "gap"] == []
    assert {state.state for state in archive.snapshots[-1].states} <= {"expired", "recorded", "pending"}
    (oldest, *_) = archive.snapshots[-1].states
    assert oldest.state in {"expired", "pending"}
