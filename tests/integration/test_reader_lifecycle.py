"""Opening, silence and leaving with both RTSP readers."""

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from districam_common.runtime.credentials import Credential
from districam_devkit.simcam import CameraBehavior, Credentials, Fault, SimCamera, read_send_log, running
from districam_ingest.readers.libav_reader import is_listening
from districam_ingest.readers.reader import ReadError
from districam_ingest.units import Picture
from support.readers import (
    LARGE,
    READERS,
    SMALL,
    StreamRecording,
    are_consecutive,
    libav_threads,
    make_reader,
    open_error,
    open_source,
    read,
    running_numbers,
)
from support.wait_until import wait_until

pytestmark = pytest.mark.timeout(60)

PASSWORD = "hush/w:o@rd#1"


@pytest.fixture(params=READERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None]:
    yield
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s and libav_threads():
        time.sleep(0.02)
    assert not libav_threads()


async def test_a_stream_opens_with_its_first_packet(name: str):
    took_s: list[float] = []
    async with running([SimCamera("cam", SMALL)]) as simulation:
        for _ in range(3):
            began_s = time.monotonic()
            async with open_source(make_reader(name), simulation.url("cam")) as source:
                await source.read()
                took_s.append(time.monotonic() - began_s)
    assert min(took_s) < 0.5


