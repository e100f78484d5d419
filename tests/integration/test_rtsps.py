"""`rtsps`: encrypted, with any certificate by default, or only those of a configured CA."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from districam_common.runtime.clock import SystemClock
from districam_devkit.simcam import Credentials, SimCamera, certificate, running
from districam_ingest.readers.connection import load_ca_context
from districam_ingest.readers.libav_reader import LibavReader
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.readers.reader import Reader
from districam_ingest.settings import IngestSettings
from support.readers import SMALL, open_error, open_source, read

pytestmark = pytest.mark.timeout(60)

HOST = "127.0.0.1"
CAMERAS = [SimCamera("cam", SMALL)]


def native(ca_file: Path | None) -> Reader:
    trusted = load_ca_context(ca_file) if ca_file else None
    return NativeReader(SystemClock(), open_s=5, read_s=7, tls_context=trusted)


def ffmpeg(ca_file: Path | None) -> Reader:
    return LibavReader(SystemClock(), open_s=5, read_s=7, ca_file=ca_file)


READERS: dict[str, Callable[[Path | None], Reader]] = {"native": native, "ffmpeg": ffmpeg}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate.create_self_signed(tmp_path_factory.mktemp("camera"), HOST)


@pytest.mark.parametrize("name", READERS)
async def test_pictures_are_read_over_tls(name: str, certified: Path):
    async with running(CAMERAS, certificate_path=certified) as simulation:
        for ca_file in (None, certified):
            async with open_source(READERS[name](ca_file), simulation.secure_url("cam")) as source:
                assert len(await read(source, count=10)) >= 10


@pytest.mark.parametrize("name", READERS)
async def test_a_certificate_of_an_unknown_authority_is_refused(name: str, certified: Path, tmp_path: Path):
    other = certificate.create_self_signed(tmp_path, HOST)
    async with running(CAMERAS, certificate_path=other) as simulation:
        error = await open_error(READERS[name](certified), simulation.secure_url("cam"))
    assert error.cause == "camera_unreachable"


async def test_a_certificate_of_another_host_is_refused_with_the_reason(tmp_path: Path):
    certified = certificate.create_self_signed(tmp_path, "127.0.0.9")
    async with running(CAMERAS, certificate_path=certified) as simulation:
        error = await open_error(native(certified), simulation.secure_url("cam"))
    assert error.cause == "camera_unreachable"
    assert "certificate" in str(error)


async def test_the_password_is_sent_over_tls_only(certified: Path):
    """The wire has neither the camera's path nor a response in clear text."""
    heard = bytearray()
    async with running(CAMERAS, certificate_path=certified, credentials=Credentials("u", "p")) as simulation:

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other, there = await asyncio.open_connection(HOST, simulation.secure_port)

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(1 << 16):
                    heard.extend(data)
                    sink.write(data)
                sink.close()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(copy(reader, there))
                tasks.create_task(copy(other, writer))

        server = await asyncio.start_server(pass_on, HOST, 0)
        async with server:
            url = f"rtsps://{HOST}:{server.sockets[0].getsockname()[1]}/cam"
            error = await open_error(native(None), url)
    assert error.cause == "auth_failed"
    assert len(heard) > 1000
    assert b"RTSP" not in heard
    assert b"cam" not in heard


async def test_udp_is_refused_because_it_would_not_be_encrypted(certified: Path):
    async with running(CAMERAS, certificate_path=certified) as simulation:
        error = await open_error(native(None), simulation.secure_url("cam"), transport="udp")
    assert "unencrypted" in str(error)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_refused_by_name(content: str | None, tmp_path: Path):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"rtsps_ca_file(.|\n)*ca\.pem contains no readable certificates"):
        IngestSettings(rtsps_ca_file=file)
