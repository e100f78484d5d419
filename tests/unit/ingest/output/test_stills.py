import asyncio
import io
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import av
import pytest
import pytest_asyncio
from prometheus_client import Counter

from districam_common.contract.media import Still
from districam_common.pictures.decoder_pool import DecoderExitedError, DecoderPool
from districam_ingest import metrics
from districam_ingest.codec import h264, h265
from districam_ingest.codec.nal import Codec
from districam_ingest.output.mux import decoder_config
from districam_ingest.output.stills import MAX_PENDING_STILLS, StillMaker, StillRequest, make_still
from unit.ingest.samples import encoded


@pytest_asyncio.fixture
async def children() -> AsyncGenerator[DecoderPool]:
    async with asyncio.timeout(60), DecoderPool.open(1) as opened:
        yield opened


def wanted(codec: Codec = "h264", *, b_frames: int = 0) -> StillRequest:
    stream = encoded(codec, b_frames=b_frames)
    shape = (h264 if codec == "h264" else h265).parse_video_parameters(stream.sets)
    return StillRequest(
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
async def test_a_keyframe_becomes_a_jpeg_of_the_requested_width(
    children: DecoderPool, codec: Codec, b_frames: int
):
    still = await make_still(wanted(codec, b_frames=b_frames), children, 80)
    assert still is not None
    assert (still.camera_id, still.seq, still.at_us, still.width, still.height) == ("cam-001", 7, 123, 80, 48)
    assert still.jpeg[:2] == b"\xff\xd8"
    assert still.jpeg[-2:] == b"\xff\xd9"
    with av.open(io.BytesIO(still.jpeg), "r") as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (80, 48)
    assert frame.to_ndarray(format="gray").std() > 5  # a picture, not a grey field


async def test_an_undecodable_picture_gives_no_still(children: DecoderPool):
    good = wanted()
    dice = random.Random(1)
    assert await make_still(replace(good, data=b""), children, 80) is None
    assert await make_still(replace(good, data=dice.randbytes(400)), children, 80) is None
    assert await make_still(replace(good, config=b"\1garbage"), children, 80) is None
    stream = encoded()
    assert await make_still(replace(good, data=stream.units()[1].data), children, 80) is None  # no keyframe
    assert await make_still(good, children, 80) is not None


async def test_no_data_of_one_cameras_picture_leaks_into_the_next(children: DecoderPool):
    good, stream = wanted(), encoded()
    before = await make_still(good, children, 80)
    assert before is not None
    other = replace(good, camera_id="cam-002", data=stream.units()[1].data)  # refers to a picture that never came
    assert await make_still(other, children, 80) is None
    after = await make_still(good, children, 80)
    assert after is not None
    assert after.jpeg == before.jpeg


def sample(counter: Counter) -> float:
    return next(one.value for metric in counter.collect() for one in metric.samples)


async def made(offers: int, publish: Callable[[Still], Awaitable[None]]) -> None:
    async with asyncio.timeout(20), DecoderPool.open(1) as children, asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, children, publish, width=80)
        for _ in range(offers):
            stills.submit(wanted())


async def test_stills_are_skipped_if_the_decoders_are_behind():
    published: list[Still] = []

    async def publish(still: Still) -> None:
        published.append(still)

    await made(MAX_PENDING_STILLS + 5, publish)
    assert len(published) == MAX_PENDING_STILLS


class Stuck:
    """A child that answers once it is let go, and then that it has died."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def request(self, *_: object, **__: object) -> tuple[dict[str, Any], bytes]:
        await self.go_on.wait()
        raise DecoderExitedError("of what it was asked")


async def test_a_stuck_decoder_blocks_nothing_and_skipped_stills_are_counted():
    stuck, counted = Stuck(), metrics.STILLS_SKIPPED
    skipped = sample(counted)

    async def publish(_: Still) -> None:
        raise AssertionError("there was none")

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, cast("DecoderPool", stuck), publish, width=80)
        keyframe, began_s = wanted(), loop.time()
        for _ in range(MAX_PENDING_STILLS + 5):
            stills.submit(keyframe)
            await asyncio.sleep(0)  # fragments are cut and sent on this loop
        assert loop.time() - began_s < 5
        assert sample(counted) - skipped == 5
        stuck.go_on.set()
    assert sample(counted) - skipped == MAX_PENDING_STILLS + 5


async def test_closing_cancels_pending_stills():
    async def publish(_: Still) -> None:
        """Nobody reads them."""

    async with asyncio.timeout(20), DecoderPool.open(1) as children, asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, children, publish, width=80)
        for _ in range(4):
            stills.submit(wanted())
        await asyncio.sleep(0)
        children.close()
