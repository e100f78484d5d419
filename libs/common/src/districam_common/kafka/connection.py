"""Connection arguments, error translation and closing, for all Kafka clients."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn

from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.runtime import tls
from districam_common.runtime.settings import KafkaSettings, read_secret

CLOSE_TIMEOUT_S = 5.0
"""aiokafka's clients wait for the broker when they close; it may be unavailable."""
_CONNECTION_ARGUMENTS = {
    *("client_id", "request_timeout_ms", "ssl_context", "security_protocol"),
    *("sasl_mechanism", "sasl_plain_username", "sasl_plain_password"),
}
"""Arguments of `client_arguments` that `create_conn` takes as well."""

_FATAL = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.SecurityDisabled,
    kafka.InvalidSessionTimeoutError,
    kafka.IncompatibleBrokerVersion,
    kafka.UnrecognizedBrokerVersion,
)
"""Wrong credentials, protocol, version or settings: repeating cannot help."""
_AUTHORIZATION_ERRORS = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
)
"""Retriable: ACLs change while brokers run, and a process that exits because of one loses the data in its memory."""
_REJECTED = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.OffsetMetadataTooLargeError,
    kafka.InvalidCommitOffsetSizeError,
    kafka.InvalidTopicError,
    kafka.InvalidTimestampError,
    kafka.PolicyViolationError,
)
"""Errors of this record or request itself."""


def translate_error(error: kafka.KafkaError, what: str) -> DistricamError:
    """Maps an aiokafka error to Fatal, Rejected or (all others) Retriable; `what` was being done."""
    message = f"{what}: {type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, _FATAL):
        return Fatal(message)
    if isinstance(error, _REJECTED):
        return Rejected(message)
    if isinstance(error, _AUTHORIZATION_ERRORS):
        return Retriable(f"{message} (the broker's ACLs deny it: grant the permission, or set another user)")
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        return Retriable(f"{message} (does the topic exist? Run districam-topics apply)")
    return Retriable(message)


@contextmanager
def translate_errors(what: str) -> Generator[None]:
    """Within the block, translates aiokafka's errors and timeouts; `what` was being done."""
    try:
        yield
    except kafka.KafkaError as error:
        raise translate_error(error, what) from error
    except kafka.IllegalOperation as error:
        raise Retriable(f"{what}: {error}") from error
    except (TimeoutError, OSError) as error:
        raise Retriable(f"{what}: {str(error) or 'no answer in time'}") from error


def client_arguments(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Keyword arguments common to all aiokafka clients: servers, timeouts, TLS and SASL."""
    has_tls = settings.security_protocol in {"SSL", "SASL_SSL"}
    common: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": client_id,
        "request_timeout_ms": int(settings.request_timeout_s * 1000),
        "metadata_max_age_ms": 60_000,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl.create_default_context(cafile=settings.ca_file) if has_tls else None,
    }
    if settings.security_protocol.startswith("SASL"):
        common |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": read_secret(settings.sasl_password, settings.sasl_password_file),
        }
    return common


@asynccontextmanager
async def open_admin_client(settings: KafkaSettings, client_id: str) -> AsyncGenerator[AIOKafkaAdminClient]:
    """A started admin client for the duration of the block.

    Raises:
        Retriable: the broker cannot be reached.
        Fatal: authentication failed, or the server's certificate is not accepted.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings, client_id))
    try:
        try:
            with translate_errors(f"connecting to Kafka at {settings.bootstrap_servers}"):
                async with asyncio.timeout(settings.request_timeout_s):
                    await admin.start()
        except Retriable:
            await require_access(settings, client_id)
            raise
        yield admin
    finally:
        await close_within_timeout(admin.close())


async def require_access(settings: KafkaSettings, client_id: str) -> None:
    """Connects to each bootstrap server again to find out why none was reachable, which aiokafka's error does not say.

    Raises:
        Fatal: a server rejected the authentication, or its certificate is not accepted.
    """
    if settings.security_protocol == "PLAINTEXT":
        return
    given = client_arguments(settings, client_id)
    wanted = {key: value for key, value in given.items() if key in _CONNECTION_ARGUMENTS}
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                connection = await create_conn(host, int(port), **wanted)
        except _FATAL as error:
            raise Fatal(f"Kafka at {server.strip()} rejected the authentication: {error}") from error
        except (kafka.KafkaError, OSError, ValueError) as error:
            if why := tls.certificate_error(error):
                raise Fatal(f"connecting to Kafka at {server.strip()}: {why}") from error
            continue
        connection.close()


async def close_within_timeout(closing: Awaitable[object]) -> bool:
    """Awaits the closing of a client for up to `CLOSE_TIMEOUT_S`; False if it timed out or failed."""
    task = asyncio.current_task()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await closing
    except asyncio.CancelledError:
        if task is not None and task.cancelling():
            raise
        return False  # we are not being cancelled: aiokafka leaks the CancelledError of its own tasks
    except (TimeoutError, kafka.KafkaError, OSError):
        return False
    return True
