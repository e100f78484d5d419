"""Untrusted pictures are decoded in processes without secrets, with bounded memory, which are replaced when they fail."""
# The stubs of av leave options and packets open:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import pytest_asyncio
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from districam_common.pictures.annex_b import to_annex_b
from districam_common.pictures.decoder_pool import DecoderExitedError, DecoderPool, DecoderTimeoutError
from districam_common.pictures.decoder_process import MAX_JPEG_PIXELS, MAX_PIXELS
from districam_common.pictures.messages import BadMessageError, MessageHead, decode_head, decode_lengths, encode_message

pytestmark = pytest.mark.hostile
WAIT_S = 20.0


def film(width: int, height: int, pictures: int = 1) -> bytes:
    """An MP4 of grey pictures, each darker than the one before."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((height * 3 // 2, width), 200 - 50 * n, np.uint8), "yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest_asyncio.fixture
async def children() -> AsyncGenerator[DecoderPool]:
    async with asyncio.timeout(60), DecoderPool.open(1) as opened:
        yield opened


async def picture(
    children: DecoderPool, video: bytes, *, at_us: int = 0, timeout_s: float = WAIT_S
) -> tuple[MessageHead, bytes]:
    return await children.request({"do": "picture", "at_us": at_us}, video, timeout_s=timeout_s)


def pids() -> list[int]:
    """Process ids of our child processes that decode pictures."""
    threads = Path("/proc/self/task").iterdir()
    ours = [pid for thread in threads for pid in (thread / "children").read_text(encoding="ascii").split()]
    return [int(pid) for pid in ours if b"pictures.decoder_process" in Path("/proc", pid, "cmdline").read_bytes()]


async def test_the_picture_at_an_instant_is_decoded(children: DecoderPool):
    video = film(64, 48, pictures=3)
    for at_us, shown in ((0, 214), (99_999, 214), (150_000, 156), (10**9, 98)):
        head, jpeg = await picture(children, video, at_us=at_us)
        with av.open(io.BytesIO(jpeg), "r") as container:
            (frame,) = container.decode(video=0)
        assert (head["width"], head["height"]) == (frame.width, frame.height) == (64, 48)
        assert abs(float(frame.to_ndarray(format="gray").mean()) - shown) < 4, "JPEG has the full range"
    assert len(pids()) == 1


async def test_the_child_has_nothing_of_the_services_environment(
    children: DecoderPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DISTRICAM_S3__SECRET_KEY", "hidden-key")
    await picture(children, film(64, 48))
    (pid,) = pids()
    assert b"DISTRICAM" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert sorted(one.name for one in Path(f"/proc/{pid}/fd").iterdir()) == ["0", "1", "2"]


async def test_a_picture_with_too_many_pixels_is_rejected_before_decoding(children: DecoderPool):
    side = 6400
    assert side * side > MAX_PIXELS
    video = film(side, side)
    head, jpeg = await picture(children, video)
    assert (jpeg, "why" in head) == (b"", True)
    (pid,) = pids()
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kb < 200_000


async def test_a_picture_too_large_for_the_encoder_is_scaled(children: DecoderPool):
    head, jpeg = await picture(children, film(4800, 2700))
    assert head["width"] * head["height"] <= MAX_JPEG_PIXELS
    assert abs(head["width"] / head["height"] - 4800 / 2700) < 0.002
    with av.open(io.BytesIO(jpeg), "r") as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (head["width"], head["height"])


async def test_a_picture_over_the_memory_limit_fails_and_the_next_one_succeeds():
    async with asyncio.timeout(60), DecoderPool.open(1, memory_bytes=24 << 20) as children:
        try:
            head, _ = await picture(children, film(3840, 2160))
            assert "why" in head
        except DecoderExitedError:
            pass  # in both cases no other request is affected
        head, jpeg = await picture(children, film(64, 48))
        assert jpeg[:2] == b"\xff\xd8", head


async def test_a_child_that_exits_or_hangs_affects_one_request(children: DecoderPool):
    video = film(64, 48)
    await picture(children, video)
    (first,) = pids()
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(DecoderTimeoutError):
        await picture(children, video, timeout_s=0.5)
    await picture(children, video)
    (second,) = pids()
    assert second != first
    os.kill(second, signal.SIGSTOP)
    asked = asyncio.create_task(picture(children, video))
    await asyncio.sleep(0.1)
    os.kill(second, signal.SIGKILL)
    with pytest.raises(DecoderExitedError):
        await asked
    assert (await picture(children, video))[1]


async def test_signals_to_the_process_group_do_not_end_the_child(children: DecoderPool):
    video = film(64, 48)
    await picture(children, video)
    (pid,) = pids()
    for stop in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, stop)
    assert (await picture(children, video))[1]
    assert pids() == [pid]


async def test_a_child_that_exited_before_the_request_affects_one_request():
    """On uvloop, as in a service: it raises RuntimeError for a closed pipe."""

    async def story() -> list[bool]:
        async with asyncio.timeout(60), DecoderPool.open(1) as children:
            video, got = film(64, 48), list[bool]()
            await picture(children, video)
            os.kill(pids()[0], signal.SIGKILL)
            await asyncio.sleep(0.3)  # until the loop has seen the pipes close
            for _ in range(2):
                try:
                    got.append(bool((await picture(children, video))[1]))
                except DecoderExitedError:
                    got.append(False)
            return got

    def on_uvloop() -> list[bool]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(story())

    assert (await asyncio.to_thread(on_uvloop))[1:] == [True]


async def test_a_cancelled_request_does_not_disturb_others(children: DecoderPool):
    video = film(64, 48)
    impatient = [asyncio.create_task(picture(children, video)) for _ in range(3)]
    patient = asyncio.create_task(picture(children, video, at_us=0))
    await asyncio.sleep(0)
    for task in impatient:
        task.cancel()
    _, jpeg = await patient
    assert jpeg[:2] == b"\xff\xd8"
    assert len(pids()) == 1


async def test_the_end_of_the_block_ends_children_and_cancels_requests():
    async with asyncio.timeout(30):
        async with DecoderPool.open(1) as children:
            await picture(children, film(64, 48))
            (pid,) = pids()
            waiting = [asyncio.create_task(picture(children, film(64, 48))) for _ in range(3)]
            await asyncio.sleep(0)
        for task in waiting:
            with pytest.raises((asyncio.CancelledError, DecoderExitedError)):
                await task
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(DecoderExitedError):
            await picture(children, b"")


CONFINED = textwrap.dedent("""
    import os, socket, sys, threading
    from districam_common.pictures.sandbox import enter_sandbox
    secret, has_landlock = sys.argv[1], enter_sandbox(64 << 20)
    def refused(act):
        try:
            act()
        except (OSError, MemoryError, RuntimeError):
            return True
        return False
    os.close(0)  # room for one descriptor
    print(
        int(has_landlock),
        int(refused(lambda: open(secret))),
        int(refused(lambda: open(secret + ".new", "w").write("x"))),
        int(refused(lambda: bytearray(256 << 20))),
        int(refused(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2))),
    )
