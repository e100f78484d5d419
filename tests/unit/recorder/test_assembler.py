import time

import pytest

from districam_common.contract.media import Fragment
from districam_recorder.core.assembler import EPOCH_TTL_US, Assembler, ReceivedFragment, Segment
from support.fragments import T0, S, epoch_id, fragment, make_init

E, F = epoch_id(1), epoch_id(2)
IDLE_US = 15 * S


class Log:
    """Feeds an assembler as a partition does: one record a second by default."""

    def __init__(self, done: dict[str, int] | None = None, segment_max_bytes: int = 64 << 20) -> None:
        self.assembler = Assembler(done or {}, idle_us=IDLE_US, segment_max_bytes=segment_max_bytes)
        self.offset = 0
        self.append_us = T0

    def feed(self, one: Fragment, *, after_us: int = S, received_us: int = 0) -> list[Segment]:
        self.append_us += after_us
        closed = self.assembler.advance_time(self.append_us)
        arrival = ReceivedFragment(self.offset, self.append_us, received_us, one)
        self.offset += 1
        return closed + self.assembler.feed(arrival)


def seqs(closed: list[Segment]) -> list[tuple[str, list[int]]]:
    return [(segment.close_reason, [f.info.seq for f in segment.fragments]) for segment in closed]


def test_a_cut_closes_the_segment_before_it():
    log = Log()
    assert log.feed(fragment("c", E, 0, starts=True)) == []
    assert log.feed(fragment("c", E, 1)) == []
    assert seqs(log.feed(fragment("c", E, 2, starts=True))) == [("starts", [0, 1])]


def test_a_fragment_that_ends_its_segment_closes_it_immediately():
    log = Log()
    log.feed(fragment("c", E, 0, starts=True))
    assert seqs(log.feed(fragment("c", E, 1, ends="segment"))) == [("ends", [0, 1])]
    assert seqs(log.feed(fragment("c", E, 2, starts=True, ends="epoch"))) == [("ends", [2])]


def test_a_hole_closes_the_segment_and_the_next_fragment_opens_another():
    log = Log()
    log.feed(fragment("c", E, 0))
    assert seqs(log.feed(fragment("c", E, 2))) == [("hole", [0])]
    assert seqs(log.feed(fragment("c", E, 3, ends="segment"))) == [("ends", [2, 3])]


def test_duplicate_fragments_are_dropped_and_counted():
    log = Log(done={E: 4})
    assert log.feed(fragment("c", E, 4)) == []
    log.feed(fragment("c", E, 5))
    assert log.feed(fragment("c", E, 5)) == []
    assert log.feed(fragment("c", E, 3)) == []
    assert log.assembler.duplicates == 3
    assert seqs(log.feed(fragment("c", E, 6, ends="segment"))) == [("ends", [5, 6])]


def test_two_epochs_interleave_without_closing_one_another():
    log = Log()
    for seq in range(3):
        assert log.feed(fragment("c", E, seq)) == []
        assert log.feed(fragment("c", F, seq)) == []
    assert seqs(log.feed(fragment("c", E, 3, ends="epoch"))) == [("ends", [0, 1, 2, 3])]
    assert seqs(log.feed(fragment("c", F, 3, ends="epoch"))) == [("ends", [0, 1, 2, 3])]


def test_a_segment_closes_when_it_is_full():
    log = Log(segment_max_bytes=2500)
    assert log.feed(fragment("c", E, 0, size=1000)) == []
    assert log.feed(fragment("c", E, 1, size=1000)) == []
    assert seqs(log.feed(fragment("c", E, 2, size=1000))) == [("bytes", [0, 1, 2])]
    assert log.assembler.open_bytes == 0


def test_a_segment_idle_in_log_time_is_closed_by_any_later_record():
    log = Log()
    log.feed(fragment("c", E, 0))
    assert log.feed(fragment("d", F, 0), after_us=IDLE_US) == []
    assert seqs(log.feed(fragment("d", F, 1), after_us=1)) == [("idle", [0])]


def test_an_epoch_continues_in_another_segment_after_an_idle_close():
    log = Log()
    log.feed(fragment("c", E, 0))
    assert seqs(log.feed(fragment("c", E, 1), after_us=IDLE_US + 1)) == [("idle", [0])]
    assert seqs(log.feed(fragment("c", E, 2, ends="segment"))) == [("ends", [1, 2])]


def test_at_the_end_of_the_log_idleness_is_measured_by_the_monotonic_clock():
    log = Log()
    log.feed(fragment("c", E, 0), received_us=100 * S)
    log.feed(fragment("d", F, 0), received_us=101 * S)
    assert log.assembler.close_idle_at_end(100 * S + IDLE_US) == []
    assert seqs(log.assembler.close_idle_at_end(100 * S + IDLE_US + 1)) == [("idle", [0])]
    assert log.assembler.open_bytes == len(fragment("d", F, 0).value)


def test_a_different_init_is_a_conflict_and_a_duplicate_is_not():
    log = Log()
    other = fragment("c", E, 1, init=make_init("another"))
    assert log.assembler.conflict(other) is None
    log.feed(fragment("c", E, 0))
    assert "init" in (log.assembler.conflict(other) or "")
    log.feed(fragment("c", E, 1))
    assert log.assembler.conflict(fragment("c", E, 1)) is None
    assert log.assembler.conflict(fragment("c", E, 0)) is None
    assert log.assembler.conflict(fragment("c", E, 2)) is None


@pytest.mark.hostile
def test_a_different_fragment_with_a_used_seq_is_a_conflict():
    log = Log()
    log.feed(fragment("c", E, 4))
    log.feed(fragment("c", E, 5))
    forged = fragment("c", E, 5, size=1)
    assert "another fragment 5" in (log.assembler.conflict(forged) or "")
    log.feed(fragment("c", E, 6, ends="segment"))
    assert log.assembler.conflict(fragment("c", E, 5)) is None


