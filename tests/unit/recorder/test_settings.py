import pytest

from districam_common.runtime.settings import SettingsError, load
from districam_recorder.settings import Settings


def test_settings_are_read_from_the_environment():
    settings = load(Settings, {"DISTRICAM_RECORDER__CONTACT_S": "5", "DISTRICAM_RECORDER__IDLE_S": "7.5"})
    assert (settings.recorder.contact_s, settings.recorder.idle_s) == (5, 7.5)
    assert settings.health.port == 9102


def test_commit_interval_s_is_limited_to_the_contracts_five_seconds():
    with pytest.raises(SettingsError, match="DISTRICAM_RECORDER__COMMIT_INTERVAL_S"):
        load(Settings, {"DISTRICAM_RECORDER__COMMIT_INTERVAL_S": "6"})