OWNER = Credentials("admin", PASSWORD)
SCHEMES = {
    "either": OWNER,
    "basic": replace(OWNER, schemes=("basic",)),
    "digest": replace(OWNER, schemes=("digest",)),
    "digest without qop": replace(OWNER, schemes=("digest",), qop=False),
    "SHA-256": replace(OWNER, schemes=("digest",), algorithm="SHA-256"),
    "SHA-256 without qop": replace(OWNER, schemes=("digest",), algorithm="SHA-256", qop=False),
}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_only_the_right_password_opens_a_camera_and_no_error_shows_one(
    scheme: str, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    right = Credential("admin", PASSWORD)
    wrong = (None, Credential("admin", PASSWORD + "x"), Credential("other", PASSWORD))
    async with running([SimCamera("cam", SMALL)], credentials=SCHEMES[scheme]) as simulation:
        reader, url = make_reader(name), simulation.url("cam")
        errors = [await open_error(reader, url, credential=credential) for credential in wrong]
        if name == "ffmpeg" and "SHA-256" in scheme:  # libavformat supports MD5 only
            errors.append(await open_error(reader, url, credential=right))
        else:
            async with open_source(reader, url, credential=right) as source:
                assert await source.read()
            assert (await open_error(reader, f"{url}x", credential=right)).cause == "not_found"
    assert {error.cause for error in errors} == {"auth_failed"}
    texts = [text for e in errors for text in (str(e), repr(e.__cause__), repr(e.__context__))]
    assert not any("hush" in text for text in [*texts, caplog.text, *capfd.readouterr()])


async def test_an_unknown_path_is_not_found(name: str):
    async with running([SimCamera("cam", SMALL)]) as simulation:
        assert (await open_error(make_reader(name), simulation.url("cam") + "x")).cause == "not_found"


async def test_a_closed_port_is_unreachable(name: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/x"
    assert not is_listening(url)
    assert not is_listening("rtsp://127.0.0.1:port/x")
    error = await open_error(make_reader(name), url, credential=Credential("u", PASSWORD))
    assert error.cause == "camera_unreachable"
    assert "hush" not in str(error)


async def test_a_server_that_accepts_and_does_not_answer_is_silent(name: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        assert (await open_error(make_reader(name, open_s=0.5), url)).cause == "source_silent"


async def test_cancelling_an_open_returns_at_once(name: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        began_s = time.monotonic()
        opening = make_reader(name, open_s=1).open(url, None, transport="tcp")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(opening.__aenter__(), 0.2)
        assert time.monotonic() - began_s < 0.5


async def test_a_camera_that_answers_byte_by_byte_times_out(name: str):
    async with running([SimCamera("cam", SMALL)]) as simulation:
        simulation.inject(Fault("drip", "cam", 0, 60))
        began_s = time.monotonic()
        error = await open_error(make_reader(name, open_s=1.5, read_s=3), simulation.url("cam"))
    assert time.monotonic() - began_s < 8
    assert error.cause in {"source_silent", "camera_unreachable"}


async def test_a_single_client_camera_refuses_the_second_and_keeps_the_first(name: str):
    camera = SimCamera("cam", SMALL, behavior=CameraBehavior(clients_most=1))
    async with running([camera]) as simulation, open_source(make_reader(name), simulation.url("cam")) as source:
        pictures = await read(source, count=5)
        assert (await open_error(make_reader(name), simulation.url("cam"))).cause == "camera_unreachable"
        pictures += await read(source, count=20)
    assert are_consecutive(running_numbers("h264", pictures))


async def test_a_stream_is_open_before_the_camera_sends(name: str):
    async with running([SimCamera("cam", SMALL)]) as simulation:
        simulation.silence("cam", 1.2)
        async with open_source(make_reader(name, open_s=0.5), simulation.url("cam")) as source:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(source.read(), 0.5)
            pictures = await read(source, seconds=0.5)
    assert are_consecutive(running_numbers("h264", pictures))


async def test_a_stream_continues_after_a_silence_within_the_limit(name: str):
    async with (
        running([SimCamera("cam", SMALL)]) as simulation,
        open_source(make_reader(name), simulation.url("cam")) as source,
    ):
        pictures = await read(source, seconds=0.5)
        simulation.silence("cam", 1)
        with contextlib.suppress(TimeoutError):
            while len(pictures) < 50:
                pictures += await asyncio.wait_for(source.read(), 0.5)
        pictures += await read(source, seconds=0.2)
    found = running_numbers("h264", pictures)
    holes = [b - a for a, b in itertools.pairwise(found) if a + 1 != b]
    assert len(holes) == 1
    assert 20 < holes[0] < 33


async def test_a_silence_beyond_the_readers_own_limit_ends_the_stream(name: str):
    async with running([SimCamera("cam", SMALL)]) as simulation:
        watch = StreamRecording()
        watching = asyncio.create_task(watch.run(make_reader(name, read_s=0.6), simulation.url("cam")))
        await wait_until(lambda: watch.has(count=5))
        simulation.silence("cam", 30)
        await wait_until(lambda: watch.error is not None, within_s=5)
        watching.cancel()
    assert watch.error
    assert watch.error.cause == "source_silent"


async def test_leaving_is_immediate_and_closes_the_connection(name: str):
    async with running([SimCamera("cam", SMALL)]) as simulation:
        for is_silent in (False, True):
            async with open_source(make_reader(name, read_s=1), simulation.url("cam")) as source:
                await source.read()
                assert len(simulation.connections("cam")) == 1
                if is_silent:
                    simulation.silence("cam", 2)
                    await asyncio.sleep(0.1)
                began_s = time.monotonic()
            assert time.monotonic() - began_s < 0.1
            assert await wait_until(lambda: not simulation.connections("cam"), within_s=5)


async def test_leaving_returns_everything_received(name: str, tmp_path: Path):
    """Also data that arrived while nothing was read, as after a suspension; incomplete pictures are left out.

    libavformat returns a picture once the next one has started.
    """
    log = tmp_path / "sent"

    def last_sent() -> int:
        return max(one.number for one in read_send_log(log))

    async with (
        running([SimCamera("cam", LARGE)], log=log) as simulation,
        open_source(make_reader(name), simulation.url("cam")) as source,
    ):
        pictures = await read(source, seconds=1)
        await asyncio.sleep(0.5)
        received_number = last_sent()
        pictures += source.read_remaining()
        assert source.read_remaining() == []
        await asyncio.sleep(0.2)  # a picture is logged once it has left
        last_number = last_sent()
    found = running_numbers("h264", pictures)
    assert are_consecutive(found)
    assert received_number - {"native": 0, "ffmpeg": 3}[name] <= found[-1] <= last_number
    assert {(one.lost_packets, one.is_damaged) for one in pictures} == {(0, False)}


async def test_leaving_an_ended_native_stream_returns_its_last_pictures_once():
    async with (
        running([SimCamera("cam", SMALL)]) as simulation,
        open_source(make_reader(), simulation.url("cam")) as source,
    ):
        pictures = await read(source, seconds=0.5)
        assert simulation.drop("cam") == 1
        await asyncio.sleep(0.1)
        pictures += source.read_remaining()
        assert source.read_remaining() == []
        with pytest.raises(ReadError, match="camera_unreachable"):
            await source.read()
    assert are_consecutive(running_numbers("h264", pictures))


async def test_native_arrivals_are_exact_at_the_start_of_the_next_epoch():
    async with (
        running([SimCamera("cam", SMALL)]) as simulation,
        open_source(make_reader(), simulation.url("cam")) as source,
    ):
        await read(source, seconds=3)
        usual = await read(source, seconds=1.2)
        source.use_precise_arrival()
        close = await read(source, seconds=1.2)
    assert between_us(usual) > 70_000
    assert between_us(close) < 60_000  # 25 per second: each arrives separately


def between_us(pictures: list[Picture]) -> float:
    """The median interval of arrivals."""
    arrivals = sorted({picture.arrival_us for picture in pictures})
    return median(after - before for before, after in itertools.pairwise(arrivals))
