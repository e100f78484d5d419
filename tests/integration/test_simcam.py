# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""The simulated cameras, as libav and as a plain socket see them: what was received is what the send log says."""

import asyncio
import base64
import contextlib
import itertools
import json
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import pytest
from av.error import FFmpegError, HTTPNotFoundError, HTTPUnauthorizedError

from districam_devkit.bitstream import Codec, RunningNumber, read_running_number, split_annexb
from districam_devkit.simcam import (
    Clip,
    Credentials,
    Fault,
    Footage,
    Generated,
    Manners,
    Sent,
    SimCamera,
    read_send_log,
    running,
)
from districam_devkit.simcam import camera as camera_module
from districam_devkit.simcam.clips import AccessUnit

pytestmark = pytest.mark.integration

SMALL = Generated(width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000)
SMALL_B = Generated(width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000, b_frames=2)
SMALL_HEVC = Generated(
    "hevc", width=160, height=96, fps=30, seconds=1, gop_s=0.4, bitrate=150_000, b_frames=2
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@dataclass(frozen=True, slots=True)
class Received:
    running: RunningNumber
    pts: int | None
    is_keyframe: bool


def read_with_libav(url: str, codec: Codec, seen: list[Received]) -> None:
    """Until the end of the stream or an error."""
    av.logging.set_level(None)
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(5, 5)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                number = read_running_number(codec, split_annexb(bytes(packet)))
                assert number is not None, "every access unit carries a number"
                seen.append(Received(number, packet.pts, packet.is_keyframe))


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


class Client:
    """A plain RTSP client that keeps what comes, per RTP timestamp."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url = reader, writer, url
        self.cseq = 0
        self.session = ""

    @classmethod
    async def connect(cls, url: str) -> "Client":
        host, port = url.split("/")[2].split(":")
        return cls(*await asyncio.open_connection(host, int(port)), url)

    async def request(
        self, method: str, headers: Sequence[str] = (), url: str | None = None
    ) -> tuple[int, str]:
        self.cseq += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.cseq}", *headers]
        lines += [f"Session: {self.session}"] if self.session else []
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        async with asyncio.timeout(5):
            while (first := await self.reader.readexactly(1)) == b"$":
                await self.reader.readexactly(int.from_bytes((await self.reader.readexactly(3))[1:], "big"))
            head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = head.partition("Content-Length: ")[2].partition("\r")[0]
            body = (await self.reader.readexactly(int(length or 0))).decode()
        assert f"CSeq: {self.cseq}\r\n" in head
        return int(head.split()[1]), head + body

    async def play(self) -> str:
        status, _ = await self.request("DESCRIBE")
        assert status == 200
        status, answer = await self.request(
            "SETUP", ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"], f"{self.url}/trackID=0"
        )
        assert status == 200
        self.session = answer.partition("Session: ")[2].partition(";")[0]
        status, answer = await self.request("PLAY")
        assert status == 200
        return answer

    async def packet(self) -> tuple[int, bytes] | None:
        """Channel and bytes of the next interleaved packet; None at the end of the stream."""
        try:
            head = await self.reader.readexactly(4)
            return head[1], await self.reader.readexactly(int.from_bytes(head[2:], "big"))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def numbers(self, codec: Codec = "h264") -> list[int]:
        """Running numbers of the access units that arrived whole, to the end of the stream; then it hangs up."""
        whole: list[int] = []
        payloads: list[bytes] = []
        while (packet := await self.packet()) is not None:
            if packet[0] == 0:
                payloads.append(packet[1][12:])
                if packet[1][1] & 0x80:
                    number = read_running_number(codec, payloads)
                    whole += [number.number] if number else []
                    payloads = []
        self.writer.close()
        return whole

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def numbers_sent(log: Path, camera_id: str = "cam-001") -> list[int]:
    return [sent.number for sent in read_send_log(log) if sent.camera_id == camera_id]


@pytest.mark.parametrize(
    ("source", "codec", "tick"),
    [
        (Footage("bikes"), "h264", 3600),
        (Footage("bigbuckbunny"), "h264", 3600),
        (SMALL, "h264", 3600),
        (SMALL_B, "h264", 3600),
        (SMALL_HEVC, "hevc", 3000),
    ],
    ids=["bikes", "bunny", "h264", "h264-b", "hevc-b"],
)
async def test_what_libav_receives_is_what_was_sent(
    source: Footage | Generated, codec: Codec, tick: int, cache: Path, tmp_path: Path
):
    log, seen = tmp_path / "sent.log", list[Received]()
    started_us = time.time_ns() // 1000
    async with running([SimCamera("cam-001", source)], log=log, cache=cache) as simulation:
        reading = asyncio.create_task(
            asyncio.to_thread(read_with_libav, simulation.url("cam-001"), codec, seen)
        )
        await until(lambda: len(seen) >= 60)
    await asyncio.wait_for(reading, 5)
    numbers = [received.running.number for received in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers == numbers_sent(log)
    sent = {line.number: line for line in read_send_log(log)}
    for received in seen:
        assert received.running.camera_id == "cam-001"
        assert received.running.sent_us == sent[received.running.number].sent_us
        assert received.is_keyframe == sent[received.running.number].is_keyframe
    times = [line.sent_us for line in sent.values()]
    assert started_us < times[0]
    assert times == sorted(times)
    assert times[-1] < time.time_ns() // 1000
    shown = sorted(received.pts for received in seen[4:-4] if received.pts is not None)
    assert len(shown) > 40
    inner = shown[4:-4]
    assert {later - former for former, later in itertools.pairwise(inner)} == {tick}, "no seam"


async def test_looped_clips_decode_without_an_error(cache: Path, tmp_path: Path):
    def decode(url: str, codec: Codec) -> int:
        options = {"rtsp_transport": "tcp", "err_detect": "explode"}
        with av.open(url, options=options, timeout=(5, 5)) as container:
            pictures = 0
            for _ in container.decode(video=0):
                pictures += 1
                if pictures == 70:
                    break
            return pictures

    cameras = [
        SimCamera("cam-001", SMALL_B, start_at_keyframe=True),
        SimCamera("cam-002", SMALL_HEVC, start_at_keyframe=True),
    ]
    async with running(cameras, cache=cache) as simulation, asyncio.timeout(15):
        first = asyncio.to_thread(decode, simulation.url("cam-001"), "h264")
        second = asyncio.to_thread(decode, simulation.url("cam-002"), "hevc")
        assert list(await asyncio.gather(first, second)) == [70, 70]


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("viewer", "right"),
        Credentials("viewer", "right", schemes=("basic",)),
        Credentials("viewer", "right", schemes=("digest",), qop=False),
    ],
    ids=["digest-qop", "basic", "digest"],
)
async def test_only_the_right_password_opens_a_camera(credentials: Credentials, cache: Path):
    def read_one(url: str) -> int:
        with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(5, 5)) as container:
            return next(container.demux(container.streams.video[0])).size

    async with running([SimCamera("cam-001", SMALL)], credentials=credentials, cache=cache) as simulation:
        url = simulation.url("cam-001")
        assert await asyncio.to_thread(read_one, url.replace("//", "//viewer:right@")) > 0
        for refused in (url, url.replace("//", "//viewer:wrong@"), url.replace("//", "//other:right@")):
            with pytest.raises(HTTPUnauthorizedError):
                await asyncio.to_thread(read_one, refused)
        missing = url.replace("cam-001", "cam-009").replace("//", "//viewer:right@")
        with pytest.raises(HTTPNotFoundError):
            await asyncio.to_thread(read_one, missing)


async def test_requests_are_refused_with_the_status_that_says_why(cache: Path):
    async with running(
        [SimCamera("cam-001", SMALL, manners=Manners(carriers=("tcp",)))], cache=cache
    ) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        status, answer = await client.request("OPTIONS")
        assert (status, "Public: OPTIONS, DESCRIBE, SETUP, PLAY" in answer) == (200, True)
        status, answer = await client.request("DESCRIBE")
        assert f"Content-Base: {client.url}/\r\n" in answer
        assert (await client.request("PLAY"))[0] == 454
        udp = ["Transport: RTP/AVP;unicast;client_port=5000-5001"]
        assert (await client.request("SETUP", udp, f"{client.url}/trackID=0"))[0] == 461
        unknown = simulation.url("cam-001").replace("cam-001", "cam-002")
        assert (await client.request("DESCRIBE", url=unknown))[0] == 404
        assert (await client.request("RECORD"))[0] == 501
        await client.play()
        assert (await client.request("GET_PARAMETER"))[0] == 200
        assert (await client.request("SET_PARAMETER"))[0] == 200
        client.session, mine = "deadbeef", client.session
        assert (await client.request("GET_PARAMETER"))[0] == 454
        client.session = mine
        assert (await client.request("TEARDOWN"))[0] == 200
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        await client.close()


async def test_basic_auth_by_hand_and_a_challenge_for_each_scheme(cache: Path):
    credentials = Credentials("viewer", "right", algorithm="SHA-256")
    async with running([SimCamera("cam-001", SMALL)], credentials=credentials, cache=cache) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        status, answer = await client.request("DESCRIBE")
        assert (status, answer.count("WWW-Authenticate: ")) == (401, 2)
        assert "algorithm=SHA-256" in answer
        header = "Authorization: Basic " + base64.b64encode(b"viewer:right").decode()
        assert (await client.request("DESCRIBE", [header]))[0] == 200
        await client.close()


async def test_the_first_packets_and_the_sender_report_keep_what_play_promised(cache: Path):
    async with running([SimCamera("cam-001", SMALL_B)], cache=cache) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        answer = await client.play()
        seq, timestamp = (
            int(answer.partition(f"{name}=")[2].split(";")[0].split()[0]) for name in ("seq", "rtptime")
        )
        report, first, *others = [await asyncio.wait_for(client.packet(), 5) for _ in range(30)]
        await client.close()
    assert report is not None
    assert first is not None
    assert (report[0], report[1][1]) == (1, 200)
    assert struct.unpack_from(">HI", first[1], 2) == (seq, timestamp)
    seconds, fraction, at = struct.unpack_from(">III", report[1], 8)
    wall_s = seconds - 2_208_988_800 + fraction / 2**32
    assert abs(wall_s - time.time()) < 5
    # The first picture was taken when it was sent, or up to the reorder depth before.
    offset = (timestamp - at + (1 << 31)) % (1 << 32) - (1 << 31)
    assert -4 * 3600 <= offset <= 1800
    sequence = [seq] + [
        struct.unpack_from(">H", packet[1], 2)[0] for packet in others if packet and packet[0] == 0
    ]
    assert [(later - former) % 65536 for former, later in itertools.pairwise(sequence)] == [1] * (
        len(sequence) - 1
    )


async def test_viewers_share_numbers_and_the_log_tells_them_apart(cache: Path, tmp_path: Path):
    log = tmp_path / "sent.log"
    async with running([SimCamera("cam-001", SMALL)], log=log, cache=cache) as simulation:
        clients = [await Client.connect(simulation.url("cam-001")) for _ in range(2)]
        readings: list[asyncio.Task[list[int]]] = []
        for client in clients:
            await client.play()
            readings.append(asyncio.create_task(client.numbers()))
            await asyncio.sleep(0.6)
    received = [await asyncio.wait_for(reading, 5) for reading in readings]
    lines = read_send_log(log)
    connections = sorted({number for line in lines for number in line.connections})
    for connection, numbers in zip(connections, received, strict=True):
        assert numbers == [line.number for line in lines if connection in line.connections]
    assert set(received[1]) < set(received[0])
    for client in clients:
        await client.close()


async def test_access_units_before_the_first_keyframe_are_marked(cache: Path, tmp_path: Path):
    async def lines_of(camera: SimCamera) -> list[Sent]:
        log = tmp_path / "sent.log"
        async with running([camera], log=log, cache=cache) as simulation:
            client = await Client.connect(simulation.url("cam-001"))
            await client.play()
            reading = asyncio.create_task(client.numbers())
            await until(lambda: sum(line.is_keyframe for line in read_send_log(log)) >= 2)
        await asyncio.wait_for(reading, 5)
        await client.close()
        return read_send_log(log)

    lines = await lines_of(SimCamera("cam-001", SMALL))
    first = next(index for index, line in enumerate(lines) if line.is_keyframe)
    assert first > 0, "this camera is joined in the middle of a GOP"
    assert [line.before_first_keyframe for line in lines] == [True] * first + [False] * (len(lines) - first)
    lines = await lines_of(SimCamera("cam-001", SMALL, start_at_keyframe=True))
    assert lines[0].is_keyframe
    assert not any(line.before_first_keyframe for line in lines)


async def test_a_dropped_client_sees_the_end_and_can_come_back(cache: Path, tmp_path: Path):
    log, seen, again = tmp_path / "sent.log", list[Received](), list[Received]()
    cameras = [SimCamera("cam-001", SMALL), SimCamera("cam-002", SMALL)]
    async with running(cameras, log=log, cache=cache) as simulation:
        url = simulation.url("cam-001")
        reading = asyncio.create_task(asyncio.to_thread(read_with_libav, url, "h264", seen))
        await until(lambda: len(seen) > 10)
        assert simulation.drop("cam-002") == 0
        assert not reading.done()
        assert simulation.drop("cam-001") == 1
        with contextlib.suppress(FFmpegError):  # an end and a reset are both ends
            await asyncio.wait_for(reading, 5)
        reading = asyncio.create_task(asyncio.to_thread(read_with_libav, url, "h264", again))
        await until(lambda: len(again) > 10)
    await asyncio.wait_for(reading, 5)
    numbers = [received.running.number for received in [*seen, *again]]
    assert set(numbers_sent(log)) <= set(numbers)
    assert numbers == sorted(set(numbers))
    assert again[0].running.number > seen[-1].running.number


async def test_silence_lasts_as_long_as_asked_and_requests_are_answered(cache: Path, tmp_path: Path):
    log = tmp_path / "sent.log"
    faults = [Fault("silence", "cam-001", at_s=0.5, for_s=1.5)]
    async with running([SimCamera("cam-001", SMALL)], log=log, cache=cache, faults=faults) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        arrivals: list[float] = []
        while len(arrivals) < 2 or arrivals[-1] - arrivals[-2] < 1:
            assert await asyncio.wait_for(client.packet(), 5) is not None
            arrivals.append(time.monotonic())
        assert 1.4 < arrivals[-1] - arrivals[-2] < 2.0
        simulation.silence("cam-001", 0.5)
        await asyncio.sleep(0.1)
        assert (await client.request("GET_PARAMETER"))[0] == 200
        await client.close()
    numbers = numbers_sent(log)
    missing = max(later - former for former, later in itertools.pairwise(numbers))
    assert 35 <= missing <= 45, "a live camera goes on with the present picture"


@dataclass(frozen=True, slots=True)
class Packet:
    """One of RTP, as a plain client gets it."""

    arrival_s: float
    seq: int
    timestamp: int
    number: int | None


async def packets_of(client: Client, seconds: float, reports: list[float] | None = None) -> list[Packet]:
    """Those of so many seconds from now on; the arrivals of RTCP's into `reports`."""
    found: list[Packet] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (packet := await client.packet()) is not None:
                now_s, (channel, data) = time.monotonic(), packet
                if channel == 1 and reports is not None:
                    reports.append(now_s)
                elif channel == 0:
                    number = read_running_number("h264", [data[12:]])
                    seq, timestamp = struct.unpack_from(">HI", data, 2)
                    found.append(Packet(now_s, seq, timestamp, number.number if number else None))
    await client.close()
    return found


def signed(ticks: int) -> int:
    return (ticks + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize(
    ("fault", "pause_s", "step_s"),
    [
        (Fault("freeze", "cam-001", 0.5, 0.6), 0.6, 0.6),
        (Fault("stall", "cam-001", 0.5, 0.6), 0.6, 0.0),
        (Fault("forward", "cam-001", 0.5, 100), 0.0, 100),
        (Fault("back", "cam-001", 0.5, 100), 0.0, -100),
        (Fault("stuck", "cam-001", 0.5, 0.6), 0.0, 0.6),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
async def test_what_a_fault_does_to_pictures_and_their_timestamps(
    fault: Fault, pause_s: float, step_s: float, cache: Path
):
    """`pause_s` without a picture; timestamps step by `step_s` once, and else by a picture, or not at all."""
    reports: list[float] = []
    async with running([SimCamera("cam-001", SMALL)], cache=cache, faults=[fault]) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        packets = await packets_of(client, 1.8, reports)
    pictures = [packet for packet in packets if packet.number is not None]
    assert [(b.seq - a.seq) % 65536 for a, b in itertools.pairwise(packets)] == [1] * (len(packets) - 1)
    numbers = [packet.number or 0 for packet in pictures]
    missing = [b - a - 1 for a, b in itertools.pairwise(numbers) if b != a + 1]
    assert missing == ([pytest.approx(pause_s * 25, abs=2)] if pause_s else [])
    steps = [signed(b.timestamp - a.timestamp) / 90_000 for a, b in itertools.pairwise(pictures)]
    odd = [step for step in steps if abs(step - 0.04) > 0.001]
    if fault.kind == "stuck":
        assert odd[:-1] == [0.0] * (len(odd) - 1)
        assert len(odd) == pytest.approx(15, abs=2)
        odd = odd[-1:]
    assert odd == ([pytest.approx(step_s, abs=0.1)] if step_s else [])
    if fault.kind == "freeze":
        (before_s, after_s) = max(
            itertools.pairwise(packet.arrival_s for packet in packets), key=lambda pair: pair[1] - pair[0]
        )
        assert any(before_s < at_s < after_s for at_s in reports), "it goes on reporting"


async def test_a_repeating_camera_sends_every_access_unit_twice(cache: Path):
    faults = [Fault("repeat", "cam-001", 0, 60)]
    async with running([SimCamera("cam-001", SMALL)], cache=cache, faults=faults) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        packets = await packets_of(client, 0.5)
    numbers = [packet.number for packet in packets if packet.number is not None]
    assert numbers[:10] == [numbers[0] + n // 2 for n in range(10)]
    assert [(b.seq - a.seq) % 65536 for a, b in itertools.pairwise(packets)] == [1] * (len(packets) - 1)
    assert len({packet.timestamp for packet in packets}) == len(set(numbers))


async def test_garbage_keeps_the_framing_and_babble_breaks_it(cache: Path):
    cameras = [SimCamera("cam-001", SMALL), SimCamera("cam-002", SMALL)]
    faults = [Fault("garbage", "cam-001", 0, 60), Fault("babble", "cam-002", 0, 60)]
    async with running(cameras, cache=cache, faults=faults) as simulation:
        garbage, babble = [await Client.connect(simulation.url(f"cam-00{n}")) for n in (1, 2)]
        await garbage.play()
        await babble.play()
        for _ in range(20):
            packet = await asyncio.wait_for(garbage.packet(), 5)
            assert packet is not None
            assert packet[0] == 1 or packet[1][12] & 0x80, "no NAL unit begins so"
        noise = await asyncio.wait_for(babble.reader.readexactly(3000), 5)
        assert not {0x24, 0x0A} & set(noise)
        await garbage.close()
        await babble.close()


async def test_a_camera_changes_its_size_in_band_and_its_codec_by_a_new_connection(
    cache: Path, tmp_path: Path
):
    log = tmp_path / "sent.log"
    larger = Generated(width=192, height=112, seconds=1, gop_s=0.4, bitrate=150_000)
    hevc = Generated("hevc", width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000)
    cameras = [SimCamera("cam-001", SMALL, other=larger), SimCamera("cam-002", SMALL, other=hevc)]
    async with running(cameras, log=log, cache=cache) as simulation:
        first, second = [await Client.connect(simulation.url(f"cam-00{n}")) for n in (1, 2)]
        await first.play()
        await second.play()
        readings = [asyncio.create_task(client.numbers()) for client in (first, second)]
        await until(lambda: len(numbers_sent(log)) > 5)
        simulation.change("cam-001")
        simulation.change("cam-002")
        await asyncio.wait_for(readings[1], 5)
        again = await Client.connect(simulation.url("cam-002"))
        assert "H265/90000" in (await again.request("DESCRIBE"))[1]
        await again.close()
        changed = len(numbers_sent(log))
        await until(lambda: len(numbers_sent(log)) > changed + 5)
        assert not readings[0].done()
        _, sdp = await (other := await Client.connect(simulation.url("cam-001"))).request("DESCRIBE")
        assert "H264/90000" in sdp
        await other.close()
    numbers = await asyncio.wait_for(readings[0], 5)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no picture is missed"
    with pytest.raises(ValueError, match="no other clip"):
        async with running([cameras[0], SimCamera("cam-003", SMALL)], faults=[Fault("change", "cam-003", 1)]):
            pass
    slower = Generated(width=160, height=96, fps=10, seconds=1, gop_s=0.4, bitrate=150_000)
    with pytest.raises(ValueError, match="rate"):
        async with running([SimCamera("cam-001", SMALL, other=slower)], cache=cache):
            pass


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_camera_refuses_for_a_while(status: int, cache: Path):
    async with running([SimCamera("cam-001", SMALL)], cache=cache) as simulation:
        playing, client = [await Client.connect(simulation.url("cam-001")) for _ in range(2)]
        await playing.play()
        simulation.refuse("cam-001", status, 0.5)
        await asyncio.wait_for(playing.numbers(), 5)
        assert (await client.request("OPTIONS"))[0] == 200
        refused, answer = await client.request("DESCRIBE")
        assert (refused, "WWW-Authenticate: Digest" in answer) == (status, status == 401)
        await asyncio.sleep(0.6)
        await client.play()
        await client.close()


async def test_a_camera_begins_where_it_is_told_to(cache: Path, tmp_path: Path):
    log = tmp_path / "sent.log"
    camera = SimCamera("cam-001", SMALL, begins_s=0.2)  # keyframes at 0, 0.4 and 0.8 s of its clip
    async with running([camera], log=log, cache=cache) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        await packets_of(client, 1.2)
    assert {sent.number % 25 for sent in read_send_log(log) if sent.is_keyframe} == {5, 15, 20}


async def test_a_client_that_stops_reading_is_let_go_and_only_what_left_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(camera_module, "BUFFER_LIMIT_BYTES", 1 << 20)
    log, dice = tmp_path / "sent.log", random.Random(1)
    units = tuple(
        AccessUnit(
            (b"\x65" + dice.randbytes(400_000).replace(b"\0", b"\1"),),
            is_keyframe=True,
            pts=n * 1800,
            dts=n * 1800,
        )
        for n in range(4)
    )
    clip = Clip("h264", (b"\x67\x42\x00\x1e", b"\x68\xce"), units, Fraction(50), 64, 64, 4 * 1800)
    async with running([SimCamera("cam-001", clip)], log=log) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        await until(lambda: not simulation.connections("cam-001"))
        assert numbers_sent(log)
    received = await asyncio.wait_for(client.numbers(), 10)
    sent = numbers_sent(log)
    assert received[: len(sent)] == sent
    assert len(received) - len(sent) <= 1, "the last one may have left while the connection was being ended"
    await client.close()


def test_the_command_runs_until_it_is_told_to_stop(tmp_path: Path, cache: Path):
    log, spec = tmp_path / "sent.log", tmp_path / "spec.json"
    clip = {"codec": "hevc", "width": 160, "height": 96, "seconds": 1, "bitrate": 150_000}
    spec.write_text(
        json.dumps({"cameras": [{"id": "cam-007", "clip": clip}], "faults": ["silence:cam-007@60+1"]})
    )
    arguments = ["--spec", str(spec), "--log", str(log), "--cache", str(cache), "--fault", "drop:cam-007@60"]
    command = [sys.executable, "-m", "districam_devkit.simcam", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert list(ready["urls"]) == ["cam-007"]
        url = str(ready["urls"]["cam-007"])
        with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(5, 5)) as container:
            seen: list[int] = []
            for packet in container.demux(container.streams.video[0]):
                nals = split_annexb(bytes(packet))
                number = read_running_number("hevc", nals)
                seen += [number.number] if number else []
                if len(seen) == 5:
                    process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert seen == numbers_sent(log, "cam-007")


def test_the_command_refuses_what_makes_no_sense(tmp_path: Path):
    spec = tmp_path / "spec.json"
    spec.write_text('{"cameras": [{"id": "cam-001", "clip": {"footage": "dogs"}}], "faults": []}')
    command = [sys.executable, "-m", "districam_devkit.simcam"]
    for arguments in (["--spec", str(spec)], ["--fault", "melt:cam-001@1"], ["--user", "viewer"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.strip()
