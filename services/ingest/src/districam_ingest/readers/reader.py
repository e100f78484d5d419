"""What a reader of cameras is, to the one who uses it."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from districam_common.contract.events import Cause
from districam_common.errors import DistricamError
from districam_common.runtime.credentials import Credential
from districam_ingest.codec.aac import AudioParameters
from districam_ingest.codec.nal import Codec
from districam_ingest.units import AudioUnit, Picture


class ReadError(DistricamError):
    """The stream could not be opened, or is over; `cause` is what the ledger will say. The text holds no secret."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause: Cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What opening the stream told.

    Attributes:
        parameter_sets: the SDP's parameter sets, if any.
        transport: over which media come, `tcp` or `udp`; None: as was asked.
        auth: the scheme with which the camera asked for a password, if it did and the reader knows.
        audio: of the AAC that will be given.
        has_g711: whether G.711 will be given, a packet's bytes as a unit; `audio_codec` says which.
        audio_codec: what sound the camera offers, given or not.
    """

    codec: Codec
    parameter_sets: tuple[bytes, ...]
    reader: str
    server: str | None = None
    transport: str | None = None
    auth: str | None = None
    audio: AudioParameters | None = None
    has_g711: bool = False
    audio_codec: str | None = None


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

    def read_remaining(self) -> list[Picture]:
        """What has come by now, within bounds of bytes and time, before the stream is left. It waits for nothing.

        A picture of which more may come is not given: half of it would pass for whole.
        """
        ...

    def drain_audio(self) -> list[AudioUnit]:
        """The sound that has come, each unit once. It waits for nothing."""
        ...

    def use_precise_arrival(self) -> None:
        """The next keyframe begins an epoch, and its time of arrival will count: be as exact about it as can be."""
        ...


class Reader(Protocol):
    """Opens streams. Opening and reading have deadlines of the caller's."""

    def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AbstractAsyncContextManager[Source]: ...
