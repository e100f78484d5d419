"""The native reader over UDP on simulated cameras: packet loss is reported with its picture, and nothing else is."""

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from districam_devkit.simcam import CameraBehavior, SimCamera, Simulation, read_send_log, running
from support.readers import (
    LARGE,
    SMALL,
    SMALL_HEVC,
    StreamRecording,
    are_consecutive,
    make_reader,
    open_error,
    open_source,
    read,
    running_numbers,
    running_numbers_or_none,
)
from support.wait_until import wait_until

pytestmark = pytest.mark.timeout(60)

CLIPS = {"h264": SMALL, "hevc": SMALL_HEVC, "large": LARGE}
CAMERAS = [
    *(SimCamera(camera_id, clip) for camera_id, clip in CLIPS.items()),
    *(SimCamera(camera_id, LARGE) for camera_id in ("loses", "reorders")),
    SimCamera("reports", SMALL),
    SimCamera("udp-alone", SMALL, behavior=CameraBehavior(carriers=("udp",))),
]
WATCHES = [  # camera, reader, requested transport
    *((camera.camera_id, "native", "udp") for camera in CAMERAS[:-1]),
    *((camera_id, "native", "tcp") for camera_id in CLIPS),
    ("large", "ffmpeg", "udp"),
    ("udp-alone", "native", "tcp"),
]


@dataclass(frozen=True, slots=True)
class Seen:
    """Results of the run.

    Attributes:
        watches: what was read, by camera, reader and requested transport.
        sent: running numbers that each camera sent.
        lost: number of unsent packets of each picture of `loses`.
        reports: RTCP packets that `reports` received.
    """

    watches: dict[tuple[str, str, str], StreamRecording] = field(repr=False)
    sent: dict[str, list[int]] = field(repr=False)
    lost: Counter[int]
    reports: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    log = tmp_path_factory.mktemp("udp") / "sent"
    watches = {key: StreamRecording() for key in WATCHES}
    async with asyncio.TaskGroup() as tasks, running(CAMERAS, log=log) as simulation:
        for (camera_id, name, transport), watch in watches.items():
            running_watch = watch.run(make_reader(name), simulation.url(camera_id), transport=transport)
            tasks.create_task(running_watch)
        await wait_until(lambda: all(watch.has(count=12) for watch in watches.values()))
        simulation.start_rate_fault("loses", "lose", 3, 60)
        simulation.start_rate_fault("reorders", "reorder", 20, 60)
        await wait_until(lambda: all(watch.has(seconds=4) for watch in watches.values()))
        await wait_until(lambda: _reports(simulation) >= 2)
        reports = _reports(simulation)
        lost = Counter(number for _, number in simulation.cameras["loses"].impairment.lost_packets)
    sent: dict[str, list[int]] = {}
    for one in read_send_log(log):
        sent.setdefault(one.camera_id, []).append(one.number)
    return Seen(watches, sent, lost, reports)


def _reports(simulation: Simulation) -> int:
    """RTCP packets received by the camera."""
    (wire,) = simulation.connections("reports")
    return wire.udp_transport.rtcp_packets_received if wire.udp_transport else 0


@pytest.mark.parametrize("camera_id", CLIPS)
def test_over_udp_every_sent_picture_is_read_byte_for_byte(camera_id: str, seen: Seen):
    over_udp, over_tcp = (seen.watches[camera_id, "native", transport] for transport in ("udp", "tcp"))
    for watch, transport in ((over_udp, "udp"), (over_tcp, "tcp")):
        assert watch.info
        assert watch.error
        assert (watch.info.transport, watch.error.cause) == (transport, "camera_unreachable")
    found, sent = over_udp.numbers, seen.sent[camera_id]
    assert len(found) > 40
    assert are_consecutive(found)
    assert sent[sent.index(found[0]) :] == found
    assert {(one.lost_packets, one.is_damaged) for one in over_udp.pictures} == {(0, False)}
    theirs = dict(zip(over_tcp.numbers, over_tcp.pictures, strict=True))
    ours = dict(zip(found, over_udp.pictures, strict=True))
    assert not [number for number in ours.keys() & theirs.keys() if ours[number].nals != theirs[number].nals]


