"""The native reader on simulated cameras: what libavformat reads, it reads too, byte for byte; failures have their right names."""

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median

import pytest

from districam_common.clock import SystemClock
from districam_common.credentials import Credential
from districam_devkit.bitstream import read_running_number
from districam_devkit.simcam import (
    Credentials,
    Footage,
    Generated,
    SimCamera,
    Simulation,
    read_send_log,
    running,
)
from districam_devkit.simcam.clips import ClipSource
from districam_ingest.core.units import Picture
from districam_ingest.libav_reader import LibavReader
from districam_ingest.native_reader import NativeReader, NotForThisReaderError
from districam_ingest.reading import ReadError, Source

pytestmark = pytest.mark.timeout(60)

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000)
SOURCES: dict[str, ClipSource] = {
    "h264": SMALL,
    "h264-b": Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2),
    "hevc": Generated("hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000),
    "hevc-b": Generated("hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2),
    "large": Generated(width=1280, height=720, seconds=2, gop_s=0.8, bitrate=4_000_000),
    "bikes": Footage("bikes"),
    "bigbuckbunny": Footage("bigbuckbunny"),
}
PASSWORD = "pass/w:o@rd#1"
Opening = Callable[[str], AbstractAsyncContextManager[Source]]
Story = tuple[Source, list[Picture]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@asynccontextmanager
async def opened(
    url: str, *, credential: Credential | None = None, open_s: float = 10, read_s: float = 12
) -> AsyncGenerator[Source]:
    opening = NativeReader(SystemClock(), open_s=open_s, read_s=read_s).open(url, credential, transport="tcp")
    async with asyncio.timeout(30), opening as source:
        assert source.info.reader == "native"
        yield source


async def read_until(source: Source, enough: Callable[[list[Picture]], bool]) -> list[Picture]:
    pictures: list[Picture] = []
    async with asyncio.timeout(15):
        while not enough(pictures):
            pictures += await source.read()
    return pictures


async def read_to_end(source: Source, pictures: list[Picture]) -> ReadError:
    async with asyncio.timeout(15):
        while True:
            try:
                pictures += await source.read()
            except ReadError as error:
                return error


def numbers(source: Source, pictures: list[Picture]) -> list[int]:
    found = [read_running_number(source.info.codec, picture.nals) for picture in pictures]
    assert all(found)
    return [one.number for one in found if one]


def seconds(least: float) -> Callable[[list[Picture]], bool]:
    return lambda pictures: bool(pictures) and (pictures[-1].pts - pictures[0].pts) >= least * 90_000


async def read_whole(camera: SimCamera, open_them: list[Opening], cache: Path, log: Path) -> list[Story]:
    """What each of several sources reads of a camera's last two seconds, to its end."""
    stories: list[Story] = []
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        async with running([camera], log=log, cache=cache) as simulation:
            url = simulation.url(camera.camera_id)
            for opening in open_them:
                source = await stack.enter_async_context(opening(url))
                stories.append((source, []))
            ends = [tasks.create_task(read_to_end(*story)) for story in stories]
            await asyncio.sleep(2)
        for end in ends:
            assert (await end).cause == "camera_unreachable"
    return stories


def libav(url: str) -> AbstractAsyncContextManager[Source]:
    return LibavReader(SystemClock(), open_s=10, read_s=12).open(url, None, transport="tcp")


@pytest.mark.parametrize("name", SOURCES)
async def test_both_readers_read_the_same_access_units_byte_for_byte(name: str, cache: Path, tmp_path: Path):
    camera = SimCamera(name, SOURCES[name])
    (native, ours), (_, theirs) = await read_whole(camera, [opened, libav], cache, tmp_path / "sent")
    our_numbers, their_numbers = numbers(native, ours), numbers(native, theirs)
    sent = [one.number for one in read_send_log(tmp_path / "sent")]
    assert our_numbers == sent[sent.index(our_numbers[0]) :]
    shared = dict(zip(their_numbers, theirs, strict=True))
    assert our_numbers[-1] == their_numbers[-1]
    assert len(shared) > 35
    offsets: set[int] = set()
    for number, picture in zip(our_numbers, ours, strict=True):
        assert picture.lost_packets == 0
        if number in shared:
            assert picture.nals == shared[number].nals
            offsets.add((picture.pts - shared[number].pts) % (1 << 32))
    assert len(offsets) == 1


@pytest.mark.parametrize("start_at_keyframe", [False, True])
async def test_every_picture_that_was_sent_is_read_the_first_and_the_last_too(
    *, start_at_keyframe: bool, cache: Path, tmp_path: Path
):
    camera = SimCamera("cam", SMALL, start_at_keyframe=start_at_keyframe)
    ((source, pictures),) = await read_whole(camera, [opened], cache, tmp_path / "sent")
    assert numbers(source, pictures) == [one.number for one in read_send_log(tmp_path / "sent")]
    assert source.info.sets
    assert source.info.server == "simcam"


async def test_times_are_the_cameras_own_and_arrivals_are_a_tick_after_the_sending_at_most(
    cache: Path, tmp_path: Path
):
    log = tmp_path / "sent"
    async with (
        running([SimCamera("cam", SOURCES["h264-b"])], log=log, cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        clock = SystemClock()
        offset_us = clock.now_us() - clock.monotonic_us()
        pictures = await read_until(source, seconds(4))
    sent_us = {one.number: one.sent_us for one in read_send_log(log)}
    read = [(n, p) for n, p in zip(numbers(source, pictures), pictures, strict=True) if n in sent_us]
    shown = sorted(picture.pts for picture in pictures)[3:-3]  # cut amid reordering, the edges miss some
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {3600}
    late_us = sorted(picture.arrival_us + offset_us - sent_us[number] for number, picture in read)
    assert -5_000 < late_us[0] < 10_000
    assert late_us[len(late_us) // 2] < 130_000
    told = [picture.camera_us - sent_us[n] for n, picture in read if picture.camera_us is not None]
    assert len(told) == len(read)
    assert max(map(abs, told)) < 500_000


async def test_where_the_next_epoch_is_to_begin_arrivals_are_exact_again(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        await read_until(source, seconds(3))
        usual = await read_until(source, seconds(1.2))
        source.look_closely()
        close = await read_until(source, seconds(1.2))
    assert between_us(usual) > 70_000
    assert between_us(close) < 60_000  # 25 a second: each by itself


def between_us(pictures: list[Picture]) -> float:
    """How far apart arrivals are, in the median."""
    arrivals = sorted({picture.arrival_us for picture in pictures})
    return median(after - before for before, after in itertools.pairwise(arrivals))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("scheme", ["digest", "digest without qop", "basic"])
@pytest.mark.parametrize("is_right", [True, False])
async def test_the_password_decides(scheme: str, algorithm: str, *, is_right: bool, cache: Path):
    asked = Credentials(
        "admin",
        PASSWORD,
        schemes=("basic",) if scheme == "basic" else ("digest",),
        algorithm="MD5" if algorithm == "MD5" else "SHA-256",
        qop=scheme == "digest",
    )
    said = Credential("admin", PASSWORD if is_right else PASSWORD + "x")
    async with running([SimCamera("cam", SMALL)], cache=cache, credentials=asked) as simulation:
        if is_right:
            async with opened(simulation.url("cam"), credential=said) as source:
                assert await source.read()
        else:
            assert (await refusal(simulation.url("cam"), credential=said)).cause == "auth_failed"


async def test_without_a_password_it_is_auth_failed_and_no_error_tells_one(
    cache: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    asked = Credentials("admin", PASSWORD)
    async with running([SimCamera("cam", SMALL)], cache=cache, credentials=asked) as simulation:
        errors = [
            await refusal(simulation.url("cam"), credential=credential)
            for credential in (None, Credential("admin", "wrong/pass"))
        ]
    out, err = capfd.readouterr()
    assert {error.cause for error in errors} == {"auth_failed"}
    texts = [text for e in errors for text in (str(e), repr(e.__cause__), repr(e.__context__))]
    assert not any("pass" in text for text in [*texts, caplog.text, out, err])


async def refusal(url: str, *, credential: Credential | None = None, open_s: float = 10) -> ReadError:
    with pytest.raises(ReadError) as raised:
        async with opened(url, credential=credential, open_s=open_s):
            pass
    return raised.value


async def test_an_unknown_path_is_not_found(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        error = await refusal(simulation.url("cam") + "x")
    assert error.cause == "not_found"
    assert not isinstance(error, NotForThisReaderError)


async def test_nobody_listening_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = await refusal(f"rtsp://127.0.0.1:{port}/x", credential=Credential("u", PASSWORD))
    assert error.cause == "camera_unreachable"


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


async def test_babble_ends_the_stream_as_an_error(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_until(source, seconds(0.5))
        simulation.suffer("cam", "babble", 5)
        error = await read_to_end(source, pictures)
    assert error.cause == "stream_error"
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))


async def test_a_picture_sent_twice_is_read_twice_and_none_is_joined(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_until(source, seconds(1))
        simulation.suffer("cam", "repeat", 0.5)
        pictures += await read_until(source, seconds(1))
    read = numbers(source, pictures)
    assert sorted(set(read)) == list(range(read[0], read[-1] + 1))
    assert 8 < len(read) - len(set(read)) < 16


async def test_who_leaves_gets_all_that_had_come(cache: Path, tmp_path: Path):
    """Also of half a second in which nobody read, as when a process stands still; the picture that is under way is not."""
    log = tmp_path / "sent"
    camera = SimCamera("cam", SOURCES["large"])
    async with running([camera], log=log, cache=cache) as simulation, opened(simulation.url("cam")) as source:
        pictures = await read_until(source, seconds(1))
        await asyncio.sleep(0.5)
        had_come = max(one.number for one in read_send_log(log))
        pictures += source.rest()
        assert source.rest() == []
        await asyncio.sleep(0.2)  # a picture is logged when it has left
        came_meanwhile = max(one.number for one in read_send_log(log))
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))
    assert had_come <= read[-1] <= came_meanwhile
    assert {(one.lost_packets, one.is_damaged) for one in pictures} == {(0, False)}


async def test_who_leaves_a_stream_that_is_over_gets_its_last_pictures_once(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_until(source, seconds(0.5))
        assert simulation.drop("cam") == 1
        await asyncio.sleep(0.1)
        pictures += source.rest()
        assert source.rest() == []
        with pytest.raises(ReadError, match="camera_unreachable"):
            await source.read()
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))


async def test_leaving_is_at_once_and_the_camera_hears_of_it(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        async with opened(simulation.url("cam")) as source:
            await source.read()
            assert len(simulation.connections("cam")) == 1
            began = time.monotonic()
        assert time.monotonic() - began < 0.1
        async with asyncio.timeout(2):
            while simulation.connections("cam"):
                await asyncio.sleep(0.01)


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
    assert len(found) == len(cameras)
    for camera_id, read in found.items():
        assert read == [s.number for s in sent if s.camera_id == camera_id][: len(read)]
