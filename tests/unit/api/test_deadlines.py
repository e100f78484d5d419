import pytest

from districam_api.core.deadlines import MIN_PROGRESS_BYTES, ConnectionDeadline, Deadlines, Phase, TimeoutCause

S = 1_000_000
PATIENCE = Deadlines(request_us=10 * S, reader_us=60 * S)


def seen(*looks: tuple[float, Phase, int]) -> list[TimeoutCause | None]:
    """The result of each check; the connection was opened at 0 s."""
    waiting = ConnectionDeadline(PATIENCE, 0)
    return [waiting.timeout_cause(phase, untaken, round(at_s * S)) for at_s, phase, untaken in looks]


@pytest.mark.parametrize("phase", ["head", "body"])
def test_head_and_body_deadlines_are_not_extended_by_slow_progress(phase: Phase):
    looks: list[tuple[float, Phase, int]] = [(n, phase, 0) for n in range(10)]
    assert seen(*looks) == [None] * 10
    first_s = 0 if phase == "head" else 3
    assert seen((first_s, phase, 0), (first_s + 9.9, phase, 0), (first_s + 10, phase, 0)) == [None, None, phase]


def test_the_body_deadline_starts_when_the_head_is_complete():
    assert seen((9, "head", 0), (9.5, "body", 0), (19, "body", 0), (20, "body", 0)) == [None, None, None, "body"]


def test_our_own_response_has_no_deadline():
    assert seen((1, "answer", 0), (500, "answer", 0)) == [None, None]


def test_the_next_request_has_its_own_deadline():
    waiting = ConnectionDeadline(PATIENCE, 0)
    assert waiting.timeout_cause("head", 0, 9 * S) is None
    waiting.on_response_complete(9 * S)  # and the next request came before the next check
    assert waiting.timeout_cause("head", 0, 18 * S) is None
    assert waiting.timeout_cause("head", 0, 19 * S) == "head"


def test_a_client_that_reads_nothing_times_out():
    assert seen((5, "answer", 500_000), (64, "answer", 500_000), (65, "answer", 500_000)) == [None, None, "reader"]


@pytest.mark.parametrize("phase", ["head", "body", "answer"])
def test_a_small_unread_rest_times_out_in_every_phase(phase: Phase):
    assert seen((1, phase, 10), (31, phase, 9), (61, phase, 8)) == [None, None, "reader"]


def test_reading_less_than_the_minimum_progress_times_out():
    looks: list[tuple[float, Phase, int]] = [(n, "answer", 4_000_000 - n * 1000) for n in range(61)]
    assert seen(*looks) == [None] * 60 + ["reader"]


def test_reading_the_minimum_progress_in_time_does_not_time_out():
    """The minimum progress every 59 s."""
    looks: list[tuple[float, Phase, int]] = [(n * 59, "answer", 4_000_000 - n * MIN_PROGRESS_BYTES) for n in range(60)]
    assert seen(*looks) == [None] * 60


def test_progress_below_the_minimum_accumulates():
    half = MIN_PROGRESS_BYTES // 2
    looks: list[tuple[float, Phase, int]] = [(n * 30 - 1, "answer", 4_000_000 - n * half) for n in range(1, 100)]
    assert seen(*looks) == [None] * 99


def test_draining_the_buffer_between_two_checks_is_progress_even_if_it_is_refilled():
    waiting = ConnectionDeadline(PATIENCE, 0)
    for n in range(100):
        assert waiting.timeout_cause("answer", 500_000, n * 59 * S) is None
        waiting.on_write_resumed()


def test_no_request_deadline_runs_while_a_response_is_being_read():
    looks: list[tuple[float, Phase, int]] = [(1, "answer", 50), (2, "head", 50), (30, "head", 50), (31, "head", 0)]
    assert seen(*looks, (39.9, "head", 0), (40, "head", 0)) == [None] * 5 + ["head"]
