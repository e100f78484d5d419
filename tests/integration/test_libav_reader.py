"""The ffmpeg reader on simulated cameras: every picture that was sent is read, and failures have their right names."""

import asyncio
import contextlib
import itertools
import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from districam_common.clock import SystemClock
from districam_common.credentials import Credential
from districam_devkit.bitstream import read_running_number
from districam_devkit.simcam import (
    Credentials,
    Footage,
    Generated,
    Sent,
    SimCamera,
    Simulation,
    read_send_log,
    running,
)
from districam_devkit.simcam.clips import ClipSource
from districam_ingest.core.units import Picture
from districam_ingest.libav_reader import LibavReader, LibavSource, answers
from districam_ingest.reading import ReadError

pytestmark = pytest.mark.timeout(60)

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000)
SOURCES: dict[str, ClipSource] = {
    "h264": SMALL,
    "h264-b": Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2),
    "hevc": Generated("hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000),
    "hevc-b": Generated("hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2),
    "large": Generated(width=1280, height=720, seconds=2, gop_s=0.8, bitrate=4_000_000),
    "bikes": Footage("bikes"),
}
PASSWORD = "pass/w:o@rd#1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and libav_threads():
        time.sleep(0.02)
    assert not libav_threads()


def libav_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "libav"]


def reader(*, open_s: float = 10, read_s: float = 12) -> LibavReader:
    return LibavReader(SystemClock(), open_s=open_s, read_s=read_s)


@asynccontextmanager
async def opened(
    url: str, *, credential: Credential | None = None, open_s: float = 10, read_s: float = 12
) -> AsyncGenerator[LibavSource]:
    opening = reader(open_s=open_s, read_s=read_s).open(url, credential, transport="tcp")
    async with asyncio.timeout(30), opening as source:
        yield source


async def read_until(source: LibavSource, enough: Callable[[list[Picture]], bool]) -> list[Picture]:
    pictures: list[Picture] = []
    async with asyncio.timeout(15):
        while not enough(pictures):
            pictures += await source.read()
    return pictures


async def read_to_end(source: LibavSource, pictures: list[Picture]) -> ReadError:
    async with asyncio.timeout(15):
        while True:
            try:
                pictures += await source.read()
            except ReadError as error:
                return error


def numbers(source: LibavSource, pictures: list[Picture]) -> list[int]:
    found = [read_running_number(source.info.codec, picture.nals) for picture in pictures]
    assert all(found)
    return [one.number for one in found if one]


def seconds(least: float) -> Callable[[list[Picture]], bool]:
    return lambda pictures: bool(pictures) and (pictures[-1].pts - pictures[0].pts) >= least * 90_000


@pytest.mark.parametrize("start_at_keyframe", [False, True])
@pytest.mark.parametrize("name", SOURCES)
async def test_every_picture_that_was_sent_is_read_the_first_and_the_last_too(
    name: str, *, start_at_keyframe: bool, cache: Path, tmp_path: Path
):
    log = tmp_path / "sent"
    camera = SimCamera(name, SOURCES[name], start_at_keyframe=start_at_keyframe)
    pictures: list[Picture] = []
    async with asyncio.TaskGroup() as tasks:
        stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def simulate() -> None:
            async with running([camera], log=log, cache=cache) as simulation:
                started.set_result(simulation.url(name))
                await stop.wait()

        tasks.create_task(simulate())
        async with opened(await started) as source:
            pictures += await read_until(source, seconds(1.5))
            stop.set()
            error = await read_to_end(source, pictures)
    assert error.cause == "camera_unreachable"
    sent: list[Sent] = read_send_log(log)
    assert numbers(source, pictures) == [one.number for one in sent]
    assert source.info.sets


