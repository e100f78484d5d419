from districam_api.core.revoked_logins import RevokedLogins


def test_a_revoked_login_is_remembered_until_it_expires():
    ended = RevokedLogins()
    ended.revoke("a", 100)
    assert ended.has("a")
    assert not ended.has("b")
    ended.merge({}, 99)
    assert ended.has("a")
    ended.merge({"a": 100}, 100)
    assert not ended.has("a")


def test_merging_adds_what_others_know_and_returns_what_they_do_not():
    ended = RevokedLogins()
    ended.revoke("a", 100)
    assert ended.merge({"b": 100}, 1) == {"a": 100}
    assert ended.has("b")
    assert ended.merge({"a": 100, "b": 100}, 2) == {}
    assert ended.merge({}, 3) == {"a": 100, "b": 100}, "logins that Redis lost are published again"


def test_before_the_first_merge_it_is_not_synced():
    ended = RevokedLogins()
    assert not ended.is_synced
    ended.revoke("a", 100)
    assert not ended.is_synced
    ended.merge({}, 1)
    assert ended.is_synced
