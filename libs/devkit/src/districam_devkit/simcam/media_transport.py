"""The interface of a client's transport towards a camera."""

from typing import Protocol


class MediaTransport(Protocol):
    """A client's connection as the camera uses it. Byte counts are totals since its start."""

    @property
    def number(self) -> int: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def written_bytes(self) -> int: ...
    @property
    def flushed_bytes(self) -> int:
        """Bytes that have left this process; never decreases."""
        ...

    def write(self, data: bytes) -> bool:
        """Returns False if the connection accepts no more data."""
        ...

    def abort(self) -> None: ...