""")


def test_a_sandboxed_process_has_no_files_network_or_processes(tmp_path: Path):
    secret = tmp_path / "credentials.yaml"
    secret.write_text("gate: {password: hidden}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        completed = subprocess.run(
            [sys.executable, "-c", CONFINED, str(secret), port], capture_output=True, text=True, timeout=30, check=True
        )
    has_landlock, opens, writes, takes, connects = (part == "1" for part in completed.stdout.split())
    assert writes
    assert takes
    assert not (tmp_path / "credentials.yaml.new").exists() or not (tmp_path / "credentials.yaml.new").read_text()
    assert opens or not has_landlock, "Landlock keeps it from files"
    assert connects or not has_landlock


def test_a_child_exits_at_the_end_of_its_input(tmp_path: Path):
    child = [sys.executable, "-m", "districam_common.pictures.decoder_process", str(64 << 20)]
    completed = subprocess.run(child, input=b"", capture_output=True, timeout=30, check=True, cwd=tmp_path)
    head_bytes, body_bytes = decode_lengths(completed.stdout[:8])
    assert decode_head(completed.stdout[8 : 8 + head_bytes]).keys() == {"confined"}
    assert body_bytes == 0


@given(st.binary(max_size=40))
def test_malformed_heads_raise_bad_message_error(data: bytes):
    with suppress(BadMessageError):
        decode_head(data)
    with pytest.raises(BadMessageError):
        decode_lengths(b"\xff" * 8)
    assert decode_lengths(encode_message({}, data)[0]) == (2, len(data))


@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=60), st.binary(max_size=60))
def test_any_configuration_and_sample_convert_or_raise_value_error(codec: str, config: bytes, sample: bytes):
    with suppress(ValueError):
        to_annex_b(codec, config, sample)
