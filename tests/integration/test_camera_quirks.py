"""Both readers on cameras that answer otherwise than the RFCs would have it, refuse, send elsewhere, or dawdle."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from districam_common.clock import SystemClock
from districam_devkit.bitstream import read_running_number
from districam_devkit.simcam import Fault, Generated, Manners, SimCamera, running
from districam_devkit.simcam.manners import Quirk
from districam_ingest.core.units import Picture
from districam_ingest.libav_reader import LibavReader
from districam_ingest.native_reader import NativeReader
from districam_ingest.reading import Reader, ReadError, Source

pytestmark = pytest.mark.timeout(60)

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000)
OPEN_GOP = {
    "h264": Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2, open_gop=True),
    "hevc": Generated(
        "hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, b_frames=2, open_gop=True
    ),
}
QUIRKS: tuple[Quirk, ...] = get_args(Quirk)
READERS: dict[str, type[NativeReader] | type[LibavReader]] = {"native": NativeReader, "ffmpeg": LibavReader}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param](SystemClock(), open_s=10, read_s=12)


@asynccontextmanager
async def opened(reader: Reader, url: str) -> AsyncGenerator[Source]:
    async with asyncio.timeout(40), reader.open(url, None, transport="tcp") as source:
        yield source


async def read_for(source: Source, count: int) -> list[Picture]:
    pictures: list[Picture] = []
    async with asyncio.timeout(15):
        while len(pictures) < count:
            pictures += await source.read()
    return pictures


def numbers(source: Source, pictures: list[Picture]) -> list[int]:
    found = [read_running_number(source.info.codec, picture.nals) for picture in pictures]
    assert all(found)
    return [one.number for one in found if one]


async def refusal(reader: Reader, url: str) -> ReadError:
    with pytest.raises(ReadError) as raised:
        async with opened(reader, url):
            pass
    return raised.value


@pytest.mark.parametrize("quirk", QUIRKS)
async def test_quirks_cost_no_picture(quirk: Quirk, reader: Reader, cache: Path):
    camera = SimCamera("cam", SMALL, manners=Manners(quirks=frozenset({quirk})))
    async with running([camera], cache=cache) as simulation, opened(reader, simulation.url("cam")) as source:
        pictures = await read_for(source, 40)
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))
    assert source.info.reader in READERS


async def test_an_address_with_a_question_is_asked_as_it_stands(reader: Reader, cache: Path):
    """`/cam?channel=1&subtype=0`, as many recorders want it."""
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(reader, simulation.url("cam") + "?channel=1&subtype=0") as source,
    ):
        assert len(await read_for(source, 10)) >= 10


@pytest.mark.parametrize("codec", OPEN_GOP)
async def test_open_gops_are_read_whole(codec: str, reader: Reader, cache: Path):
    async with (
        running([SimCamera("cam", OPEN_GOP[codec])], cache=cache) as simulation,
        opened(reader, simulation.url("cam")) as source,
    ):
        pictures = await read_for(source, 60)
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))


async def test_a_redirect_is_followed(reader: Reader, cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        simulation.suffer("cam", "redirect", 60)
        async with opened(reader, simulation.url("cam")) as source:
            assert len(await read_for(source, 10)) >= 10


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("401", "auth_failed"),
        ("404", "not_found"),
        ("453", "camera_unreachable"),
        ("454", "not_found"),
        ("503", "camera_unreachable"),
    ],
)
async def test_a_refusal_has_its_cause(status: str, cause: str, reader: Reader, cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        simulation.refuse("cam", int(status), 60)
        found = (await refusal(reader, simulation.url("cam"))).cause
    # libavformat tells 454 from no other refusal.
    is_blurred = status == "454" and isinstance(reader, LibavReader)
    assert found == ("camera_unreachable" if is_blurred else cause)


async def test_a_camera_for_one_client_refuses_the_second_and_keeps_the_first(reader: Reader, cache: Path):
    camera = SimCamera("cam", SMALL, manners=Manners(clients_most=1))
    async with running([camera], cache=cache) as simulation, opened(reader, simulation.url("cam")) as source:
        pictures = await read_for(source, 5)
        assert (await refusal(reader, simulation.url("cam"))).cause == "camera_unreachable"
        pictures += await read_for(source, 20)
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))


@pytest.mark.parametrize("name", READERS)
async def test_who_answers_a_byte_at_a_time_is_given_up_at_the_deadline(name: str, cache: Path):
    reader = READERS[name](SystemClock(), open_s=1.5, read_s=3)
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        simulation.inject(Fault("drip", "cam", 0, 60))
        began = time.monotonic()
        error = await refusal(reader, simulation.url("cam"))
    assert time.monotonic() - began < 8
    assert error.cause in {"source_silent", "camera_unreachable"}


@pytest.mark.parametrize(("kind", "off_s"), [("ahead", 3600), ("behind", 7200)])
async def test_the_cameras_wall_clock_may_be_what_it_likes(
    kind: str, off_s: float, reader: Reader, cache: Path
):
    """It is told, and times and pictures stay what they are."""
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(reader, simulation.url("cam")) as source,
    ):
        before = await read_for(source, 20)
        simulation.step("cam", off_s if kind == "ahead" else -off_s)
        pictures = before + await read_for(source, 40)
    read = numbers(source, pictures)
    assert read == list(range(read[0], read[0] + len(read)))
    assert {later.pts - earlier.pts for earlier, later in itertools.pairwise(pictures)} == {3600}
    first, last = (one.camera_us for one in (pictures[0], pictures[-1]))
    assert first is not None
    assert last is not None
    stepped_s = (last - first) / 1e6 - (len(pictures) - 1) / 25
    assert abs(stepped_s - (off_s if kind == "ahead" else -off_s)) < 0.2
