# The type stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""The simulated cameras as libav and a plain socket see them: received data matches the send log.

`test_readers.py` reads every clip to its end with libavformat and compares pictures, times and running numbers.
"""

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
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
import pytest_asyncio

from districam_devkit.bitstream import Codec, parse_running_number, split_annexb
from districam_devkit.simcam import (
    CameraBehavior,
    Clip,
    Credentials,
    Fault,
    Generated,
    SentPicture,
    SimCamera,
    read_send_log,
    running,
)
from districam_devkit.simcam import camera as camera_module
from districam_devkit.simcam.__main__ import main
from districam_devkit.simcam.clips import AccessUnit
from districam_devkit.simcam.faults import FaultKind
from support.wait_until import wait_until

pytestmark = pytest.mark.integration

SMALL = Generated(width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000)
SMALL_B = Generated(width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000, b_frames=2)
SMALL_HEVC = Generated("hevc", width=160, height=96, fps=30, seconds=1, gop_s=0.4, bitrate=150_000, b_frames=2)


class Client:
    """A plain RTSP client that keeps received packets by RTP timestamp."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader, self.writer, self.url = reader, writer, url
        self.cseq = 0
        self.session = ""

    @classmethod
    async def connect(cls, url: str) -> "Client":
        host, port = url.split("/")[2].split(":")
        return cls(*await asyncio.open_connection(host, int(port)), url)

    async def request(self, method: str, headers: Sequence[str] = (), url: str | None = None) -> tuple[int, str]:
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
        """Running numbers of complete access units up to the end of the stream; then closes the connection."""
        whole: list[int] = []
        payloads: list[bytes] = []
        while (packet := await self.packet()) is not None:
            if packet[0] == 0:
                payloads.append(packet[1][12:])
                if packet[1][1] & 0x80:
                    number = parse_running_number(codec, payloads)
                    whole += [number.number] if number else []
                    payloads = []
        self.writer.close()
        return whole

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def numbers_sent(log: Path, camera_id: str = "cam-001") -> list[int]:
    return [sent.number for sent in read_send_log(log) if sent.camera_id == camera_id]


async def test_looped_clips_decode_without_an_error(tmp_path: Path):
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
    async with running(cameras) as simulation, asyncio.timeout(15):
        first = asyncio.to_thread(decode, simulation.url("cam-001"), "h264")
        second = asyncio.to_thread(decode, simulation.url("cam-002"), "hevc")
        assert list(await asyncio.gather(first, second)) == [70, 70]


async def test_invalid_requests_get_the_matching_status():
    async with running([SimCamera("cam-001", SMALL, behavior=CameraBehavior(carriers=("tcp",)))]) as simulation:
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


async def test_basic_auth_by_hand_and_a_challenge_for_each_scheme():
    credentials = Credentials("viewer", "right", algorithm="SHA-256")
    async with running([SimCamera("cam-001", SMALL)], credentials=credentials) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        status, answer = await client.request("DESCRIBE")
        assert (status, answer.count("WWW-Authenticate: ")) == (401, 2)
        assert "algorithm=SHA-256" in answer
        header = "Authorization: Basic " + base64.b64encode(b"viewer:right").decode()
        assert (await client.request("DESCRIBE", [header]))[0] == 200
        await client.close()


async def test_first_packets_and_sender_report_match_rtp_info():
    async with running([SimCamera("cam-001", SMALL_B)]) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        answer = await client.play()
        seq, timestamp = (int(answer.partition(f"{name}=")[2].split(";")[0].split()[0]) for name in ("seq", "rtptime"))
        report, first, *others = [await asyncio.wait_for(client.packet(), 5) for _ in range(30)]
        await client.close()
    assert report is not None
    assert first is not None
    assert (report[0], report[1][1]) == (1, 200)
    assert struct.unpack_from(">HI", first[1], 2) == (seq, timestamp)
    seconds, fraction, at = struct.unpack_from(">III", report[1], 8)
    wall_s = seconds - 2_208_988_800 + fraction / 2**32
    assert abs(wall_s - time.time()) < 5
    # The first picture was captured when it was sent, or up to the reorder depth earlier.
    offset = (timestamp - at + (1 << 31)) % (1 << 32) - (1 << 31)
    assert -4 * 3600 <= offset <= 1800
    sequence = [seq] + [struct.unpack_from(">H", packet[1], 2)[0] for packet in others if packet and packet[0] == 0]
    assert [(later - former) % 65536 for former, later in itertools.pairwise(sequence)] == [1] * (len(sequence) - 1)


