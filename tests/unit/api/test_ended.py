from districam_api.core.ended import Ended


def test_a_login_that_was_ended_stays_so_until_it_would_have_expired():
    ended = Ended()
    ended.end("a", 100)
    assert ended.has("a")
    assert not ended.has("b")
    ended.meet({}, 99)
    assert ended.has("a")
    ended.meet({"a": 100}, 100)
    assert not ended.has("a")


def test_replicas_learn_from_one_another_and_tell_what_nobody_knows():
    ended = Ended()
    ended.end("a", 100)
    assert ended.meet({"b": 100}, 1) == {"a": 100}
    assert ended.has("b")
    assert ended.meet({"a": 100, "b": 100}, 2) == {}
    assert ended.meet({}, 3) == {"a": 100, "b": 100}, "what Redis has lost it is told again"


def test_before_anything_was_heard_nothing_is_known():
    ended = Ended()
    assert not ended.is_known
    ended.end("a", 100)
    assert not ended.is_known
    ended.meet({}, 1)
    assert ended.is_known
