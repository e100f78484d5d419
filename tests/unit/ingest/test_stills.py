import asyncio
import io
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import av
import pytest
from prometheus_client import Counter

from districam_common.media import Still
from districam_ingest import metrics
from districam_ingest.core import h264, h265
from districam_ingest.core.nal import Codec
from districam_ingest.mux import decoder_config
from districam_ingest.stills import WAITING_MOST, Stills, Wanted, still_of
from unit.ingest.samples import encoded


def wanted(codec: Codec = "h264", *, b_frames: int = 0) -> Wanted:
    stream = encoded(codec, b_frames=b_frames)
    shape = (h264 if codec == "h264" else h265).shape(stream.sets)
    return Wanted(
        camera_id="cam-001",
        epoch="e",
        seq=7,
        at_us=123,
        codec=codec,
        config=decoder_config(shape, stream.sets),
        data=stream.units()[0].data,
    )


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_keyframe_becomes_a_jpeg_of_the_width_that_was_asked_for(codec: Codec, b_frames: int):
    still = still_of(wanted(codec, b_frames=b_frames), 80)
    assert still is not None
    assert (still.camera_id, still.seq, still.at_us, still.width, still.height) == ("cam-001", 7, 123, 80, 48)
    assert still.jpeg[:2] == b"\xff\xd8"
    assert still.jpeg[-2:] == b"\xff\xd9"
    with av.open(io.BytesIO(still.jpeg), "r") as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (80, 48)
    assert frame.to_ndarray(format="gray").std() > 5  # a picture, not a grey field


def test_what_cannot_be_decoded_is_no_still():
    good = wanted()
    dice = random.Random(1)
    assert still_of(replace(good, data=b""), 80) is None
    assert still_of(replace(good, data=dice.randbytes(400)), 80) is None
    assert still_of(replace(good, config=b"\1garbage"), 80) is None
    stream = encoded()
    assert still_of(replace(good, data=stream.units()[1].data), 80) is None  # no keyframe


def sample(counter: Counter) -> float:
    return next(one.value for metric in counter.collect() for one in metric.samples)


async def made(offers: int, publish: Callable[[Still], Awaitable[None]]) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stills = Stills(tasks, publish, threads=1, width=80)
        for _ in range(offers):
            stills.offer(wanted())
    stills.close()


async def test_a_pool_that_is_behind_skips_and_does_not_queue():
    published: list[Still] = []

    async def publish(still: Still) -> None:
        published.append(still)

    await made(WAITING_MOST + 5, publish)
    assert len(published) == WAITING_MOST


async def test_a_pool_that_is_stuck_holds_nobody_up_and_what_it_misses_is_counted(
    monkeypatch: pytest.MonkeyPatch,
):
    go_on, counted = threading.Event(), metrics.STILLS_SKIPPED

    def stuck(_wanted: Wanted, _width: int) -> None:
        go_on.wait(20)

    monkeypatch.setattr("districam_ingest.stills.still_of", stuck)
    skipped = sample(counted)

    async def publish(_: Still) -> None:
        raise AssertionError("there was none")

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stills = Stills(tasks, publish, threads=1, width=80)
        keyframe, began_s = wanted(), loop.time()
        for _ in range(WAITING_MOST + 5):
            stills.offer(keyframe)
            await asyncio.sleep(0)  # fragments are cut and sent on this loop
        assert loop.time() - began_s < 5
        assert sample(counted) - skipped == 5
        go_on.set()
    stills.close()


async def test_closing_gives_up_what_waits():
    gate = asyncio.Event()

    async def publish(_: Still) -> None:
        await gate.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stills = Stills(tasks, publish, threads=1, width=80)
        for _ in range(4):
            stills.offer(wanted())
        await asyncio.sleep(0)
        stills.close()
        gate.set()
