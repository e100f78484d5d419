from districam_api.core.revoked_logins import RevokedLogins


def test_a_login_that_was_ended_stays_so_until_it_would_have_expired():
    ended = RevokedLogins()
    ended.revoke("a", 100)
    assert ended.has("a")
    assert not ended.has("b")
    ended.merge({}, 99)
    assert ended.has("a")
    ended.merge({"a": 100}, 100)
    assert not ended.has("a")


def test_replicas_learn_from_one_another_and_tell_what_nobody_knows():
    ended = RevokedLogins()
    ended.revoke("a", 100)
    assert ended.merge({"b": 100}, 1) == {"a": 100}
    assert ended.has("b")
    assert ended.merge({"a": 100, "b": 100}, 2) == {}
    assert ended.merge({}, 3) == {"a": 100, "b": 100}, "what Redis has lost it is told again"


def test_before_anything_was_heard_nothing_is_known():
    ended = RevokedLogins()
    assert not ended.is_synced
    ended.revoke("a", 100)
    assert not ended.is_synced
    ended.merge({}, 1)
    assert ended.is_synced
