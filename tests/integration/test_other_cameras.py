"""The native reader on other projects' RTSP servers reads the same access units, byte for byte, as libavformat."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from districam_common.runtime.credentials import Credential
from districam_devkit.bitstream import Codec
from districam_devkit.simcam import Generated
from districam_devkit.simcam.clips import clip_file
from districam_devkit.simcam.server import CLIP_CACHE
from districam_ingest.codec.nal import is_parameter_set
from districam_ingest.units import Picture
from support.external_cameras import USER, ExternalCameraOptions, Scheme, build_go_camera, go_camera, gstreamer_camera
from support.readers import READERS, StreamRecording, make_reader, open_error, open_source, read
from support.wait_until import wait_until

pytestmark = pytest.mark.timeout(120)

PASSWORD = "pass/w,o@rd#1"  # no colon: gortsplib splits Basic credentials at each one
Make = Literal["gstreamer", "gortsplib"]
CLIP = Generated("h264", 320, 192, seconds=30, gop_s=1, b_frames=2, bitrate=1_500_000, label="x")
"""Half a minute of distinct pictures."""
PICTURES = 75
TRANSPORTS = ("tcp", "udp")
MAKES: tuple[Make, ...] = ("gstreamer", "gortsplib")
CODECS: tuple[Codec, ...] = ("h264", "hevc")


@pytest.fixture(scope="module")
def clips() -> dict[Codec, Path]:
    return {codec: clip_file(replace(CLIP, codec=codec), cache=CLIP_CACHE) for codec in CODECS}


@pytest.fixture(scope="module")
def gocam() -> Path:
    return build_go_camera()


def serving(make: Make, gocam: Path, wanted: ExternalCameraOptions, folder: Path) -> AbstractAsyncContextManager[str]:
    return gstreamer_camera(wanted, folder) if make == "gstreamer" else go_camera(gocam, wanted, folder)


@dataclass(slots=True)
class Seen:
    """Four streams of one server, by (reader, transport), read to the end, and the pictures while all were open."""

    watches: dict[tuple[str, str], StreamRecording] = field(
        default_factory=dict[tuple[str, str], StreamRecording], repr=False
    )
    read_of: dict[tuple[str, str], list[Picture]] = field(
        default_factory=dict[tuple[str, str], list[Picture]], repr=False
    )

    async def run(self, server: AbstractAsyncContextManager[str]) -> None:
        self.watches = {(name, transport): StreamRecording() for name in READERS for transport in TRANSPORTS}
        async with asyncio.TaskGroup() as tasks, server as url:
            watching: dict[tuple[str, str], asyncio.Task[None]] = {}
            for (name, transport), watch in self.watches.items():
                run = watch.run(make_reader(name), url, transport=transport)
                watching[name, transport] = tasks.create_task(run)
                # In turn: GStreamer's server answers 503 or crashes on concurrent requests for an unprepared medium.
                await self._reaches(1, watch)
            await self._reaches(25, *self.watches.values())
            for watch in self.watches.values():  # GStreamer restarts the file for each client
                watch.pictures.clear()
            await self._reaches(PICTURES, *self.watches.values())
            self.read_of = {key: list(watch.pictures) for key, watch in self.watches.items()}
            for transport in TRANSPORTS:  # libavformat notices the server's end at its deadline
                watching["ffmpeg", transport].cancel()

    async def _reaches(self, pictures: int, *watches: StreamRecording) -> None:
        """Waits until each has that many pictures; none may end before."""
        assert await wait_until(lambda: all(watch.has(count=pictures) for watch in watches))
        assert not {key: watch.error for key, watch in self.watches.items() if watch.error}, "a stream ended"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(
    gocam: Path, clips: dict[Codec, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Make, Codec], Seen]:
    """Results of all servers, read concurrently."""
    found: dict[tuple[Make, Codec], Seen] = {(make, codec): Seen() for make in MAKES for codec in CODECS}
    async with asyncio.TaskGroup() as tasks:
        for (make, codec), one in found.items():
            folder = tmp_path_factory.mktemp(f"{make}-{codec}")
            tasks.create_task(one.run(serving(make, gocam, ExternalCameraOptions(clips[codec], codec), folder)))
    return found


def slices(codec: Codec, picture: Picture) -> tuple[bytes, ...]:
    """The slices, which differ between pictures; parameter sets repeat."""
    return tuple(nal for nal in picture.nals if not is_parameter_set(codec, nal))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", MAKES)
def test_both_readers_read_the_same_over_tcp_and_udp(make: Make, codec: Codec, seen: dict[tuple[Make, Codec], Seen]):
    read_of = dict(seen[make, codec].read_of)
    for transport in TRANSPORTS:
        info = seen[make, codec].watches["native", transport].info
        assert info
        assert (info.reader, info.transport, info.codec) == ("native", transport, codec)
        assert {(one.lost_packets, one.is_damaged) for one in read_of["native", transport]} == {(0, False)}
    ours = read_of.pop(("native", "tcp"))
    for theirs in read_of.values():
        assert_same(codec, ours, theirs)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("make", MAKES)
def test_a_stopped_server_makes_the_camera_unreachable(
    make: Make, transport: str, seen: dict[tuple[Make, Codec], Seen]
):
    """Over UDP, the RTSP connection's end ends the stream."""
    error = seen[make, "h264"].watches["native", transport].error
    assert error
    assert error.cause == "camera_unreachable"


def assert_same(codec: Codec, ours: list[Picture], theirs: list[Picture]) -> None:
    """The same consecutive access units where they overlap, with timestamps that differ by a constant."""
    places = {slices(codec, one): place for place, one in enumerate(ours)}
    assert len(places) == len(ours)
    shared = [(places[key], one) for one in theirs if (key := slices(codec, one)) in places]
    assert len(shared) > PICTURES / 2
    first = shared[0][0]
    assert [place for place, _ in shared] == list(range(first, first + len(shared)))
    assert not [place for place, one in shared[1:] if ours[place].nals != one.nals]
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
    make: Make, scheme: Scheme, gocam: Path, clips: dict[Codec, Path], tmp_path: Path
):
    wanted = ExternalCameraOptions(clips["h264"], scheme=scheme, password=PASSWORD)
    async with serving(make, gocam, wanted, tmp_path) as url:
        error = await open_error(make_reader(), url, credential=Credential(USER, "wrong"))
        assert error.cause == "auth_failed"
        async with open_source(make_reader(), url, credential=Credential(USER, PASSWORD)) as source:
            await read(source, count=10)
            assert source.info.reader == "native"
            assert source.info.auth == ("basic" if scheme == "basic" else "digest")


async def test_a_udp_only_server_is_read_over_udp(clips: dict[Codec, Path], tmp_path: Path):
    async with (
        gstreamer_camera(ExternalCameraOptions(clips["h264"], is_udp_only=True), tmp_path) as url,
        open_source(make_reader(), url) as source,
    ):
        await read(source, count=20)
        assert (source.info.reader, source.info.transport) == ("native", "udp")
