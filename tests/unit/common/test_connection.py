"""Connection arguments of Kafka clients, and translation of aiokafka's errors."""

import ssl

import certifi
import pytest
from aiokafka import errors as kafka
from pydantic import SecretStr

from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.kafka.connection import client_arguments, translate_error, translate_errors
from districam_common.runtime.settings import KafkaSettings


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (kafka.KafkaConnectionError("reset"), Retriable),
        (kafka.KafkaTimeoutError(), Retriable),
        (kafka.NotEnoughReplicasError(), Retriable),
        (kafka.OutOfOrderSequenceNumber(), Retriable),
        (kafka.CommitFailedError(), Retriable),
        (kafka.IllegalStateError("not assigned"), Retriable),
        (kafka.UnknownTopicOrPartitionError(), Retriable),
        (kafka.MessageSizeTooLargeError(), Rejected),
        (kafka.OffsetMetadataTooLargeError(), Rejected),
        (kafka.AuthenticationFailedError("wrong password"), Fatal),
        (kafka.TopicAuthorizationFailedError("districam.cameras.v1"), Retriable),
        (kafka.GroupAuthorizationFailedError("districam-recorder"), Retriable),
        (kafka.ClusterAuthorizationFailedError(), Retriable),
    ],
)
def test_each_aiokafka_error_is_translated_by_who_must_act(error: kafka.KafkaError, kind: type[DistricamError]) -> None:
    ours = translate_error(error, "publishing to x")
    assert type(ours) is kind
    assert str(ours).startswith(f"publishing to x: {type(error).__name__}")


@pytest.mark.parametrize("error", [TimeoutError(), OSError("unreachable"), kafka.IllegalOperation("x")])
def test_sockets_and_deadlines_are_retriable(error: Exception) -> None:
    with pytest.raises(Retriable, match="reading: ") as caught, translate_errors("reading"):
        raise error
    assert caught.value.__cause__ is error


def test_a_missing_permission_refers_to_acls() -> None:
    assert "ACL" in str(translate_error(kafka.TopicAuthorizationFailedError("districam.cameras.v1"), "reading"))


def test_a_missing_topic_refers_to_districam_topics() -> None:
    assert "districam-topics apply" in str(translate_error(kafka.UnknownTopicOrPartitionError(), "x"))


def test_plaintext_connections_have_no_credentials() -> None:
    given = client_arguments(KafkaSettings(request_timeout_s=2.5), "tests")
    assert given["request_timeout_ms"] == 2500
    assert given["ssl_context"] is None
    assert not any(name.startswith("sasl") for name in given)


def test_tls_and_sasl_settings_are_passed_to_the_client() -> None:
    settings = KafkaSettings.model_validate(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "districam",
            "sasl_password": SecretStr("s3cret"),
            "ca_file": certifi.where(),
        }
    )
    given = client_arguments(settings, "tests")
    context = given["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert (given["sasl_mechanism"], given["sasl_plain_username"]) == ("SCRAM-SHA-512", "districam")
    assert given["sasl_plain_password"] == "s3cret"
