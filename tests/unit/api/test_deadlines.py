import pytest

from districam_api.core.deadlines import (
    MIN_PROGRESS_BYTES,
    ConnectionDeadline,
    Deadlines,
    Phase,
    TimeoutCause,
)

S = 1_000_000
PATIENCE = Deadlines(request_us=10 * S, reader_us=60 * S)


def seen(*looks: tuple[float, Phase, int]) -> list[TimeoutCause | None]:
    """What each look says; the connection was made at 0 s."""
    waiting = ConnectionDeadline(PATIENCE, 0)
    return [waiting.timeout_cause(phase, untaken, round(at_s * S)) for at_s, phase, untaken in looks]


@pytest.mark.parametrize("phase", ["head", "body"])
def test_a_head_and_a_body_have_their_time_however_they_trickle(phase: Phase):
    looks: list[tuple[float, Phase, int]] = [(n, phase, 0) for n in range(10)]
    assert seen(*looks) == [None] * 10
    first_s = 0 if phase == "head" else 3
    assert seen((first_s, phase, 0), (first_s + 9.9, phase, 0), (first_s + 10, phase, 0)) == [
        None,
        None,
        phase,
    ]


def test_the_time_for_a_body_begins_when_the_head_is_there():
    assert seen((9, "head", 0), (9.5, "body", 0), (19, "body", 0), (20, "body", 0)) == [
        None,
        None,
        None,
        "body",
    ]


def test_our_own_answer_may_take_any_time():
    assert seen((1, "answer", 0), (500, "answer", 0)) == [None, None]


def test_the_next_request_has_its_own_time():
    waiting = ConnectionDeadline(PATIENCE, 0)
    assert waiting.timeout_cause("head", 0, 9 * S) is None
    waiting.on_response_complete(9 * S)  # and asked again before the next look
    assert waiting.timeout_cause("head", 0, 18 * S) is None
    assert waiting.timeout_cause("head", 0, 19 * S) == "head"


def test_who_takes_nothing_is_given_up():
    assert seen((5, "answer", 500_000), (64, "answer", 500_000), (65, "answer", 500_000)) == [
        None,
        None,
        "reader",
    ]


@pytest.mark.parametrize("phase", ["head", "body", "answer"])
def test_also_when_the_rest_of_the_answer_is_small_and_whatever_is_awaited(phase: Phase):
    assert seen((1, phase, 10), (31, phase, 9), (61, phase, 8)) == [None, None, "reader"]


def test_who_takes_a_little_now_and_then_is_asleep_too():
    looks: list[tuple[float, Phase, int]] = [(n, "answer", 4_000_000 - n * 1000) for n in range(61)]
    assert seen(*looks) == [None] * 60 + ["reader"]


def test_who_is_slow_is_not_given_up():
    """A piece each 59 s."""
    looks: list[tuple[float, Phase, int]] = [(n * 59, "answer", 4_000_000 - n * MIN_PROGRESS_BYTES) for n in range(60)]
    assert seen(*looks) == [None] * 60


def test_what_is_left_of_a_piece_counts_with_the_next():
    half = MIN_PROGRESS_BYTES // 2
    looks: list[tuple[float, Phase, int]] = [(n * 30 - 1, "answer", 4_000_000 - n * half) for n in range(1, 100)]
    assert seen(*looks) == [None] * 99


def test_who_takes_all_between_two_looks_is_awake_though_as_much_is_waiting_again():
    waiting = ConnectionDeadline(PATIENCE, 0)
    for n in range(100):
        assert waiting.timeout_cause("answer", 500_000, n * 59 * S) is None
        waiting.on_write_resumed()


def test_nobody_is_hurried_to_ask_while_an_answer_is_on_its_way():
    looks: list[tuple[float, Phase, int]] = [
        (1, "answer", 50),
        (2, "head", 50),
        (30, "head", 50),
        (31, "head", 0),
    ]
    assert seen(*looks, (39.9, "head", 0), (40, "head", 0)) == [None] * 5 + ["head"]
