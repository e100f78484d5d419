"""`reader: auto`: the native reader, and ffmpeg for the streams that it does not do."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import structlog

from districam_common.runtime.credentials import Credential
from districam_common.runtime.logs import redact_urls
from districam_ingest.readers.native_reader import UnsupportedStreamError
from districam_ingest.readers.reader import Reader, Source, SourceInfo
from districam_ingest.units import AudioUnit, Picture

log = structlog.get_logger()


class AutoReader:
    """Opens streams with the first reader, or with the second where the first says that it can't.

    Who reads, and why it is the second, stands in the source's `info.reader`. What is wrong with the camera itself
    (no answer, a wrong password) is not tried twice.
    """

    def __init__(self, native: Reader, fallback: Reader) -> None:
        self._native, self._fallback = native, fallback

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AsyncGenerator[Source]:
        async with AsyncExitStack() as stack:
            try:
                source = await stack.enter_async_context(
                    self._native.open(url, credential, transport=transport, with_audio=with_audio)
                )
            except UnsupportedStreamError as error:
                reason = error.detail
            else:
                yield source
                return
            log.info("read by ffmpeg", url=redact_urls(url), reason=reason)
            other = await stack.enter_async_context(
                self._fallback.open(url, credential, transport=transport, with_audio=with_audio)
            )
            yield _FallbackSource(other, reason)


class _FallbackSource:
    """A source of the second reader's."""

    def __init__(self, source: Source, reason: str) -> None:
        self._source = source
        self._reason = reason

    @property
    def info(self) -> SourceInfo:
        info = self._source.info
        return replace(info, reader=f"{info.reader} (native: {self._reason})")

    async def read(self) -> list[Picture]:
        """As the source does."""
        return await self._source.read()

    def read_remaining(self) -> list[Picture]:
        """As the source does."""
        return self._source.read_remaining()

    def drain_audio(self) -> list[AudioUnit]:
        """As the source does."""
        return self._source.drain_audio()

    def use_precise_arrival(self) -> None:
        """As the source does."""
        self._source.use_precise_arrival()
