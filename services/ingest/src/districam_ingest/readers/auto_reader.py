"""`reader: auto`: the native reader, and ffmpeg for streams that it does not support."""

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
    """Opens streams with `native`, or with `fallback` if that raises UnsupportedStreamError.

    The source's `info.reader` names the reader, and the reason of a fallback. Other errors, such as no answer
    or a wrong password, are not tried a second time.
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
            log.info("falling back to ffmpeg", url=redact_urls(url), reason=reason)
            other = await stack.enter_async_context(
                self._fallback.open(url, credential, transport=transport, with_audio=with_audio)
            )
            yield _FallbackSource(other, reason)


class _FallbackSource:
    """A source of the fallback reader; its `info` says why."""

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
