import pytest

from districam_devkit.servers.broker import BrokerOption, choose_broker
from districam_devkit.servers.process import ServerUnavailable


@pytest.mark.parametrize("wanted", ["kafka", "auto"])
@pytest.mark.parametrize("tansu_missing", [None, "tansu is not installed"])
def test_kafka_is_chosen_where_it_is_available(wanted: BrokerOption, tansu_missing: str | None):
    choice = choose_broker(wanted, kafka_missing=None, tansu_missing=tansu_missing)
    assert (choice.kind, choice.note) == ("kafka", "")


def test_auto_falls_back_and_reports_the_limitations():
    choice = choose_broker("auto", kafka_missing="no `mvn`", tansu_missing=None)
    assert choice.kind == "tansu"
    assert "no idempotent producer" in choice.note
    assert "does not survive a restart" in choice.note
    assert "\n" not in choice.note


def test_kafka_required_names_what_is_missing():
    with pytest.raises(ServerUnavailable, match="no `mvn`"):
        choose_broker("kafka", kafka_missing="no `mvn`", tansu_missing=None)


def test_tansu_can_be_chosen_although_kafka_is_available():
    assert choose_broker("tansu", kafka_missing=None, tansu_missing=None).kind == "tansu"


def test_without_any_broker_both_reasons_are_reported():
    with pytest.raises(ServerUnavailable, match=r"no Java.*not installed"):
        choose_broker("auto", kafka_missing="no Java.", tansu_missing="tansu is not installed")


def test_tansu_required_names_its_own_reason():
    with pytest.raises(ServerUnavailable, match=r"^tansu is not installed$"):
        choose_broker("tansu", kafka_missing="not wanted", tansu_missing="tansu is not installed")
