"""`rtsps`: encrypted, any certificate by default, and only those of a given authority if there is one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from districam_common.clock import SystemClock
from districam_devkit.simcam import Credentials, Generated, SimCamera, certificate, running
from districam_ingest.connection import authority
from districam_ingest.libav_reader import LibavReader
from districam_ingest.native_reader import NativeReader
from districam_ingest.reading import Reader, ReadError
from districam_ingest.settings import IngestSettings

pytestmark = pytest.mark.timeout(60)

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000)
HOST = "127.0.0.1"


def native(ca_file: Path | None) -> Reader:
    trusted = authority(ca_file) if ca_file else None
    return NativeReader(SystemClock(), open_s=5, read_s=7, authority=trusted)


def ffmpeg(ca_file: Path | None) -> Reader:
    return LibavReader(SystemClock(), open_s=5, read_s=7, ca_file=ca_file)


READERS: dict[str, Callable[[Path | None], Reader]] = {"native": native, "ffmpeg": ffmpeg}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


async def seen(reader: Reader, url: str, *, transport: str = "tcp") -> int:
    count = 0
    async with asyncio.timeout(20), reader.open(url, None, transport=transport) as source:
        while count < 20:
            count += len(await source.read())
    return count


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("verifies", [False, True])
async def test_pictures_come_through_tls(name: str, *, verifies: bool, cache: Path, tmp_path: Path):
    certified = certificate.make(tmp_path, HOST)
    async with running([SimCamera("cam", SMALL)], cache=cache, certified=certified) as simulation:
        reader = READERS[name](certified if verifies else None)
        assert await seen(reader, simulation.secure_url("cam")) >= 20


@pytest.mark.parametrize("name", READERS)
async def test_a_certificate_of_nobody_we_trust_is_refused(name: str, cache: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    ours, theirs = certificate.make(tmp_path, HOST), certificate.make(tmp_path / "other", HOST)
    async with running([SimCamera("cam", SMALL)], cache=cache, certified=theirs) as simulation:
        with pytest.raises(ReadError) as raised:
            await seen(READERS[name](ours), simulation.secure_url("cam"))
    assert raised.value.cause == "camera_unreachable"


async def test_a_certificate_of_another_host_is_refused_with_the_reason(cache: Path, tmp_path: Path):
    certified = certificate.make(tmp_path, "127.0.0.9")
    async with running([SimCamera("cam", SMALL)], cache=cache, certified=certified) as simulation:
        with pytest.raises(ReadError, match="certificate") as raised:
            await seen(native(certified), simulation.secure_url("cam"))
    assert raised.value.cause == "camera_unreachable"


async def test_the_password_goes_through_tls_alone(cache: Path, tmp_path: Path):
    """Whoever listens to the wire hears neither the camera's path nor a response."""
    certified = certificate.make(tmp_path, HOST)
    heard = bytearray()
    async with running(
        [SimCamera("cam", SMALL)], cache=cache, certified=certified, credentials=Credentials("u", "p")
    ) as simulation:

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
            with pytest.raises(ReadError) as raised:
                await seen(native(None), url)
    assert raised.value.cause == "auth_failed"
    assert len(heard) > 1000
    assert b"RTSP" not in heard
    assert b"cam" not in heard


async def test_udp_would_give_away_what_rtsps_keeps(cache: Path, tmp_path: Path):
    certified = certificate.make(tmp_path, HOST)
    async with running([SimCamera("cam", SMALL)], cache=cache, certified=certified) as simulation:
        with pytest.raises(ReadError, match="in clear"):
            await seen(native(None), simulation.secure_url("cam"), transport="udp")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_refused_by_name(content: str | None, tmp_path: Path):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"rtsps_ca_file(.|\n)*ca\.pem holds no readable certificates"):
        IngestSettings(rtsps_ca_file=file)
