"""Parsing a page of a listing is equivalent to planning its objects one by one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import names
from districam_common.contract.segment_array import IndexEntry
from districam_indexer.core.listing import ListingParser, build_batch
from districam_indexer.core.operations import Batch, to_batch
from districam_indexer.core.plan import plan_entry
from support.announcements import EPOCHS, NOON_US, S

entries = st.builds(
    IndexEntry,
    epoch=st.sampled_from(EPOCHS),
    first_seq=st.integers(0, 5),
    last_seq=st.integers(5, 2**31 - 1),
    start_us=st.integers(NOON_US - 90_000 * S, NOON_US + 90_000 * S),
    end_us=st.just(0),
    bytes=st.integers(0, 2**32 - 1),
    init_bytes=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 255),
)


def ending(entry: IndexEntry, length_us: int) -> IndexEntry:
    return IndexEntry(
        **{name: getattr(entry, name) for name in IndexEntry.__dataclass_fields__ if name != "end_us"},
        end_us=entry.start_us + length_us,
    )


def bits(batch: Batch) -> dict[str, set[int]]:
    out = {key: set(offsets) for key, offsets in batch.bits.items()}
    for key, bitmap in batch.bitmaps.items():
        assert bitmap[-1], "longer than Redis would make it"
        found = {n for n in range(len(bitmap) * 8) if bitmap[n // 8] >> (7 - n % 8) & 1}
        out.setdefault(key, set()).update(found)
    return out


@given(
    st.lists(st.builds(ending, entries, st.integers(0, 2**32 - 1)), max_size=30),
    st.just(NOON_US) | st.integers(0, 2**53),
)
def test_a_parsed_page_equals_the_plans_of_its_objects(some: Sequence[IndexEntry], now_us: int) -> None:
    page = [(names.segment_object_key("cam-1", one), one.bytes) for one in some]
    read = ListingParser("cam-1", now_us=now_us).parse_page(page)
    batch = build_batch("cam-1", read)
    wanted = to_batch(operation for one in some for operation in plan_entry("cam-1", one, now_us=now_us))
    assert (batch.scored, batch.max_scores, batch.members) == (wanted.scored, wanted.max_scores, wanted.members)
    assert bits(batch) == bits(wanted)
    assert {key for _, key in read.epoch_objects} == {names.epochs_key("cam-1", one.start_us) for one in some}
    assert read.objects == len(some)
    assert read.skipped_keys == []


GOOD = names.segment_object_key("cam-1", ending(IndexEntry(
    epoch=EPOCHS[0], first_seq=0, last_seq=4, start_us=NOON_US, end_us=0, bytes=9, init_bytes=9, flags=1,
), 10 * S))  # fmt: skip


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("cam-1/notes.txt", 1),
        (GOOD.replace("cam-1/", "cam-2/"), 1),
        (GOOD.replace(".0-4.", ".5-4."), 1),
        (GOOD.replace("00-00.", "60-00."), 1),
        (GOOD.replace("/12/", "/24/"), 1),
        (GOOD.replace(".10000000.", ".4294967296."), 1),
        (GOOD, 2**32),
    ],
)
def test_keys_that_are_not_a_segment_of_the_camera_are_skipped(key: str, size: int) -> None:
    read = ListingParser("cam-1").parse_page([(key, size), (GOOD, 9)])
    assert (read.skipped_keys, read.objects) == ([key], 1)
    assert build_batch("cam-1", ListingParser("cam-1").parse_page([(key, size)])) == Batch()
