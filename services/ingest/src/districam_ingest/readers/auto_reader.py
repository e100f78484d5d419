"""`reader: auto`: the native reader, and ffmpeg for the streams that it does not do."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import structlog

from districam_common.runtime.credentials import Credential
from districam_common.runtime.logs import redacted
from districam_ingest.readers.native_reader import NotForThisReaderError
from districam_ingest.readers.reading import Reader, Source, SourceInfo
from districam_ingest.units import Picture, Sound

log = structlog.get_logger()


class AutoReader:
    """Opens streams with the first reader, or with the second where the first says that it can't.

    Who reads, and why it is the second, stands in the source's `info.reader`. What is wrong with the camera itself
    (no answer, a wrong password) is not tried twice.
    """

    def __init__(self, first: Reader, second: Reader) -> None:
        self._first, self._second = first, second

    @asynccontextmanager
    async def open(
        self, url: str, credential: Credential | None, *, transport: str, with_sound: bool = False
    ) -> AsyncGenerator[Source]:
        async with AsyncExitStack() as stack:
            try:
                source = await stack.enter_async_context(
                    self._first.open(url, credential, transport=transport, with_sound=with_sound)
                )
            except NotForThisReaderError as error:
                reason = error.detail
            else:
                yield source
                return
            log.info("read by ffmpeg", url=redacted(url), reason=reason)
            other = await stack.enter_async_context(
                self._second.open(url, credential, transport=transport, with_sound=with_sound)
            )
            yield _Second(other, reason)


class _Second:
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

    def rest(self) -> list[Picture]:
        """As the source does."""
        return self._source.rest()

    def take_sound(self) -> list[Sound]:
        """As the source does."""
        return self._source.take_sound()

    def look_closely(self) -> None:
        """As the source does."""
        self._source.look_closely()
