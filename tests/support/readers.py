"""Helpers for ingest's RTSP readers: opening streams, reading them, and identifying their pictures."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from districam_common.runtime.clock import SystemClock
from districam_common.runtime.credentials import Credential
from districam_devkit.bitstream import Codec, parse_running_number
from districam_devkit.simcam import Generated
from districam_ingest.readers.libav_reader import LibavReader
from districam_ingest.readers.native_reader import NativeReader
from districam_ingest.readers.reader import Reader, ReadError, Source, SourceInfo
from districam_ingest.units import Picture

SMALL = Generated(width=160, height=96, seconds=2, gop_s=0.8, bitrate=150_000, label="x")
"""A cheap clip; one label for all cameras, so that they share the encoded file."""
SMALL_HEVC = replace(SMALL, codec="hevc")
LARGE = replace(SMALL, width=1280, height=720, bitrate=6_000_000, b_frames=2)
"""Pictures of many packets, with reordering."""
READERS: dict[str, type[NativeReader] | type[LibavReader]] = {"native": NativeReader, "ffmpeg": LibavReader}
OPEN_S, READ_S = 10.0, 12.0


def make_reader(name: str = "native", *, open_s: float = OPEN_S, read_s: float = READ_S) -> Reader:
    """One of `READERS`, with its timeouts of opening and of silence in seconds."""
    return READERS[name](SystemClock(), open_s=open_s, read_s=read_s)


@asynccontextmanager
async def open_source(
    reader: Reader, url: str, *, credential: Credential | None = None, transport: str = "tcp"
) -> AsyncGenerator[Source]:
    """Yields an open stream; opening and the block together are limited to 40 s."""
    async with asyncio.timeout(40), reader.open(url, credential, transport=transport) as source:
        yield source


async def open_error(
    reader: Reader, url: str, *, credential: Credential | None = None, transport: str = "tcp"
) -> ReadError:
    """The error with which the stream cannot be opened. Raises AssertionError if it opens."""
    try:
        async with open_source(reader, url, credential=credential, transport=transport):
            pass
    except ReadError as error:
        return error
    raise AssertionError(f"{url} was opened")


async def read(source: Source, *, count: int = 1, seconds: float = 0) -> list[Picture]:
    """Reads until there are `count` pictures and their timestamps span `seconds`."""
    pictures: list[Picture] = []
    async with asyncio.timeout(20):
        while len(pictures) < count or span_s(pictures) < seconds:
            pictures += await source.read()
    return pictures


async def read_to_end(source: Source, pictures: list[Picture], *, within_s: float = 30) -> ReadError:
    """Appends all pictures; returns the error that ends the stream."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                pictures += await source.read()
            except ReadError as error:
                return error


def span_s(pictures: Sequence[Picture]) -> float:
    """Seconds from the first picture's timestamp to the last one's."""
    return (pictures[-1].pts - pictures[0].pts) / 90_000 if pictures else 0.0


def running_numbers_or_none(codec: Codec, pictures: Sequence[Picture]) -> list[int | None]:
    """The running number of each picture; None if it was lost in transmission."""
    found = [parse_running_number(codec, picture.nals) for picture in pictures]
    return [one.number if one else None for one in found]


def running_numbers(codec: Codec, pictures: Sequence[Picture]) -> list[int]:
    """The running number of each picture; raises if one has none."""
    found = running_numbers_or_none(codec, pictures)
    assert None not in found
    return [number for number in found if number is not None]


def are_consecutive(numbers: Sequence[int]) -> bool:
    """Whether the numbers are consecutive, and there is at least one."""
    return bool(numbers) and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


@dataclass(slots=True)
class StreamRecording:
    """A stream as read: its parameters, its pictures in order, the final error."""

    info: SourceInfo | None = None
    pictures: list[Picture] = field(default_factory=list[Picture], repr=False)
    error: ReadError | None = None

    def has(self, *, count: int = 1, seconds: float = 0) -> bool:
        """Whether it has `count` pictures that span `seconds`, or has ended."""
        return self.error is not None or (len(self.pictures) >= count and span_s(self.pictures) >= seconds)

    @property
    def numbers(self) -> list[int]:
        """Running numbers of `pictures`."""
        return running_numbers(self.info.codec, self.pictures) if self.info else []

    async def run(self, reader: Reader, url: str, *, transport: str = "tcp") -> None:
        """Opens the stream and reads it to its end."""
        try:
            async with open_source(reader, url, transport=transport) as source:
                self.info = source.info
                self.error = await read_to_end(source, self.pictures)
                await read_to_end(source, self.pictures)  # an ended stream must stay ended
        except ReadError as error:
            self.error = error


def libav_threads() -> list[threading.Thread]:
    """The ffmpeg reader's threads; each ends by itself after its stream was left."""
    return [thread for thread in threading.enumerate() if thread.name == "libav"]