async def test_connections_share_frame_numbers_and_the_log_separates_them(tmp_path: Path):
    log = tmp_path / "sent.log"
    async with running([SimCamera("cam-001", SMALL)], log=log) as simulation:
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


async def test_access_units_before_the_first_keyframe_are_marked(tmp_path: Path):
    log = tmp_path / "sent.log"
    cameras = [SimCamera("cam-001", SMALL), SimCamera("cam-002", SMALL, start_at_keyframe=True)]

    def lines(camera_id: str) -> list[SentPicture]:
        return [line for line in read_send_log(log) if line.camera_id == camera_id]

    async with running(cameras, log=log) as simulation:
        clients = [await Client.connect(simulation.url(camera.camera_id)) for camera in cameras]
        for client in clients:
            await client.play()
        readings = [asyncio.create_task(client.numbers()) for client in clients]
        assert await wait_until(lambda: all(sum(one.is_keyframe for one in lines(c.camera_id)) >= 2 for c in cameras))
    await asyncio.wait_for(asyncio.gather(*readings), 5)
    mid_gop, at_keyframe = lines("cam-001"), lines("cam-002")
    first = next(index for index, line in enumerate(mid_gop) if line.is_keyframe)
    assert first > 0, "this camera is joined in the middle of a GOP"
    assert [line.before_first_keyframe for line in mid_gop] == [n < first for n in range(len(mid_gop))]
    assert at_keyframe[0].is_keyframe
    assert not any(line.before_first_keyframe for line in at_keyframe)


async def test_a_dropped_client_sees_eof_and_can_reconnect(tmp_path: Path):
    log = tmp_path / "sent.log"
    async with running([SimCamera("cam-001", SMALL), SimCamera("cam-002", SMALL)], log=log) as simulation:

        async def reading() -> asyncio.Task[list[int]]:
            before = len(numbers_sent(log))
            client = await Client.connect(simulation.url("cam-001"))
            await client.play()
            task = asyncio.create_task(client.numbers())
            assert await wait_until(lambda: len(numbers_sent(log)) > before + 10)
            return task

        first = await reading()
        assert simulation.drop("cam-002") == 0
        assert not first.done()
        assert simulation.drop("cam-001") == 1
        numbers = await asyncio.wait_for(first, 5)
        second = await reading()
    numbers += await asyncio.wait_for(second, 5)
    assert set(numbers_sent(log)) <= set(numbers)
    assert numbers == sorted(set(numbers))


async def test_silence_lasts_its_duration_and_requests_are_answered(tmp_path: Path):
    log = tmp_path / "sent.log"
    faults = [Fault("silence", "cam-001", at_s=0.5, for_s=1.5)]
    async with running([SimCamera("cam-001", SMALL)], log=log, faults=faults) as simulation:
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
    """An RTP packet as received."""

    arrival_s: float
    seq: int
    timestamp: int
    number: int | None


async def packets_of(client: Client, seconds: float, reports: list[float] | None = None) -> list[Packet]:
    """Packets received in the next `seconds`; arrival times of RTCP are appended to `reports`."""
    found: list[Packet] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (packet := await client.packet()) is not None:
                now_s, (channel, data) = time.monotonic(), packet
                if channel == 1 and reports is not None:
                    reports.append(now_s)
                elif channel == 0:
                    number = parse_running_number("h264", [data[12:]])
                    seq, timestamp = struct.unpack_from(">HI", data, 2)
                    found.append(Packet(now_s, seq, timestamp, number.number if number else None))
    await client.close()
    return found


def signed(ticks: int) -> int:
    return (ticks + (1 << 31)) % (1 << 32) - (1 << 31)


@dataclass(frozen=True, slots=True)
class Case:
    """A fault that starts after half a second. For `pause_s` there is no picture; timestamps step by `step_s` once.

    Otherwise they step by a picture, or (`stuck`) not at all.
    """

    kind: FaultKind
    for_s: float
    pause_s: float = 0.0
    step_s: float = 0.0