def test_both_readers_read_the_same_over_udp(seen: Seen):
    ours, theirs = (seen.watches["large", name, "udp"] for name in ("native", "ffmpeg"))
    shared = dict(zip(ours.numbers, ours.pictures, strict=True))
    found = [(n, one) for n, one in zip(theirs.numbers, theirs.pictures, strict=True) if n in shared][:-1]
    assert len(found) > 30
    assert all(shared[number].nals == one.nals for number, one in found)


def test_packet_loss_is_reported_with_its_picture_and_nothing_else_is(seen: Seen):
    """Losses of whole pictures, of their middles, starts and ends."""
    watch = seen.watches["loses", "native", "udp"]
    found = running_numbers_or_none("h264", watch.pictures)
    last = max(number for number in found if number is not None and number not in seen.lost)
    pictures = watch.pictures[: found.index(last) + 1]  # losses before this picture are known by now
    in_time = {number: count for number, count in seen.lost.items() if number < last}
    assert len(in_time) > 20
    assert sum(one.lost_packets for one in pictures) == sum(in_time.values())
    read_of = {number: one for number, one in zip(found, pictures, strict=False) if number is not None}
    for number, picture in read_of.items():
        if number in in_time:  # it lost a packet itself
            assert picture.is_damaged
            assert picture.lost_packets > 0
        elif number - 1 not in in_time:  # neither it nor the previous one
            assert (picture.is_damaged, picture.lost_packets) == (False, 0)
    assert sum(one.is_damaged for one in pictures) <= len(in_time) + 1
    assert any(number not in read_of for number in in_time)  # the running number itself was lost, or all slices


def test_reordered_packets_are_put_in_order(seen: Seen):
    watch = seen.watches["reorders", "native", "udp"]
    assert are_consecutive(watch.numbers)
    assert {(one.lost_packets, one.is_damaged) for one in watch.pictures} == {(0, False)}


def test_a_udp_only_camera_is_read_over_udp(seen: Seen):
    watch = seen.watches["udp-alone", "native", "tcp"]
    assert watch.info
    assert watch.info.transport == "udp"
    assert are_consecutive(watch.numbers)


def test_the_camera_gets_receiver_reports(seen: Seen):
    assert seen.reports >= 2


async def test_leaving_returns_everything_received(tmp_path: Path):
    log = tmp_path / "sent"
    async with (
        running([SimCamera("cam", SMALL)], log=log) as simulation,
        open_source(make_reader(), simulation.url("cam"), transport="udp") as source,
    ):
        pictures = await read(source, seconds=1)
        await asyncio.sleep(0.3)
        pictures += source.read_remaining()
        received_number = max(one.number for one in read_send_log(log))
        assert source.read_remaining() == []
    found = running_numbers("h264", pictures)
    assert are_consecutive(found)
    assert found[-1] == received_number


async def test_a_tcp_only_camera_refuses_udp_by_name():
    async with running([SimCamera("cam", SMALL, behavior=CameraBehavior(carriers=("tcp",)))]) as simulation:
        error = await open_error(make_reader(), simulation.url("cam"), transport="udp")
    assert "461" in str(error)
    assert error.cause == "stream_error"


async def test_packets_from_another_address_are_ignored():
    """Another address of this machine sends to our ports."""
    async with (
        running([SimCamera("cam", SMALL)]) as simulation,
        open_source(make_reader(), simulation.url("cam"), transport="udp") as source,
    ):
        (wire,) = simulation.connections("cam")
        assert wire.udp_transport is not None
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind(("127.0.0.2", 0))
        with stranger:
            for number in range(200):
                packet = b"\x80\x60" + number.to_bytes(2, "big") + bytes(8) + b"\x65\x88" + bytes(50)
                stranger.sendto(packet, ("127.0.0.1", wire.udp_transport.client_ports[0]))
            pictures = await read(source, seconds=1)
    assert {picture.lost_packets for picture in pictures} == {0}
    assert are_consecutive(running_numbers("h264", pictures))


async def test_leaving_closes_the_ports():
    async with running([SimCamera("cam", SMALL)]) as simulation:
        async with open_source(make_reader(), simulation.url("cam"), transport="udp") as source:
            await read(source, seconds=0.2)
            (wire,) = simulation.connections("cam")
            assert wire.udp_transport is not None
        assert await wait_until(lambda: not simulation.connections("cam"), within_s=2)
        for port in wire.udp_transport.client_ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.bind(("127.0.0.1", port))
