"""When a connection may be left alone."""

from districam_ingest.readers.pause_detector import ON_TIME_US, WINDOW_US, PauseDetector

FRAME_US = 40_000


def test_a_camera_on_time_is_left_alone_at_each_picture():
    pauses = PauseDetector()
    assert all(pauses.may_pause(1_000_000 + n * FRAME_US, n * FRAME_US) for n in range(1000))


def test_a_backlog_is_read_to_its_end_before_the_next_pause():
    pauses = PauseDetector()
    assert pauses.may_pause(0, 0)
    late_us = 500_000
    came = [pauses.may_pause(late_us + n * 1000, n * FRAME_US) for n in range(1, 14)]
    behind_us = [late_us + n * 1000 - n * FRAME_US for n in range(1, 14)]
    assert came == [behind <= ON_TIME_US for behind in behind_us]
    assert came[-1]


def test_the_later_packets_of_a_picture_are_no_reason():
    pauses = PauseDetector()
    assert pauses.may_pause(0, 0)
    assert pauses.may_pause(ON_TIME_US, 0)
    assert not pauses.may_pause(ON_TIME_US + 1, 0)


def test_a_clock_that_stands_still_is_read_without_pauses():
    pauses = PauseDetector()
    found = [pauses.may_pause(n * FRAME_US, 0) for n in range(200)]
    assert not any(found[2:])


def test_an_encoder_that_paused_is_believed_after_two_windows():
    """Its media clock is behind for good: what was on time before is no measure any more."""
    pauses = PauseDetector()
    assert pauses.may_pause(0, 0)
    shift_us = 3_000_000
    pictures = range(1, 2 * WINDOW_US // FRAME_US + 10)
    found = [pauses.may_pause(shift_us + n * FRAME_US, n * FRAME_US) for n in pictures]
    assert not found[0]
    assert found[-1]