@pytest.mark.hostile
def test_fragments_after_a_forged_high_seq_are_conflicts():
    """Without the check, genuine fragments would be dropped silently as duplicates."""
    log = Log()
    log.feed(fragment("c", E, 0))
    log.feed(fragment("c", E, 1_000_000, start_us=T0 + 2 * S))
    true = fragment("c", E, 2)
    assert "later than all of its epoch" in (log.assembler.conflict(true) or "")
    assert log.assembler.conflict(fragment("c", E, 0)) is None


def test_an_interval_that_no_key_can_express_starts_another_segment():
    log = Log()
    log.feed(fragment("c", E, 0))
    assert seqs(log.feed(fragment("c", E, 1, start_us=T0 - 1))) == [("time", [0])]
    assert seqs(log.feed(fragment("c", E, 2, start_us=T0 + (1 << 32)))) == [("time", [1])]
    assert log.feed(fragment("c", E, 3, start_us=T0 + (1 << 32))) == []


def test_a_full_memory_closes_the_largest_segment():
    log = Log()
    assert log.assembler.close_largest() == []
    log.feed(fragment("c", E, 0, size=10))
    log.feed(fragment("d", F, 0, size=20))
    assert [segment.epoch for segment in log.assembler.close_largest()] == [F]
    assert [segment.close_reason for segment in log.assembler.close_largest()] == ["memory"]


def test_the_earliest_open_record_bounds_how_far_the_log_is_stored():
    log = Log()
    assert log.assembler.first_open_record() is None
    log.feed(fragment("c", E, 0, start_us=T0 - 3 * S))
    log.feed(fragment("d", F, 0, start_us=T0 - 9 * S))
    first = log.assembler.first_open_record()
    assert first is not None
    assert (first.offset, first.append_us, first.watermark_us) == (0, T0 + S, T0 - 3 * S)
    log.feed(fragment("c", E, 1, ends="segment"))
    second = log.assembler.first_open_record()
    assert second is not None
    assert (second.offset, second.watermark_us) == (1, T0 - 9 * S)


def test_an_ended_epoch_is_no_longer_active_but_its_late_duplicates_are_recognised():
    log = Log(done={F: 7})
    log.feed(fragment("c", E, 0, ends="epoch"))
    assert set(log.assembler.active_epochs()) == {E, F}
    log.feed(fragment("d", epoch_id(3), 0), after_us=IDLE_US + 1)
    assert E not in set(log.assembler.active_epochs())
    assert log.feed(fragment("c", E, 0, ends="epoch")) == []
    assert log.assembler.duplicates == 1


def test_epochs_that_never_ended_are_discarded_after_their_ttl():
    log = Log(done={F: 7})
    log.feed(fragment("c", E, 0, ends="segment"))
    log.feed(fragment("d", epoch_id(3), 0), after_us=EPOCH_TTL_US)
    assert set(log.assembler.active_epochs()) == {E, F, epoch_id(3)}
    log.feed(fragment("d", epoch_id(3), 1), after_us=2 * S)
    assert set(log.assembler.active_epochs()) == {epoch_id(3)}


def test_idleness_is_measured_in_log_time_not_in_camera_time():
    """With ingest clocks a minute behind and a minute ahead."""
    for skew_us in (-60 * S, 60 * S):
        log = Log()
        for seq in range(3):
            assert log.feed(fragment("c", E, seq, start_us=T0 + seq * S + skew_us)) == []
        assert seqs(log.feed(fragment("d", F, 0), after_us=IDLE_US + 1)) == [("idle", [0, 1, 2])]


def _cpu_s(log: Log, records: int) -> float:
    """CPU seconds for `records` records that close nothing."""
    began_s = time.process_time()
    for n in range(records):
        log.assembler.advance_time(log.append_us + n)
        log.assembler.first_open_record()
    return time.process_time() - began_s


def _flapping(epochs: int) -> Log:
    """A partition with this many epochs within the hour: a camera that reconnects every 2 s makes 1,800."""
    log = Log()
    for n in range(epochs):
        log.feed(fragment("c", epoch_id(n), 0, ends="epoch"), after_us=1000)
    return log


@pytest.mark.correctness
def test_a_flapping_camera_does_not_slow_down_the_others_of_its_partition():
    few, many = _flapping(20), _flapping(2000)
    assert min(_cpu_s(many, 200) for _ in range(5)) < 8 * min(_cpu_s(few, 200) for _ in range(5))


def test_stale_epochs_are_discarded_except_those_with_an_open_segment():
    log = Log()
    log.feed(fragment("c", E, 0))
    log.feed(fragment("d", F, 0, ends="epoch"))
    later_us = log.append_us + EPOCH_TTL_US + 1
    assert seqs(log.assembler.advance_time(later_us)) == [("idle", [0])]
    assert log.assembler.feed(ReceivedFragment(2, later_us, 0, fragment("c", E, 0))) == []
    assert log.assembler.duplicates == 1
    assert seqs(log.assembler.feed(ReceivedFragment(3, later_us, 0, fragment("d", F, 0, ends="epoch")))) == [
        ("ends", [0])
    ]


def test_a_long_epoch_does_not_keep_stale_epochs_from_being_discarded():
    log = Log()
    for seq in range(100):
        log.feed(fragment("c", E, seq, starts=True), after_us=EPOCH_TTL_US // 50)
        if not seq:
            log.feed(fragment("d", F, 0, ends="epoch"))
    assert seqs(log.feed(fragment("d", F, 0, ends="epoch"))) == [("ends", [0])]
