"""Servers with TLS and passwords: a test CA, Kafka with SASL_SSL and SCRAM, and a TLS proxy for any server."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from districam_devkit.servers import kafka, ports, process
from districam_devkit.servers.process import ProcessSpec

USER, MECHANISM = "districam", "SCRAM-SHA-512"


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


def create_ca(folder: Path, name: str = "authority") -> KeyPair:
    """Creates a certificate authority."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-keyout", pair.key, "-out", pair.certificate),
    )
    return pair


def certificate(folder: Path, signer: KeyPair, name: str, *, expired: bool = False) -> KeyPair:
    """Creates a certificate for localhost; `expired`: its validity ended long ago."""
    pair, request, extra = (
        KeyPair(folder / f"{name}.crt", folder / f"{name}.key"),
        folder / f"{name}.csr",
        folder / "ext",
    )
    extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", pair.key, "-out", request)
    words: tuple[str | Path, ...] = ("x509", "-req", "-in", request, "-CA", signer.certificate, "-CAkey", signer.key)
    # Debian 12's openssl accepts no dates: a negative validity makes an expired certificate.
    _openssl(*words, "-CAcreateserial", "-extfile", extra, "-days", "-1" if expired else "2", "-out", pair.certificate)
    return pair


@asynccontextmanager
async def tls_proxy(port: int, pair: KeyPair) -> AsyncGenerator[int]:
    """TLS in front of the server on this port; yields the TLS port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, ours = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pipe(reader, ours))
            tasks.create_task(pipe(upstream_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def kafka_running(home: Path, pair: KeyPair, signer: KeyPair, password: str) -> AsyncGenerator[int]:
    """Kafka that accepts only TLS with this user's SCRAM password; yields its port."""
    found = await kafka.find_installation(lambda _name, _state: None)
    port, controller_port = ports.pick_free_ports(2)
    home.mkdir(parents=True, exist_ok=True)
    keystore = home / "server.pem"
    keystore.write_text(pair.key.read_text() + pair.certificate.read_text())
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    settings = {
        **kafka.broker_properties(home / "data", port, controller_port),
        "listeners": f"SAFE://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"SAFE://localhost:{port}",
        "listener.security.protocol.map": "SAFE:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SAFE",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "listener.name.safe.scram-sha-512.sasl.jaas.config": f'{login} username="{USER}" password="{password}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(signer.certificate),
    }
    config = home / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    scram = f"{MECHANISM}=[name={USER},password={password}]"
    words = ("format", "--cluster-id=AAAAAAAAAAAAAAAAAAAAAA", "-c", str(config), "--add-scram", scram)
    formatted = await asyncio.create_subprocess_exec(
        *found.command("kafka.tools.StorageTool", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await formatted.communicate()
    assert formatted.returncode == 0, output.decode()
    program = ProcessSpec(
        name="kafka",
        argv=found.command("kafka.Kafka", str(config)),
        folder=home,
        log_path=home / "kafka.log",
        is_ready=lambda: _listens(port),
    )
    async with process.running(program):
        yield port


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True
