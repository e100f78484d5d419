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
async def decoder_pool() -> AsyncGenerator[DecoderPool]:
    async with asyncio.timeout(60), DecoderPool.open(1) as pool_opened:
        yield pool_opened


def still_request(codec: Codec = "h264", *, b_frames: int = 0) -> StillRequest:
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
async def test_a_keyframe_becomes_a_jpeg_of_the_requested_width(decoder_pool: DecoderPool, codec: Codec, b_frames: int):
    still = await make_still(still_request(codec, b_frames=b_frames), decoder_pool, 80)
    assert still is not None
    assert (still.camera_id, still.seq, still.at_us, still.width, still.height) == ("cam-001", 7, 123, 80, 48)
    assert still.jpeg[:2] == b"\xff\xd8"
    assert still.jpeg[-2:] == b"\xff\xd9"
    with av.open(io.BytesIO(still.jpeg), "r") as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (80, 48)
    assert frame.to_ndarray(format="gray").std() > 5  # an image with content, not uniform grey


async def test_an_undecodable_picture_gives_no_still(decoder_pool: DecoderPool):
    good = still_request()
    rng = random.Random(1)
    assert await make_still(replace(good, data=b""), decoder_pool, 80) is None
    assert await make_still(replace(good, data=rng.randbytes(400)), decoder_pool, 80) is None
    assert await make_still(replace(good, config=b"\1garbage"), decoder_pool, 80) is None
    stream = encoded()
    assert await make_still(replace(good, data=stream.units()[1].data), decoder_pool, 80) is None  # not a keyframe
    assert await make_still(good, decoder_pool, 80) is not None


async def test_no_data_of_one_cameras_picture_leaks_into_the_next(decoder_pool: DecoderPool):
    good, stream = still_request(), encoded()
    before = await make_still(good, decoder_pool, 80)
    assert before is not None
    other = replace(good, camera_id="cam-002", data=stream.units()[1].data)  # references a picture that was not sent
    assert await make_still(other, decoder_pool, 80) is None
    after = await make_still(good, decoder_pool, 80)
    assert after is not None
    assert after.jpeg == before.jpeg


def sample(counter: Counter) -> float:
    return next(one.value for metric in counter.collect() for one in metric.samples)


async def submit_stills(count: int, publish: Callable[[Still], Awaitable[None]]) -> None:
    async with asyncio.timeout(20), DecoderPool.open(1) as decoder_pool, asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, decoder_pool, publish, width=80)
        for _ in range(count):
            stills.submit(still_request())


async def test_stills_are_skipped_if_the_decoders_are_behind():
    published: list[Still] = []

    async def publish(still: Still) -> None:
        published.append(still)

    await submit_stills(MAX_PENDING_STILLS + 5, publish)
    assert len(published) == MAX_PENDING_STILLS


class StuckPool:
    """A pool whose request hangs until `released`, and then fails."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def request(self, *_: object, **__: object) -> tuple[dict[str, Any], bytes]:
        await self.released.wait()
        raise DecoderExitedError("the decoder crashed")


async def test_a_stuck_decoder_blocks_nothing_and_skipped_stills_are_counted():
    pool, counter = StuckPool(), metrics.STILLS_SKIPPED
    skipped = sample(counter)

    async def publish(_: Still) -> None:
        raise AssertionError("there was none")

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, cast("DecoderPool", pool), publish, width=80)
        keyframe, start_s = still_request(), loop.time()
        for _ in range(MAX_PENDING_STILLS + 5):
            stills.submit(keyframe)
            await asyncio.sleep(0)  # fragments are cut and sent on this event loop
        assert loop.time() - start_s < 5
        assert sample(counter) - skipped == 5
        pool.released.set()
    assert sample(counter) - skipped == MAX_PENDING_STILLS + 5


async def test_closing_cancels_pending_stills():
    async def publish(_: Still) -> None:
        """Ignored."""

    async with asyncio.timeout(20), DecoderPool.open(1) as decoder_pool, asyncio.TaskGroup() as tasks:
        stills = StillMaker(tasks, decoder_pool, publish, width=80)
        for _ in range(4):
            stills.submit(still_request())
        await asyncio.sleep(0)
        decoder_pool.close()
