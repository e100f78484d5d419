"""The read rate limit: floods of tiny packets have bounded cost, ordinary cameras are not delayed."""

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.simcam import rtp
from districam_ingest.readers.native_source import TOO_FAST, NativeSource
from districam_ingest.readers.reader import ReadError
from districam_ingest.rtsp.rate_limiter import (
    INITIAL_CREDIT_US,
    MAX_CREDIT_US,
    MAX_OVERLOAD_US,
    MAX_STEP_UNITS,
    US_PER_UNIT,
    ReadRateLimiter,
)
from districam_ingest.rtsp.session import Session
from districam_ingest.units import Picture
from unit.ingest.rtsp.test_session import PPS, SPS, session

if TYPE_CHECKING:
    from collections.abc import Callable

    from districam_ingest.readers.connection import Connection
    from districam_ingest.readers.ticker import Ticker

pytestmark = pytest.mark.hostile

S = 1_000_000
UNITS_PER_SECOND = S // US_PER_UNIT
FPS = 25


class Clock:
    """Advances only while waiting, which raises TimeoutError after `ends_us` or if `gives_up` returns True."""

    def __init__(self) -> None:
        self.at_us, self.ends_us = 1_000 * S, 1 << 62
        self.gives_up: Callable[[], bool] = lambda: False

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def wait_until(self, due_us: int, slack_us: int) -> None:
        """Like `Ticker`: waits to the end of the slack."""
        self.at_us = max(self.at_us, due_us + slack_us)
        if self.at_us > self.ends_us or self.gives_up():
            raise TimeoutError
        await asyncio.sleep(0)


class Wire:
    """A connection that receives `sent` at its times, and `flood` on each receive.

    Attributes:
        waited_us: the longest time between arrival and reading.
    """

    def __init__(self, clock: Clock, sent: deque[tuple[int, bytes]], flood: bytes = b"") -> None:
        self._clock, self._sent, self._flood = clock, sent, flood
        self.waited_us = self.taken = 0

    def receive_nowait(self, most: int) -> bytes:
        out = [self._flood] * bool(self._flood)
        while self._sent and self._sent[0][0] <= self._clock.at_us and sum(map(len, out)) < most:
            at_us, data = self._sent.popleft()
            self.waited_us = max(self.waited_us, self._clock.at_us - at_us)
            out.append(data)
        self.taken += sum(map(len, out))
        return b"".join(out)

    def send_nowait(self, data: bytes) -> None:
        """Discards what is sent."""


def opened(clock: Clock, wire: Wire, one: Session | None = None) -> NativeSource:
    return NativeSource(
        one or session(), cast("Connection", wire), None, clock,
        ticker=cast("Ticker", clock), buffer=memoryview(bytearray(1)), read_us=12 * S, rate_limiter=ReadRateLimiter(clock.at_us),
    )  # fmt: skip


