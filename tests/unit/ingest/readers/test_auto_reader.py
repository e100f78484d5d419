"""`AutoReader` uses the fallback reader only for streams that the native reader does not support."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from districam_common.runtime.credentials import Credential
from districam_ingest.readers.auto_reader import AutoReader
from districam_ingest.readers.native_reader import UnsupportedStreamError
from districam_ingest.readers.reader import ReadError, SourceInfo
from districam_ingest.units import AudioUnit, Picture

PICTURE = Picture((b"\x65",), 1, 2)


class Source:
    def __init__(self, name: str) -> None:
        self.info = SourceInfo(codec="h264", parameter_sets=(), reader=name)

    async def read(self) -> list[Picture]:
        return [PICTURE]

    def read_remaining(self) -> list[Picture]:
        return [PICTURE, PICTURE]

    def drain_audio(self) -> list[AudioUnit]:
        return []

    def use_precise_arrival(self) -> None:
        pass


class Reader:
    """Opens streams, or raises `error`."""

    def __init__(self, name: str, error: ReadError | None = None) -> None:
        self.name, self.error, self.open_now = name, error, 0

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Source]:
        assert (url, transport) == ("rtsp://camera/x", "udp")
        if self.error is not None:
            raise self.error
        self.open_now += 1
        yield Source(self.name)
        self.open_now -= 1


async def opened(first: Reader, second: Reader) -> str:
    async with AutoReader(first, second).open("rtsp://camera/x", None, transport="udp") as source:
        assert await source.read() == [PICTURE]
        assert source.read_remaining() == [PICTURE, PICTURE]
        reader = source.info.reader
        assert first.open_now + second.open_now == 1
    assert first.open_now + second.open_now == 0
    return reader


async def test_the_native_reader_is_tried_first():
    assert await opened(Reader("native"), Reader("ffmpeg")) == "native"


async def test_the_fallback_reader_names_the_reason():
    refused = UnsupportedStreamError("stream_error", "no transport over udp")
    assert await opened(Reader("native", refused), Reader("ffmpeg")) == "ffmpeg (native: no transport over udp)"


async def test_errors_of_the_camera_are_not_retried_with_the_fallback():
    with pytest.raises(ReadError, match="auth_failed"):
        await opened(Reader("native", ReadError("auth_failed", "401")), Reader("ffmpeg"))
