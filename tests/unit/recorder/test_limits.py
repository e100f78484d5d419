from districam_recorder.core.limits import Close, Discard, PartitionMemory, Read, Wait, decide, may_resume


def holding(partition: int, size: int, oldest_us: int | None, *, is_waiting: bool = False) -> PartitionMemory:
    return PartitionMemory(partition=partition, bytes=size, oldest_us=oldest_us, has_pending=is_waiting)


def test_reads_while_there_is_room():
    assert decide([holding(0, 50, 5)], 0, 50, 100) == Read()


def test_a_record_larger_than_the_limit_is_read_alone():
    assert decide([holding(0, 0, None)], 0, 500, 100) == Read()


def test_waits_while_something_is_being_stored():
    assert decide([holding(0, 90, 5), holding(1, 5, None, is_waiting=True)], 0, 20, 100) == Wait()


def test_the_partition_with_the_youngest_open_segment_is_discarded():
    holdings = [holding(0, 50, 5), holding(1, 20, 9), holding(2, 25, 7)]
    assert decide(holdings, 0, 20, 100) == Discard(1)
    assert decide(holdings, 1, 20, 100) == Discard(1)


def test_a_partition_without_open_segments_is_discarded_before_the_only_one_with_some():
    assert decide([holding(0, 95, 5), holding(1, 0, None)], 1, 20, 100) == Discard(1)


def test_the_last_partition_left_closes_its_largest_segment():
    assert decide([holding(0, 95, 5), holding(1, 0, None)], 0, 20, 100) == Close(0)


def test_paused_partitions_resume_below_half_of_the_limit():
    assert may_resume(49, 100)
    assert not may_resume(50, 100)
