"""Accounting must be correct to judge the services: each picture is in exactly one class."""

from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.accounting import CameraRecord, Counts, Interval, count, median_frame_interval_us, total
from districam_devkit.api_client import TimelineState
from districam_devkit.bitstream import StoredPicture
from districam_devkit.simcam.send_log import SentPicture

FRAME_US = 40_000


def sent(number: int, *, early: bool = False) -> SentPicture:
    return SentPicture("cam", number, number * FRAME_US, number % 50 == 0, (1,), early)


def stored(*numbers: int) -> list[StoredPicture]:
    return [StoredPicture(number, number * FRAME_US, "cam", number * 3600, number % 50 == 0) for number in numbers]


def gap(first: int, last: int, cause: str = "camera_unreachable") -> TimelineState:
    return TimelineState("gap", first * FRAME_US, (last + 1) * FRAME_US, cause, "")


def test_all_stored() -> None:
    record = CameraRecord([sent(n) for n in range(10)], stored(*range(10)), list(range(10)), [])
    assert count(record) == Counts(sent=10, stored=10)


def test_a_picture_neither_stored_nor_in_a_reported_gap_is_unaccounted() -> None:
    record = CameraRecord([sent(n) for n in range(10)], stored(*range(5), *range(6, 10)), [], [])
    assert count(record) == Counts(sent=10, stored=9, unaccounted=1)


def test_a_reported_gap_accounts_for_its_pictures_and_one_frame_around_it() -> None:
    pictures = [sent(n) for n in range(100)]
    kept = stored(*range(20), *range(60, 100))
    assert count(CameraRecord(pictures, kept, [], [gap(20, 59)])).in_gaps == 40
    assert count(CameraRecord(pictures, kept, [], [gap(21, 58)])).in_gaps == 40
    assert count(CameraRecord(pictures, kept, [], [gap(23, 59)])).unaccounted == 2


def test_pipeline_loss_and_unknown_account_for_nothing() -> None:
    for cause in ("pipeline_loss", "unknown"):
        counted = count(CameraRecord([sent(5)], [], [], [gap(0, 10, cause)]))
        assert (counted.unaccounted, counted.in_gaps) == (1, 0)


def test_pending_time_accounts_for_no_picture() -> None:
    states = [TimelineState("pending", 0, 10**9, "", "")]
    assert count(CameraRecord([sent(5)], [], [], states)).unaccounted == 1


def test_pictures_before_a_connections_first_keyframe_are_counted_apart() -> None:
    record = CameraRecord([sent(1, early=True), sent(2, early=True), sent(3)], stored(3), [3], [])
    assert count(record) == Counts(sent=3, before_first_keyframe=2, stored=1)


def test_a_lossy_fragment_accounts_for_its_interval() -> None:
    record = CameraRecord([sent(5)], [], [], [], lossy_intervals=[Interval(0, 10 * FRAME_US)])
    assert count(record).in_gaps == 1


def test_stored_copies_and_shown_duplicates_are_counted_apart() -> None:
    """Being stored twice is allowed; being shown twice is not."""
    record = CameraRecord([sent(n) for n in range(3)], stored(0, 1, 1, 2, 2), [0, 1, 2, 2], [])
    counted = count(record)
    assert (counted.stored, counted.stored_twice, counted.duplicates) == (3, 2, 1)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=4),
)
def test_every_sent_picture_is_in_exactly_one_class(
    pictures: list[tuple[bool, bool]], gaps: list[tuple[int, int]]
) -> None:
    record = CameraRecord(
        [sent(n, early=early) for n, (_, early) in enumerate(pictures)],
        stored(*(n for n, (kept, _) in enumerate(pictures) if kept)),
        [],
        [gap(first, first + length) for first, length in gaps],
    )
    counted = count(record)
    assert counted.sent == (counted.stored + counted.before_first_keyframe + counted.in_gaps + counted.unaccounted)


def test_total_adds_up() -> None:
    assert total({"a": Counts(sent=1, stored=1), "b": Counts(sent=2, in_gaps=2)}) == Counts(3, 0, 1, 2)


def test_the_frame_interval_is_the_median_distance() -> None:
    assert median_frame_interval_us([sent(0), sent(1), sent(2), sent(50), sent(51)]) == FRAME_US
    assert median_frame_interval_us([]) == 40_000
