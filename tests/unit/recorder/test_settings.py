import pytest

from districam_common.runtime.settings import SettingsError, load
from districam_recorder.settings import Settings


def test_they_are_read_from_the_environment():
    settings = load(Settings, {"DISTRICAM_RECORDER__CONTACT_S": "5", "DISTRICAM_RECORDER__IDLE_S": "7.5"})
    assert (settings.recorder.contact_s, settings.recorder.idle_s) == (5, 7.5)
    assert settings.health.port == 9102


def test_commits_may_not_be_further_apart_than_the_contract_says():
    with pytest.raises(SettingsError, match="DISTRICAM_RECORDER__COMMIT_INTERVAL_S"):
        load(Settings, {"DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "6"})
