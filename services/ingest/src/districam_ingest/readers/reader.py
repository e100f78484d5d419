"""The interface of the readers: `Reader` opens a stream, `Source` returns its pictures and audio."""

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
    """The stream could not be opened, or is over; `cause` is the ledger's cause. `detail` holds no secret."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause: Cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """Stream parameters learned from DESCRIBE and SETUP.

    Attributes:
        parameter_sets: the SDP's parameter sets; empty if it has none.
        reader: name of the reader, with the reason if it is the fallback.
        server: the Server header; None if absent or unknown to the reader.
        transport: transport of the media, `tcp` or `udp`; None: the one asked for.
        auth: authentication scheme that the camera asked for; None if none or unknown to the reader.
        audio: parameters of the AAC audio that is delivered; otherwise None.
        has_g711: whether G.711 is delivered, a packet's payload as a unit; `audio_codec` tells which.
        audio_codec: codec of the audio that the camera offers, delivered or not; None if it offers none.
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
        """Waits for the next pictures; returns at least one, in decode order.

        Raises:
            ReadError: the stream is over.
        """
        ...

    def read_remaining(self) -> list[Picture]:
        """Returns the pictures that have arrived, within bounds of size and time, before closing the stream.

        It does not wait. The last picture is left out, since a part of it may be missing.
        """
        ...

    def drain_audio(self) -> list[AudioUnit]:
        """Removes and returns the audio units that have arrived. It does not wait."""
        ...

    def use_precise_arrival(self) -> None:
        """Timestamp arrivals precisely until the next keyframe: it anchors the epoch's wall clock."""
        ...


class Reader(Protocol):
    """Opens streams. The caller sets the deadlines of opening and reading."""

    def open(
        self, url: str, credential: Credential | None, *, transport: str, with_audio: bool = False
    ) -> AbstractAsyncContextManager[Source]: ...
