"""The native reader on RTSP servers that are not ours: the same access units, byte for byte, as libavformat reads."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest

from districam_common.clock import SystemClock
from districam_common.credentials import Credential
from districam_devkit.bitstream import Codec
from districam_devkit.simcam import Generated
from districam_devkit.simcam.clips import open_clip
from districam_ingest.core.nal import is_parameter_set
from districam_ingest.core.units import Picture
from districam_ingest.libav_reader import LibavReader
from districam_ingest.native_reader import NativeReader
from districam_ingest.reading import Reader, ReadError, Source
from support.other_cameras import USER, Scheme, Wanted, built, go_camera, gstreamer_camera

pytestmark = pytest.mark.timeout(120)

PASSWORD = "pass/w,o@rd#1"  # no colon: gortsplib splits Basic credentials at each
Make = Literal["gstreamer", "gortsplib"]
Serving = Callable[[Wanted], AbstractAsyncContextManager[str]]
SECONDS, ENOUGH = 30, 60


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[Codec, Path]:
    """Half a minute in which each picture is another."""
    found: dict[Codec, Path] = {}
    codecs: tuple[Codec, ...] = ("h264", "hevc")
    for codec in codecs:
        folder = tmp_path_factory.mktemp(codec)
        made = Generated(codec, 320, 192, seconds=SECONDS, gop_s=1, b_frames=2, bitrate=1_500_000, label="x")
        open_clip(made, cache=folder)
        (found[codec],) = folder.glob("*.mp4")
    return found


@pytest.fixture(scope="module")
def gocam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("gocam"))


@pytest.fixture
def serving(gocam: Path, tmp_path: Path) -> Callable[[Make], Serving]:
    def of(make: Make) -> Serving:
        if make == "gstreamer":
            return lambda wanted: gstreamer_camera(wanted, tmp_path)
        return lambda wanted: go_camera(gocam, wanted, tmp_path)

    return of


def reading(reader: type[NativeReader] | type[LibavReader]) -> Reader:
    return reader(SystemClock(), open_s=10, read_s=12)


async def read(source: Source, count: int) -> list[Picture]:
    pictures: list[Picture] = []
    async with asyncio.timeout(30):
        while len(pictures) < count:
            pictures += await source.read()
    return pictures


async def read_for(source: Source, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + seconds
    while loop.time() < ends_s:
        await read(source, 1)


def slices(codec: Codec, picture: Picture) -> tuple[bytes, ...]:
    """What tells it from all others: parameter sets repeat."""
    return tuple(nal for nal in picture.nals if not is_parameter_set(codec, nal))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("make", ["gstreamer", "gortsplib"])
async def test_both_readers_read_the_same_access_units_byte_for_byte(
    make: Make, codec: Codec, transport: str, serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(make)(Wanted(clips[codec], codec)))
        native = await stack.enter_async_context(reading(NativeReader).open(url, None, transport=transport))
        libav = await stack.enter_async_context(reading(LibavReader).open(url, None, transport=transport))
        await read_for(native, 1.0)  # GStreamer begins the file anew for the second who watches
        async with asyncio.TaskGroup() as tasks:
            our_task = tasks.create_task(read(native, ENOUGH * 2))
            their_task = tasks.create_task(read(libav, ENOUGH * 2))
    ours, theirs = our_task.result(), their_task.result()
    assert (native.info.reader, native.info.transport, native.info.codec) == ("native", transport, codec)
    assert {(one.lost_packets, one.is_damaged) for one in ours} == {(0, False)}
    places = {slices(codec, one): place for place, one in enumerate(ours)}
    assert len(places) == len(ours)
    shared = [(places[key], one) for one in theirs if (key := slices(codec, one)) in places]
    assert len(shared) > ENOUGH / 2
    first = shared[0][0]
    assert [place for place, _ in shared] == list(range(first, first + len(shared)))
    for place, one in shared[1:]:
        assert ours[place].nals == one.nals
    assert len({(ours[place].pts - one.pts) % (1 << 32) for place, one in shared}) == 1


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize(
    ("make", "scheme"),
    [
        ("gstreamer", "basic"),
        ("gstreamer", "digest"),
        ("gortsplib", "basic"),
        ("gortsplib", "digest"),
        ("gortsplib", "sha256"),
    ],
)
async def test_the_password_decides(
    make: Make,
    scheme: Scheme,
    *,
    is_right: bool,
    serving: Callable[[Make], Serving],
    clips: dict[Codec, Path],
):
    said = Credential(USER, PASSWORD if is_right else "wrong")
    async with serving(make)(Wanted(clips["h264"], scheme=scheme, password=PASSWORD)) as url:
        opening = reading(NativeReader).open(url, said, transport="tcp")
        if not is_right:
            with pytest.raises(ReadError) as raised:
                await opening.__aenter__()
            assert raised.value.cause == "auth_failed"
            return
        async with opening as source:
            assert len(await read(source, 10)) >= 10
            assert source.info.reader == "native"
            assert source.info.auth == ("basic" if scheme == "basic" else "digest")


async def test_a_server_that_does_udp_alone_is_read_over_udp(
    serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    async with (
        serving("gstreamer")(Wanted(clips["h264"], is_udp_alone=True)) as url,
        reading(NativeReader).open(url, None, transport="tcp") as source,
    ):
        assert len(await read(source, 20)) >= 20
        assert (source.info.reader, source.info.transport) == ("native", "udp")


async def test_a_server_that_dies_ends_the_stream_over_udp(
    serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    """The RTSP connection ends, and with it what came beside it."""
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as server:
            url = await server.enter_async_context(serving("gortsplib")(Wanted(clips["h264"])))
            source = await stack.enter_async_context(reading(NativeReader).open(url, None, transport="udp"))
            await read(source, 20)
        with pytest.raises(ReadError) as raised:
            await read(source, 10_000)
    assert raised.value.cause == "camera_unreachable"