def film(clock: Clock, seconds: int, *, slice_bytes: int, fps: int = FPS, mtu: int = 1400) -> deque[tuple[int, bytes]]:
    """A camera's packets, a picture at a time."""
    out: deque[tuple[int, bytes]] = deque()
    seq = 0
    for number in range(seconds * fps):
        key = number % (2 * fps) == 0
        nals = [*([SPS, PPS] if key else []), (b"\x65\x88" if key else b"\x41\x9a") + bytes(slice_bytes)]
        packets = rtp.interleaved(
            rtp.payloads("h264", nals, mtu), channel=0, seq=seq, timestamp=number * 90_000 // fps, ssrc=5
        )
        seq += len(packets)
        out.append((clock.at_us + number * S // fps, b"".join(packets)))
    return out


def tiny_packets(payload: bytes, count: int, *, stamp: int = 0) -> bytes:
    """RTP packets with consecutive sequence numbers, `stamp` ticks apart."""
    heads = (
        struct.pack(">BBHBBHII", 0x24, 0, 12 + len(payload), 0x80, 96, n & 0xFFFF, n * stamp & 0xFFFFFFFF, 5)
        for n in range(count)
    )
    return b"".join(head + payload for head in heads)


async def watched(source: NativeSource, clock: Clock, for_s: float) -> list[Picture]:
    """The pictures of the next `for_s` seconds."""
    out: list[Picture] = []
    until_us = clock.at_us + round(for_s * S)
    while clock.at_us < until_us:
        out += await source.read()
    return out


@pytest.mark.interpreted  # compiled, it takes no stand-ins
@pytest.mark.parametrize(
    ("slice_bytes", "fps", "mtu"),
    [(20_000, 25, 1400), (200_000, 60, 1400), (3_000, 100, 1400), (5_000, 25, 200)],
    ids=["4 Mbit/s", "96 Mbit/s at 60 pictures a second", "100 pictures a second", "small packets"],
)
async def test_ordinary_cameras_are_not_delayed(slice_bytes: int, fps: int, mtu: int):
    clock = Clock()
    wire = Wire(clock, film(clock, 20, slice_bytes=slice_bytes, fps=fps, mtu=mtu))
    pictures = await watched(opened(clock, wire), clock, 19.5)
    assert len(pictures) > 18 * fps
    assert wire.waited_us <= 450_000


@pytest.mark.interpreted  # compiled, it takes no stand-ins
async def test_the_backlog_of_a_stalled_process_is_read_soon_and_completely():
    """Two minutes of a low-rate camera: 3,000 pictures at once."""
    clock = Clock()
    sent = film(clock, 150, slice_bytes=200)
    wire = Wire(clock, sent)
    source = opened(clock, wire)
    pictures = await watched(source, clock, 20)
    clock.at_us += 120 * S
    stalled_us, seen = clock.at_us, len(pictures)
    while seen < 140 * FPS:
        seen += len(await source.read())
    assert clock.at_us - stalled_us < 5 * S


ATTACKS = {
    "one byte": tiny_packets(b"\x7c\x05", 50_000),
    "a picture a packet": tiny_packets(b"\x41\x9a", 50_000, stamp=3600),
    "many units a packet": tiny_packets(b"\x18" + b"\0\x01\x09" * 4000 + b"\0\x02\x41\x9a", 80, stamp=3600),
    "unknown channel": b"$\x07\0\0" * 250_000,
    "responses": b"RTSP/1.0 200 OK\r\n\r\n" * 50_000,
    "empty lines": b"\r\n" * 500_000,
    "empty receiver reports": (b"$\x01\xff\xfc" + b"\x80\xc9\0\0" * 16_383) * 15,
    "large packets": tiny_packets(b"\x7c\x05" + bytes(60_000), 17),
}


@pytest.mark.interpreted  # compiled, it takes no stand-ins
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_a_flood_of_tiny_packets_has_bounded_cost(attack: bytes):
    clock, one = Clock(), session()
    source = opened(clock, Wire(clock, deque(), attack), one)
    clock.ends_us, most = clock.at_us + 10 * S, 12 * UNITS_PER_SECOND
    clock.gives_up = lambda: one.cost > 2 * most
    assert await ended(source, clock) is None
    assert one.cost <= most + INITIAL_CREDIT_US // US_PER_UNIT + 5 * MAX_STEP_UNITS
    assert clock.at_us > clock.ends_us


@pytest.mark.interpreted  # compiled, it takes no stand-ins
@pytest.mark.parametrize("attack", ["large packets", "many units a packet"])
async def test_a_stream_that_exceeds_the_rate_limit_for_a_minute_ends(attack: str):
    clock = Clock()
    source = opened(clock, Wire(clock, deque(), ATTACKS[attack]))
    began_us = clock.at_us
    clock.ends_us = began_us + 2 * MAX_OVERLOAD_US
    end = await ended(source, clock)
    assert end is not None
    assert (end.cause, end.detail) == ("stream_error", TOO_FAST)
    assert clock.at_us - began_us >= MAX_OVERLOAD_US


async def ended(source: NativeSource, clock: Clock) -> ReadError | None:
    """The error that ended the stream; None if the clock ended first."""
    try:
        await watched(source, clock, 1e6)
    except ReadError as error:
        return error
    except TimeoutError:
        return None
    raise AssertionError("a million seconds are over")


@given(st.lists(st.integers(1, 3 * MAX_STEP_UNITS), min_size=1, max_size=20))
def test_processing_in_steps_gives_the_same_pictures_and_cost(steps: list[int]):
    clock = Clock()
    data = b"".join(piece for _, piece in film(clock, 3, slice_bytes=400, mtu=60))
    whole, split = session(), session()
    whole.feed(data, 1)
    split.feed(data, 1, steps[0])
    for step in steps[1:]:
        split.resume(step)
    while split.has_pending_input:
        split.resume(MAX_STEP_UNITS)
    assert whole.drain_video() + whole.close() == split.drain_video() + split.close()
    assert whole.cost == split.cost


def test_a_step_is_about_its_maximum_of_cost_units():
    one = session()
    one.feed(ATTACKS["a picture a packet"], 1, MAX_STEP_UNITS)
    assert one.has_pending_input
    assert MAX_STEP_UNITS <= one.cost < 3 * MAX_STEP_UNITS
    assert len(one.drain_video()) < 300


@given(st.lists(st.tuples(st.integers(0, 30 * S), st.integers(0, 100_000)), max_size=100))
def test_the_limiter_passes_its_rate_and_the_saved_credit(charges: list[tuple[int, int]]):
    now_us, limiter = 0, ReadRateLimiter(0)
    spent = 0
    for pause_us, units in charges:
        now_us = max(now_us + pause_us, limiter.ready_us)
        spent += units
        limiter.charge(units, now_us)
        assert limiter.ready_us >= now_us - MAX_CREDIT_US
    assert (
        spent * US_PER_UNIT
        <= now_us + INITIAL_CREDIT_US + (limiter.ready_us - now_us if charges else 0) + MAX_CREDIT_US
    )
