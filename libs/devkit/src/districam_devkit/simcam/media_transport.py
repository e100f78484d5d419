"""What a client's connection is to a camera."""

from typing import Protocol


class MediaTransport(Protocol):
    """A client's connection, as the camera sees it. Byte counts are totals of its life."""

    @property
    def number(self) -> int: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def written_bytes(self) -> int: ...
    @property
    def flushed_bytes(self) -> int:
        """Bytes that have left this process; never falls."""
        ...

    def write(self, data: bytes) -> bool:
        """False if the connection takes nothing any more."""
        ...

    def abort(self) -> None: ...
