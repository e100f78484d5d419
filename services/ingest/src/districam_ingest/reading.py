"""What a reader of cameras is, to the one who uses it."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from districam_common.credentials import Credential
from districam_common.errors import DistricamError
from districam_common.events import Cause
from districam_ingest.core.nal import Codec
from districam_ingest.core.units import Picture


class ReadError(DistricamError):
    """The stream could not be opened, or is over; `cause` is what the ledger will say. The text holds no secret."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause: Cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What opening the stream told: `sets` are the SDP's parameter sets, if any."""

    codec: Codec
    sets: tuple[bytes, ...]
    reader: str
    server: str | None = None


class Source(Protocol):
    """An open stream."""

    @property
    def info(self) -> SourceInfo: ...

    async def read(self) -> list[Picture]:
        """The next pictures, at least one, in decode order.

        Raises:
            ReadError: the stream is over.
        """
        ...

    def look_closely(self) -> None:
        """The next keyframe begins an epoch, and its time of arrival will count: be as exact about it as can be."""
        ...


class Reader(Protocol):
    """Opens streams. Opening and reading have deadlines of the caller's."""

    def open(
        self, url: str, credential: Credential | None, *, transport: str
    ) -> AbstractAsyncContextManager[Source]: ...