CASES = (
    Case("freeze", 0.6, pause_s=0.6, step_s=0.6),
    Case("stall", 0.6, pause_s=0.6),
    Case("forward", 100, step_s=100),
    Case("back", 100, step_s=-100),
    Case("stuck", 0.6, step_s=0.6),
    Case("repeat", 60),
)
Got = tuple[list[Packet], list[float]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def got() -> dict[str, Got]:
    """What a plain client of each camera receives in 1.8 s, and the times of RTCP, by fault."""
    cameras = [SimCamera(case.kind, SMALL) for case in CASES]
    faults = [Fault(case.kind, case.kind, 0.5, case.for_s) for case in CASES]
    async with running(cameras, faults=faults) as simulation:

        async def client_of(camera_id: str) -> Got:
            client, reports = await Client.connect(simulation.url(camera_id)), list[float]()
            await client.play()
            return await packets_of(client, 1.8, reports), reports

        found = await asyncio.gather(*(client_of(case.kind) for case in CASES))
    return {case.kind: one for case, one in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.kind)
def test_what_a_fault_does_to_pictures_and_their_timestamps(case: Case, got: dict[str, Got]):
    packets, reports = got[case.kind]
    pictures = [packet for packet in packets if packet.number is not None]
    assert [(b.seq - a.seq) % 65536 for a, b in itertools.pairwise(packets)] == [1] * (len(packets) - 1)
    numbers = [packet.number or 0 for packet in pictures]
    missing = [b - a - 1 for a, b in itertools.pairwise(numbers) if b != a + 1]
    assert missing == ([pytest.approx(case.pause_s * 25, abs=2)] if case.pause_s else [])
    steps = [signed(b.timestamp - a.timestamp) / 90_000 for a, b in itertools.pairwise(pictures)]
    odd = [step for step in steps if abs(step - 0.04) > 0.001]
    if case.kind == "stuck":
        assert odd[:-1] == [0.0] * (len(odd) - 1)
        assert len(odd) == pytest.approx(15, abs=2)
        odd = odd[-1:]
    assert odd == ([pytest.approx(case.step_s, abs=0.1)] if case.step_s else [])
    if case.kind == "freeze":
        (before_s, after_s) = max(
            itertools.pairwise(packet.arrival_s for packet in packets), key=lambda pair: pair[1] - pair[0]
        )
        assert any(before_s < at_s < after_s for at_s in reports), "it goes on reporting"


def test_a_duplicating_camera_sends_every_access_unit_twice(got: dict[str, Got]):
    packets, _ = got["repeat"]
    assert [(b.seq - a.seq) % 65536 for a, b in itertools.pairwise(packets)] == [1] * (len(packets) - 1)
    pictures = [packet for packet in packets if packet.number is not None]
    numbers = [packet.number for packet in pictures]
    first = next(at for at in range(len(numbers) - 1) if numbers[at] == numbers[at + 1])
    again = pictures[first : first + 20]
    assert [one.number for one in again] == [(again[0].number or 0) + n // 2 for n in range(20)]
    assert len({one.timestamp for one in again}) == 10


async def test_garbage_keeps_the_framing_and_babble_breaks_it():
    cameras = [SimCamera("cam-001", SMALL), SimCamera("cam-002", SMALL)]
    faults = [Fault("garbage", "cam-001", 0, 60), Fault("babble", "cam-002", 0, 60)]
    async with running(cameras, faults=faults) as simulation:
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


async def test_a_camera_changes_its_size_in_band_and_its_codec_by_a_new_connection(tmp_path: Path):
    log = tmp_path / "sent.log"
    larger = Generated(width=192, height=112, seconds=1, gop_s=0.4, bitrate=150_000)
    hevc = Generated("hevc", width=160, height=96, seconds=1, gop_s=0.4, bitrate=150_000)
    cameras = [SimCamera("cam-001", SMALL, other_clip=larger), SimCamera("cam-002", SMALL, other_clip=hevc)]
    async with running(cameras, log=log) as simulation:
        first, second = [await Client.connect(simulation.url(f"cam-00{n}")) for n in (1, 2)]
        await first.play()
        await second.play()
        readings = [asyncio.create_task(client.numbers()) for client in (first, second)]
        assert await wait_until(lambda: len(numbers_sent(log)) > 5)
        simulation.switch_clip("cam-001")
        simulation.switch_clip("cam-002")
        await asyncio.wait_for(readings[1], 5)
        again = await Client.connect(simulation.url("cam-002"))
        assert "H265/90000" in (await again.request("DESCRIBE"))[1]
        await again.close()
        changed = len(numbers_sent(log))
        assert await wait_until(lambda: len(numbers_sent(log)) > changed + 5)
        assert not readings[0].done()
        _, sdp = await (other := await Client.connect(simulation.url("cam-001"))).request("DESCRIBE")
        assert "H264/90000" in sdp
        await other.close()
    numbers = await asyncio.wait_for(readings[0], 5)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no picture is missed"
    with pytest.raises(ValueError, match="needs another clip"):
        async with running([cameras[0], SimCamera("cam-003", SMALL)], faults=[Fault("change", "cam-003", 1)]):
            pass
    slower = Generated(width=160, height=96, fps=10, seconds=1, gop_s=0.4, bitrate=150_000)
    with pytest.raises(ValueError, match="rate"):
        async with running([SimCamera("cam-001", SMALL, other_clip=slower)]):
            pass


async def test_a_camera_refuses_connections_for_a_while():
    statuses = (401, 404, 503)
    async with running([SimCamera(f"cam-{status}", SMALL) for status in statuses]) as simulation:

        async def refused(status: int) -> None:
            playing, client = [await Client.connect(simulation.url(f"cam-{status}")) for _ in range(2)]
            await playing.play()
            simulation.refuse_requests(f"cam-{status}", status, 0.5)
            await asyncio.wait_for(playing.numbers(), 5)
            assert (await client.request("OPTIONS"))[0] == 200
            found, answer = await client.request("DESCRIBE")
            assert (found, "WWW-Authenticate: Digest" in answer) == (status, status == 401)
            await asyncio.sleep(0.6)
            await client.play()
            await client.close()

        await asyncio.gather(*(refused(status) for status in statuses))


async def test_a_camera_starts_at_the_configured_picture(tmp_path: Path):
    log = tmp_path / "sent.log"
    camera = SimCamera("cam-001", SMALL, start_offset_s=0.2)  # keyframes at 0, 0.4 and 0.8 s of its clip
    async with running([camera], log=log) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        await packets_of(client, 1.2)
    assert {sent.number % 25 for sent in read_send_log(log) if sent.is_keyframe} == {5, 15, 20}


async def test_a_client_that_stops_reading_is_dropped_and_only_sent_data_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(camera_module, "BUFFER_LIMIT_BYTES", 1 << 20)
    log, dice = tmp_path / "sent.log", random.Random(1)
    units = tuple(
        AccessUnit(
            (b"\x65" + dice.randbytes(400_000).replace(b"\0", b"\1"),), is_keyframe=True, pts=n * 1800, dts=n * 1800
        )
        for n in range(4)
    )
    clip = Clip("h264", (b"\x67\x42\x00\x1e", b"\x68\xce"), units, Fraction(50), 64, 64, 4 * 1800)
    async with running([SimCamera("cam-001", clip)], log=log) as simulation:
        client = await Client.connect(simulation.url("cam-001"))
        await client.play()
        assert await wait_until(lambda: not simulation.connections("cam-001"))
        assert numbers_sent(log)
    received = await asyncio.wait_for(client.numbers(), 10)
    sent = numbers_sent(log)
    assert received[: len(sent)] == sent
    assert len(received) - len(sent) <= 1, "the last one may have left while the connection was being ended"
    await client.close()


def test_the_command_runs_until_it_is_stopped(tmp_path: Path):
    log, spec = tmp_path / "sent.log", tmp_path / "spec.json"
    clip = {"codec": "hevc", "width": 160, "height": 96, "seconds": 1, "bitrate": 150_000}
    spec.write_text(json.dumps({"cameras": [{"id": "cam-007", "clip": clip}], "faults": ["silence:cam-007@60+1"]}))
    arguments = ["--spec", str(spec), "--log", str(log), "--fault", "drop:cam-007@60"]
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
                number = parse_running_number("hevc", nals)
                seen += [number.number] if number else []
                if len(seen) == 5:
                    process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert seen == numbers_sent(log, "cam-007")


def test_the_command_rejects_invalid_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    spec = tmp_path / "spec.json"
    spec.write_text('{"cameras": [{"id": "cam-001", "clip": {"footage": "dogs"}}], "faults": []}')
    for arguments in (["--spec", str(spec)], ["--fault", "melt:cam-001@1"], ["--user", "viewer"]):
        monkeypatch.setattr(sys, "argv", ["districam-simcam", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        assert err.strip()
