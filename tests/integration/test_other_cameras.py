"""The native reader on RTSP servers of other makes: the same access units, byte for byte, as libavformat reads."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from districam_common.credentials import Credential
from districam_devkit.bitstream import Codec
from districam_devkit.simcam import Generated
from districam_devkit.simcam.clips import clip_file
from districam_devkit.simcam.server import CLIP_CACHE
from districam_ingest.core.nal import is_parameter_set
from districam_ingest.core.units import Picture
from support.awaited import comes_true
from support.other_cameras import USER, Scheme, Wanted, built, go_camera, gstreamer_camera
from support.readers import READERS, Watch, make_reader, opened, read, refusal

pytestmark = pytest.mark.timeout(120)

PASSWORD = "pass/w,o@rd#1"  # no colon: gortsplib splits Basic credentials at each
Make = Literal["gstreamer", "gortsplib"]
Serving = Callable[[Wanted], AbstractAsyncContextManager[str]]
CLIP = Generated("h264", 320, 192, seconds=30, gop_s=1, b_frames=2, bitrate=1_500_000, label="x")
"""Half a minute in which each picture is another."""
PICTURES = 75


@pytest.fixture(scope="module")
def clips() -> dict[Codec, Path]:
    codecs: tuple[Codec, ...] = ("h264", "hevc")
    return {codec: clip_file(replace(CLIP, codec=codec), cache=CLIP_CACHE) for codec in codecs}


@pytest.fixture(scope="module")
def gocam() -> Path:
    return built()


@pytest.fixture
def serving(gocam: Path, tmp_path: Path) -> Callable[[Make], Serving]:
    def of(make: Make) -> Serving:
        if make == "gstreamer":
            return lambda wanted: gstreamer_camera(wanted, tmp_path)
        return lambda wanted: go_camera(gocam, wanted, tmp_path)

    return of


def slices(codec: Codec, picture: Picture) -> tuple[bytes, ...]:
    """What distinguishes it from all others: parameter sets repeat."""
    return tuple(nal for nal in picture.nals if not is_parameter_set(codec, nal))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("make", ["gstreamer", "gortsplib"])
async def test_both_readers_read_the_same_over_tcp_and_udp_until_the_server_ends(
    make: Make, codec: Codec, serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    watches = {(name, transport): Watch() for name in READERS for transport in ("tcp", "udp")}
    async with asyncio.TaskGroup() as tasks, serving(make)(Wanted(clips[codec], codec)) as url:
        watching = {
            (name, transport): tasks.create_task(watch.run(make_reader(name), url, transport=transport))
            for (name, transport), watch in watches.items()
        }
        assert await comes_true(lambda: all(watch.has(count=25) for watch in watches.values()))
        for watch in watches.values():  # GStreamer begins the file anew for each who comes to watch
            watch.pictures.clear()
        assert await comes_true(lambda: all(watch.has(count=PICTURES) for watch in watches.values()))
        read_of = {key: list(watch.pictures) for key, watch in watches.items()}
        for transport in ("tcp", "udp"):  # libavformat notices the server's end at its deadline
            watching["ffmpeg", transport].cancel()
    for transport in ("tcp", "udp"):
        info, error = watches["native", transport].info, watches["native", transport].error
        assert info
        assert (info.reader, info.transport, info.codec) == ("native", transport, codec)
        assert error
        assert error.cause == "camera_unreachable"
        assert {(one.lost_packets, one.is_damaged) for one in read_of["native", transport]} == {(0, False)}
    ours = read_of.pop(("native", "tcp"))
    for theirs in read_of.values():
        assert_same(codec, ours, theirs)


def assert_same(codec: Codec, ours: list[Picture], theirs: list[Picture]) -> None:
    """The same access units without a hole where they overlap, at timestamps that differ by a constant."""
    places = {slices(codec, one): place for place, one in enumerate(ours)}
    assert len(places) == len(ours)
    shared = [(places[key], one) for one in theirs if (key := slices(codec, one)) in places]
    assert len(shared) > PICTURES / 2
    first = shared[0][0]
    assert [place for place, _ in shared] == list(range(first, first + len(shared)))
    assert all(ours[place].nals == one.nals for place, one in shared[1:])
    assert len({(ours[place].pts - one.pts) % (1 << 32) for place, one in shared}) == 1


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
async def test_only_the_right_password_opens_a_camera(
    make: Make, scheme: Scheme, serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    async with serving(make)(Wanted(clips["h264"], scheme=scheme, password=PASSWORD)) as url:
        error = await refusal(make_reader(), url, credential=Credential(USER, "wrong"))
        assert error.cause == "auth_failed"
        async with opened(make_reader(), url, credential=Credential(USER, PASSWORD)) as source:
            await read(source, count=10)
            assert source.info.reader == "native"
            assert source.info.auth == ("basic" if scheme == "basic" else "digest")


async def test_a_server_that_does_udp_alone_is_read_over_udp(
    serving: Callable[[Make], Serving], clips: dict[Codec, Path]
):
    async with (
        serving("gstreamer")(Wanted(clips["h264"], is_udp_alone=True)) as url,
        opened(make_reader(), url) as source,
    ):
        await read(source, count=20)
        assert (source.info.reader, source.info.transport) == ("native", "udp")
