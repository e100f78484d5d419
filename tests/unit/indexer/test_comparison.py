"""What `check` finds, and when it is inconclusive."""

from districam_common.contract import names, segment_array
from districam_common.contract.events import Lost
from districam_common.ledger.causes import LoggedEvent
from districam_indexer.core.comparison import Findings, array_from_members, count_copies, diff_members, overlapping_us
from support.announcements import EPOCHS, NOON_US, S, segment


def members(*stored: tuple[int, int, int]) -> dict[bytes, int]:
    """(epoch, first seq, seconds after noon)."""
    made = [names.entry_of(segment(epoch=e, first_seq=q, start_us=NOON_US + s * S)) for e, q, s in stored]
    return {segment_array.encode_member(one): one.start_us for one in made}


def test_missing_and_surplus_members_are_distinguished() -> None:
    a, b, c = members((0, 0, 0)), members((0, 5, 10)), members((0, 10, 20))
    assert diff_members(a | b, b | c) == (c, a)
    moved = dict.fromkeys(a, 7)
    assert diff_members(a, moved) == (moved, a)


def test_overlaps_that_no_handover_explains_are_summed() -> None:
    both = array_from_members(members((0, 0, 0), (1, 0, 5)))
    assert overlapping_us(both, []) == 5 * S
    handover = Lost(
        camera_id="cam-1", at_us=NOON_US, instance="i", epoch=EPOCHS[0], last_seq=4, end_us=NOON_US, cause="handover"
    )  # fmt: skip
    assert overlapping_us(both, [LoggedEvent(handover)]) == 0


def test_a_copy_is_a_segment_whose_fragments_another_of_its_epoch_has_too() -> None:
    once = members((0, 0, 0), (0, 5, 10), (1, 0, 60))
    assert count_copies(array_from_members(once)) == 0
    again = names.entry_of(segment(first_seq=5, start_us=NOON_US + 10 * S, duration_us=11 * S))
    assert count_copies(array_from_members(once | {segment_array.encode_member(again): again.start_us})) == 1
    assert count_copies(array_from_members({})) == 0


def test_an_empty_or_foreign_bucket_is_inconclusive() -> None:
    assert Findings(objects=0, indexed=0).inconclusive_reason() is None
    assert Findings(objects=90, indexed=100, missing=10).inconclusive_reason() is None
    assert "empty" in (Findings(objects=0, indexed=100, missing=100).inconclusive_reason() or "")
    assert "another one" in (Findings(objects=500, indexed=100, missing=51).inconclusive_reason() or "")


def test_at_most_five_examples_of_a_kind_are_kept() -> None:
    found = Findings()
    for n in range(9):
        found.add_example("missing", str(n))
    assert found.examples == {"missing": ["0", "1", "2", "3", "4"]}


def test_overlaps_are_consistent() -> None:
    assert Findings(objects=9, indexed=9, copies=1, overlapping_us=5).is_consistent
    assert not Findings(surplus=1).is_consistent
    assert not Findings(missing=1).is_consistent