async def test_times_are_the_cameras_own_and_arrivals_are_near_the_sending(cache: Path, tmp_path: Path):
    log = tmp_path / "sent"
    async with (
        running([SimCamera("cam", SOURCES["h264-b"])], log=log, cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        clock = SystemClock()
        offset_us = clock.now_us() - clock.monotonic_us()
        pictures = await read_until(source, seconds(3))
    sent_us = {one.number: one.sent_us for one in read_send_log(log)}
    read = list(zip(numbers(source, pictures), pictures, strict=True))
    shown = sorted(picture.pts for picture in pictures)[3:-3]  # cut amid reordering, the edges miss some
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {3600}
    late_us = sorted(picture.arrival_us + offset_us - sent_us[number] for number, picture in read)
    assert late_us[0] > -5_000
    assert late_us[len(late_us) // 2] < 20_000
    told = [picture.camera_us - sent_us[n] for n, picture in read if picture.camera_us is not None]
    assert told
    assert max(map(abs, told)) < 500_000


async def test_a_stream_opens_with_its_first_packet(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        took: list[float] = []
        for _ in range(3):
            began = time.monotonic()
            async with opened(simulation.url("cam")) as source:
                await source.read()
                took.append(time.monotonic() - began)
    assert min(took) < 0.5


@pytest.mark.parametrize(
    ("credential", "cause"),
    [
        (Credential("admin", PASSWORD), None),
        (Credential("admin", PASSWORD + "x"), "auth_failed"),
        (None, "auth_failed"),
    ],
)
async def test_the_password_decides(
    credential: Credential | None,
    cause: str | None,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.DEBUG)
    credentials = Credentials("admin", PASSWORD)
    async with running([SimCamera("cam", SMALL)], cache=cache, credentials=credentials) as simulation:
        if cause is None:
            async with opened(simulation.url("cam"), credential=credential) as source:
                assert await source.read()
            return
        error = await refusal(simulation.url("cam"), credential=credential)
    assert error.cause == cause
    out, err = capfd.readouterr()
    for text in (
        str(error),
        error.detail,
        repr(error.__cause__),
        repr(error.__context__),
        caplog.text,
        out,
        err,
    ):
        assert "pass" not in text.lower().replace("password_decides", "")


async def refusal(url: str, *, credential: Credential | None = None, open_s: float = 10) -> ReadError:
    with pytest.raises(ReadError) as raised:
        async with opened(url, credential=credential, open_s=open_s):
            pass
    return raised.value


async def test_an_unknown_path_is_not_found(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        error = await refusal(simulation.url("cam") + "x")
    assert error.cause == "not_found"


async def test_nobody_listening_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not answers(f"rtsp://127.0.0.1:{port}/x")
    assert not answers("rtsp://127.0.0.1:port/x")
    error = await refusal(f"rtsp://127.0.0.1:{port}/x", credential=Credential("u", PASSWORD))
    assert error.cause == "camera_unreachable"
    assert "pass" not in str(error)


async def test_who_listens_and_says_nothing_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = await refusal(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x", open_s=0.5)
    assert error.cause == "source_silent"


async def test_who_plays_and_sends_nothing_is_open_and_is_read_once_it_sends(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        simulation.silence("cam", 2)
        async with opened(simulation.url("cam"), open_s=0.5) as source:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(source.read(), 0.5)
            pictures = await read_until(source, seconds(0.5))
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))


async def test_silence_is_the_callers_to_judge_and_then_the_stream_goes_on(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_until(source, seconds(0.5))
        simulation.silence("cam", 1.5)
        with contextlib.suppress(TimeoutError):
            while len(pictures) < 50:
                pictures += await asyncio.wait_for(source.read(), 0.5)
        pictures += await read_until(source, seconds(0.2))
    read = numbers(source, pictures)
    holes = [later - earlier for earlier, later in itertools.pairwise(read) if later != earlier + 1]
    assert len(holes) == 1
    assert 30 < holes[0] < 45


async def test_a_silence_beyond_the_readers_own_limit_ends_the_stream(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam"), read_s=0.6) as source,
    ):
        simulation.silence("cam", 30)
        error = await read_to_end(source, [])
    assert error.cause == "source_silent"


async def test_a_dropped_connection_ends_the_stream_behind_its_last_picture(cache: Path, tmp_path: Path):
    log = tmp_path / "sent"
    async with (
        running([SimCamera("cam", SMALL)], log=log, cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_until(source, seconds(0.5))
        assert simulation.drop("cam") == 1
        error = await read_to_end(source, pictures)
        assert error.cause == "camera_unreachable"
        with pytest.raises(ReadError):
            await source.read()
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))
    sent = [one.number for one in read_send_log(log)]
    assert read[0] == sent[0]
    assert 0 <= read[-1] - sent[-1] <= 1  # one may have been cut off in the middle


async def test_who_leaves_gets_all_that_libavformat_had_given_out(cache: Path, tmp_path: Path):
    """It gives a picture out once the next one has begun."""
    log = tmp_path / "sent"
    camera = SimCamera("cam", SMALL)
    async with running([camera], log=log, cache=cache) as simulation, opened(simulation.url("cam")) as source:
        pictures = await read_until(source, seconds(0.5))
        await asyncio.sleep(0.5)
        pictures += source.rest()
        had_come = max(one.number for one in read_send_log(log))
        assert source.rest() == []
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))
    assert had_come - 3 <= read[-1] <= had_come


async def test_leaving_is_at_once_whatever_the_camera_does(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        for quiet in (False, True):
            async with opened(simulation.url("cam"), read_s=1) as source:
                await source.read()
                if quiet:
                    simulation.silence("cam", 2)
                    await asyncio.sleep(0.1)
                began = time.monotonic()
            assert time.monotonic() - began < 0.1


async def test_a_caller_that_gives_up_while_opening_leaves_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        opening = reader(open_s=1).open(
            f"rtsp://127.0.0.1:{server.getsockname()[1]}/x", None, transport="tcp"
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(opening.__aenter__(), 0.2)
        assert time.monotonic() - began < 0.5


async def test_many_streams_at_once(cache: Path, tmp_path: Path):
    log = tmp_path / "sent"
    cameras = [
        SimCamera(f"cam-{n:02}", Generated(width=160, height=96, seconds=2, label="x", bitrate=150_000))
        for n in range(20)
    ]
    found: dict[str, list[int]] = {}

    async def one(simulation: Simulation, camera_id: str) -> None:
        async with opened(simulation.url(camera_id)) as source:
            found[camera_id] = numbers(source, await read_until(source, seconds(2)))

    async with running(cameras, log=log, cache=cache) as simulation, asyncio.TaskGroup() as tasks:
        for camera in cameras:
            tasks.create_task(one(simulation, camera.camera_id))
    sent = read_send_log(log)
    for camera_id, read in found.items():
        assert read == [s.number for s in sent if s.camera_id == camera_id][: len(read)]
