import pytest

from districam_common.admin.broker_time import ClockSkewError, proven_skew_us, require_no_skew

S = 1_000_000


@pytest.mark.parametrize(
    ("append_s", "sent_s", "acked_s", "ahead_s"),
    [
        (100, 99, 101, 0),  # the append lies between the two
        (100, 90, 130, 0),  # a slow acknowledgement proves nothing
        (100, 160, 161, 60),
        (100, 30, 31, -69),
        (100, 100, 100, 0),
    ],
)
def test_send_and_ack_times_bound_the_clock_skew(append_s: int, sent_s: int, acked_s: int, ahead_s: int):
    assert proven_skew_us(append_s * S, sent_s * S, acked_s * S) == pytest.approx(ahead_s * S, abs=1_000)


@pytest.mark.parametrize("off_us", [-S, 0, S])
def test_a_skew_of_a_second_is_accepted(off_us: int):
    require_no_skew(off_us, "")


@pytest.mark.correctness
@pytest.mark.parametrize(("off_us", "which"), [(S + 1, "1.0 s ahead of"), (-300 * S, "300.0 s behind")])
def test_a_larger_skew_is_rejected_with_the_fix_and_what_was_written(off_us: int, which: str):
    with pytest.raises(ClockSkewError, match=f"at least {which} the broker's.*set-ntp.*Nothing was written"):
        require_no_skew(off_us, "Nothing was written.")
