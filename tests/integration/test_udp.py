"""The native reader over UDP on simulated cameras: what is lost is told, picture by picture, and nothing else is."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from districam_common.clock import SystemClock
from districam_devkit.bitstream import read_running_number
from districam_devkit.simcam import Generated, Manners, SimCamera, read_send_log, running
from districam_ingest.core.units import Picture
from districam_ingest.libav_reader import LibavReader
from districam_ingest.native_reader import NativeReader
from districam_ingest.reading import ReadError, Source

pytestmark = pytest.mark.timeout(60)

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000)
SOURCES = {
    "h264": SMALL,
    "hevc": Generated("hevc", width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000),
    "large": Generated(width=1280, height=720, seconds=2, gop_s=0.8, bitrate=6_000_000, b_frames=2),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@asynccontextmanager
async def opened(url: str, *, transport: str = "udp", open_s: float = 10) -> AsyncGenerator[Source]:
    opening = NativeReader(SystemClock(), open_s=open_s, read_s=12).open(url, None, transport=transport)
    async with asyncio.timeout(30), opening as source:
        assert source.info.reader == "native"
        yield source


async def read_to_end(source: Source, pictures: list[Picture]) -> ReadError:
    async with asyncio.timeout(20):
        while True:
            try:
                pictures += await source.read()
            except ReadError as error:
                return error


async def read_for(source: Source, seconds: float) -> list[Picture]:
    pictures: list[Picture] = []
    async with asyncio.timeout(seconds + 10):
        while not pictures or pictures[-1].pts - pictures[0].pts < seconds * 90_000:
            pictures += await source.read()
    return pictures


def numbers(source: Source, pictures: list[Picture]) -> list[int | None]:
    found = [read_running_number(source.info.codec, picture.nals) for picture in pictures]
    return [one.number if one else None for one in found]


@pytest.mark.parametrize("name", SOURCES)
async def test_over_udp_every_picture_that_was_sent_is_read_byte_for_byte(
    name: str, cache: Path, tmp_path: Path
):
    log = tmp_path / "sent"
    over_udp: list[Picture] = []
    over_tcp: list[Picture] = []
    async with (
        asyncio.TaskGroup() as tasks,
        running([SimCamera(name, SOURCES[name])], log=log, cache=cache) as simulation,
        opened(simulation.url(name)) as source,
        opened(simulation.url(name), transport="tcp") as other,
    ):
        ends = [
            tasks.create_task(read_to_end(source, over_udp)),
            tasks.create_task(read_to_end(other, over_tcp)),
        ]
        await asyncio.sleep(2)
        simulation.drop(name)
        assert [(await end).cause for end in ends] == ["camera_unreachable"] * 2
    assert (source.info.transport, other.info.transport) == ("udp", "tcp")
    read = numbers(source, over_udp)
    sent = [one.number for one in read_send_log(log)]
    assert len(read) > 40
    assert set(sent) - set(read) <= set(sent[:1])
    assert {(one.lost_packets, one.is_damaged) for one in over_udp} == {(0, False)}
    theirs = dict(zip(numbers(other, over_tcp), over_tcp, strict=True))
    for number, picture in zip(read, over_udp, strict=True):
        if number in theirs and number != read[-1]:
            assert picture.nals == theirs[number].nals


async def test_what_is_lost_is_told_with_its_picture_and_nothing_else_is(cache: Path):
    """Packets of whole pictures, of their middles, their beginnings and their ends."""
    async with (
        running([SimCamera("cam", SOURCES["large"])], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        pictures = await read_for(source, 0.5)
        simulation.chance("cam", "lose", 3, 60)
        pictures += await read_for(source, 6)
        lost = Counter(number for _, number in simulation.cameras["cam"].mishaps.lost)
    read = numbers(source, pictures)
    last = max(number for number in read if number is not None)
    told = {number: one for number, one in zip(read, pictures, strict=True) if number is not None}
    in_time = {number: count for number, count in lost.items() if number < last}
    assert len(in_time) > 20
    assert sum(one.lost_packets for one in pictures) == sum(in_time.values())
    for number, picture in told.items():
        if number in in_time:  # it lost something itself
            assert picture.is_damaged
            assert picture.lost_packets > 0
        elif number - 1 not in in_time:  # neither it nor the one before
            assert (picture.is_damaged, picture.lost_packets) == (False, 0)
    assert sum(one.is_damaged for one in pictures) <= len(in_time) + 1
    assert any(number not in told for number in in_time)  # the number itself was lost, or all slices


async def test_who_leaves_gets_all_that_had_come(cache: Path, tmp_path: Path):
    log = tmp_path / "sent"
    camera = SimCamera("cam", SMALL)
    async with running([camera], log=log, cache=cache) as simulation, opened(simulation.url("cam")) as source:
        pictures = await read_for(source, 1)
        await asyncio.sleep(0.3)
        pictures += source.rest()
        had_come = max(one.number for one in read_send_log(log))
        assert source.rest() == []
    read = numbers(source, pictures)
    assert read == list(range(read[0] or 0, (read[0] or 0) + len(read)))
    assert read[-1] == had_come


async def test_packets_that_overtook_each_other_are_put_in_order(cache: Path):
    async with (
        running([SimCamera("cam", SOURCES["large"])], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        simulation.chance("cam", "reorder", 20, 60)
        pictures = await read_for(source, 3)
    read = numbers(source, pictures)
    assert None not in read
    assert read == list(range(read[0] or 0, (read[0] or 0) + len(read)))
    assert {(one.lost_packets, one.is_damaged) for one in pictures} == {(0, False)}


async def test_a_camera_that_does_udp_alone_is_read_over_udp(cache: Path):
    camera = SimCamera("cam", SMALL, manners=Manners(carriers=("udp",)))
    async with (
        running([camera], cache=cache) as simulation,
        opened(simulation.url("cam"), transport="tcp") as source,
    ):
        assert await read_for(source, 0.5)
        assert source.info.transport == "udp"


async def test_a_camera_that_does_tcp_alone_refuses_udp_by_name(cache: Path):
    camera = SimCamera("cam", SMALL, manners=Manners(carriers=("tcp",)))
    async with running([camera], cache=cache) as simulation:
        with pytest.raises(ReadError, match="461") as raised:
            async with opened(simulation.url("cam")):
                pass
    assert raised.value.cause == "stream_error"


async def test_reports_come_back_and_the_way_back_is_opened(cache: Path):
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        await read_for(source, 6)
        (wire,) = simulation.connections("cam")
        assert wire.datagrams is not None
        assert wire.datagrams.heard >= 2


async def test_strangers_are_not_believed(cache: Path):
    """Another address of this machine sends to our ports."""
    async with (
        running([SimCamera("cam", SMALL)], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
    ):
        (wire,) = simulation.connections("cam")
        assert wire.datagrams is not None
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind(("127.0.0.2", 0))
        with stranger:
            for number in range(200):
                packet = b"\x80\x60" + number.to_bytes(2, "big") + bytes(8) + b"\x65\x88" + bytes(50)
                stranger.sendto(packet, ("127.0.0.1", wire.datagrams.client_ports[0]))
            pictures = await read_for(source, 1)
    assert {picture.lost_packets for picture in pictures} == {0}
    assert None not in numbers(source, pictures)


async def test_leaving_closes_the_ports(cache: Path):
    async with running([SimCamera("cam", SMALL)], cache=cache) as simulation:
        async with opened(simulation.url("cam")) as source:
            await read_for(source, 0.2)
            (wire,) = simulation.connections("cam")
            assert wire.datagrams is not None
        async with asyncio.timeout(2):
            while simulation.connections("cam"):
                await asyncio.sleep(0.01)
        for port in wire.datagrams.client_ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.bind(("127.0.0.1", port))


async def test_both_readers_read_the_same_over_udp(cache: Path):
    ours: list[Picture] = []
    theirs: list[Picture] = []
    libav = LibavReader(SystemClock(), open_s=10, read_s=12)
    async with (
        running([SimCamera("cam", SOURCES["large"])], cache=cache) as simulation,
        opened(simulation.url("cam")) as source,
        libav.open(simulation.url("cam"), None, transport="udp") as other,
        asyncio.timeout(20),
    ):
        while len(theirs) < 50:
            theirs += await other.read()
        while len(ours) < 50:
            ours += await source.read()
    shared = dict(zip(numbers(source, ours), ours, strict=True))
    found = [(n, one) for n, one in zip(numbers(other, theirs), theirs, strict=True) if n in shared]
    assert len(found) > 30
    assert all(shared[number].nals == one.nals for number, one in found)
