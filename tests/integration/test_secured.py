"""TLS, SASL and passwords on real servers; messages and exit codes when one is wrong."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from districam_devkit.pipeline import run_command
from districam_devkit.servers import Servers, valkey
from districam_devkit.services import SERVICES
from integration.conftest import running_in_thread
from integration.test_bad_input import started
from support import tls_servers
from support.tls_servers import KeyPair

PASSWORD = "a-password-that-nobody-may-see"
SecuredSettings = dict[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return tls_servers.create_ca(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: KeyPair) -> KeyPair:
    return tls_servers.certificate(authority.certificate.parent, authority, "server")


@pytest.fixture(scope="module")
def kafka_port(tmp_path_factory: pytest.TempPathFactory, pair: KeyPair, authority: KeyPair) -> Generator[int]:
    home = tmp_path_factory.mktemp("kafka")
    with running_in_thread(lambda: tls_servers.kafka_running(home, pair, authority, PASSWORD)) as port:
        yield port


@pytest_asyncio.fixture
async def secured(
    servers: Servers, authority: KeyPair, pair: KeyPair, kafka_port: int, tmp_path: Path
) -> AsyncGenerator[SecuredSettings]:
    """Settings of three servers behind TLS, each with its password in a file."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    secret = tmp_path / "secret"
    secret.write_text(servers.s3.secret_key)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(valkey.running(tmp_path / "redis", log_dir=tmp_path))
        async with Redis(port=plain.port) as client:
            await client.execute_command("CONFIG", "SET", "requirepass", PASSWORD)  # pyright: ignore[reportUnknownMemberType]
        s3_port = await stack.enter_async_context(
            tls_servers.tls_proxy(int(servers.s3.endpoint.rpartition(":")[2]), pair)
        )
        redis_port = await stack.enter_async_context(tls_servers.tls_proxy(plain.port, pair))
        ca = str(authority.certificate)
        yield {
            "DISTRICAM_KAFKA__BOOTSTRAP_SERVERS": f"localhost:{kafka_port}",
            "DISTRICAM_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "DISTRICAM_KAFKA__SASL_MECHANISM": tls_servers.MECHANISM,
            "DISTRICAM_KAFKA__SASL_USERNAME": tls_servers.USER,
            "DISTRICAM_KAFKA__SASL_PASSWORD_FILE": str(password),
            "DISTRICAM_KAFKA__CA_FILE": ca,
            "DISTRICAM_S3__ENDPOINT": f"https://localhost:{s3_port}",
            "DISTRICAM_S3__ACCESS_KEY": servers.s3.access_key,
            "DISTRICAM_S3__SECRET_KEY_FILE": str(secret),
            "DISTRICAM_S3__BUCKET": f"secured-{kafka_port}",
            "DISTRICAM_S3__CA_FILE": ca,
            "DISTRICAM_REDIS__URL": f"rediss://localhost:{redis_port}/0",
            "DISTRICAM_REDIS__PASSWORD_FILE": str(password),
            "DISTRICAM_REDIS__CA_FILE": ca,
        }


async def _prepared(secured: Mapping[str, str]) -> None:
    few = {"DISTRICAM_TOPICS__PARTITIONS": "2", "DISTRICAM_TOPICS__SMALL_PARTITIONS": "2"}
    await run_command("districam_common.admin.topics", "apply", "--wait", "30", environment={**secured, **few})
    await run_command("districam_common.admin.bucket", "apply", "--wait", "30", environment=secured)


async def _ready(service: str, secured: Mapping[str, str]) -> None:
    async with started(service, secured) as running, httpx.AsyncClient(timeout=5) as client:
        async with asyncio.timeout(60):
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{running.health_port}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                assert running.process.returncode is None
                await asyncio.sleep(0.3)


async def test_every_service_is_ready_on_servers_behind_tls_and_passwords(secured: SecuredSettings) -> None:
    await _prepared(secured)
    async with asyncio.TaskGroup() as tasks:
        for service in SERVICES:
            tasks.create_task(_ready(service, secured))


async def _refused(service: str, secured: Mapping[str, str], *words: str) -> None:
    async with started(service, secured) as running:
        code, output = await running.ended()
    assert code == 3, output
    for word in words:
        assert word in output, output
    assert PASSWORD not in output


def _wrong(tmp_path: Path) -> str:
    file = tmp_path / "wrong"
    file.write_text("wrong-wrong-wrong")
    return str(file)


async def test_a_wrong_password_is_reported_with_its_server(secured: SecuredSettings, tmp_path: Path) -> None:
    await _prepared(secured)
    wrong = _wrong(tmp_path)
    kafka, redis = secured["DISTRICAM_KAFKA__BOOTSTRAP_SERVERS"], "Redis rejected the credentials"
    await _refused("ingest", {**secured, "DISTRICAM_KAFKA__SASL_PASSWORD_FILE": wrong}, kafka, "uthentication")
    await _refused(
        "recorder",
        {**secured, "DISTRICAM_S3__SECRET_KEY_FILE": wrong},
        "SignatureDoesNotMatch",
        secured["DISTRICAM_S3__ENDPOINT"],
    )
    await _refused("api", {**secured, "DISTRICAM_REDIS__PASSWORD_FILE": wrong}, redis)


async def test_an_untrusted_certificate_is_reported_with_its_server(secured: SecuredSettings, tmp_path: Path) -> None:
    await _prepared(secured)
    other = str(tls_servers.create_ca(tmp_path, "other").certificate)
    kafka, s3 = secured["DISTRICAM_KAFKA__BOOTSTRAP_SERVERS"], secured["DISTRICAM_S3__ENDPOINT"]
    redis = secured["DISTRICAM_REDIS__URL"].removeprefix("rediss://").removesuffix("/0")
    why = "certificate is not accepted"
    await _refused("ingest", {**secured, "DISTRICAM_KAFKA__CA_FILE": other}, kafka, why)
    await _refused("recorder", {**secured, "DISTRICAM_S3__CA_FILE": other}, s3, why)
    await _refused("api", {**secured, "DISTRICAM_REDIS__CA_FILE": other}, redis, why)


async def test_an_expired_certificate_is_reported(
    secured: SecuredSettings, authority: KeyPair, servers: Servers, tmp_path: Path
) -> None:
    await _prepared(secured)
    old = tls_servers.certificate(authority.certificate.parent, authority, "old", expired=True)
    async with tls_servers.tls_proxy(int(servers.s3.endpoint.rpartition(":")[2]), old) as port:
        endpoint = f"https://localhost:{port}"
        await _refused("recorder", {**secured, "DISTRICAM_S3__ENDPOINT": endpoint}, endpoint, "certificate has expired")


async def test_a_ca_file_without_certificates_is_exit_code_2(secured: SecuredSettings, tmp_path: Path) -> None:
    secured["DISTRICAM_REDIS__CA_FILE"] = _wrong(tmp_path)
    async with started("api", secured) as running:
        code, output = await running.ended()
    assert code == 2
    assert "DISTRICAM_REDIS__CA_FILE" in output
    assert "contains no readable certificates" in output
