"""When the reader of a connection may pause."""

from districam_ingest.readers.pause_detector import ON_TIME_US, WINDOW_US, PauseDetector

FRAME_US = 40_000


def test_the_reader_may_pause_after_each_picture_that_is_on_time():
    detector = PauseDetector()
    assert all(detector.may_pause(1_000_000 + n * FRAME_US, n * FRAME_US) for n in range(1000))


def test_the_reader_may_not_pause_during_a_backlog():
    detector = PauseDetector()
    assert detector.may_pause(0, 0)
    late_us = 500_000
    decisions = [detector.may_pause(late_us + n * 1000, n * FRAME_US) for n in range(1, 14)]
    lateness_us = [late_us + n * 1000 - n * FRAME_US for n in range(1, 14)]
    assert decisions == [lateness <= ON_TIME_US for lateness in lateness_us]
    assert decisions[-1]


def test_packets_within_the_tolerance_are_on_time():
    detector = PauseDetector()
    assert detector.may_pause(0, 0)
    assert detector.may_pause(ON_TIME_US, 0)
    assert not detector.may_pause(ON_TIME_US + 1, 0)


def test_the_reader_may_not_pause_if_the_media_clock_is_frozen():
    detector = PauseDetector()
    found = [detector.may_pause(n * FRAME_US, 0) for n in range(200)]
    assert not any(found[2:])


def test_a_lasting_delay_is_accepted_after_two_windows():
    """After a pause of the encoder its media clock stays behind; the earlier minimum delay no longer applies."""
    detector = PauseDetector()
    assert detector.may_pause(0, 0)
    shift_us = 3_000_000
    pictures = range(1, 2 * WINDOW_US // FRAME_US + 10)
    found = [detector.may_pause(shift_us + n * FRAME_US, n * FRAME_US) for n in pictures]
    assert not found[0]
    assert found[-1]
