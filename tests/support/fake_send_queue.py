"""Replaces ingest's send queue and stills in unit tests."""

from dataclasses import dataclass, field

from districam_common.contract.events import StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.clocks.host_clock import HostClock


@dataclass
class FakeSendQueue:
    """Accepts everything; fragments and events are kept in `items` in their order. Makes no stills.

    Attributes:
        held_bytes, max_held_bytes: bytes of the queue's budget reserved by waiting pictures, now and at most.
    """

    items: list[Fragment | StreamEvent] = field(default_factory=list[Fragment | StreamEvent])
    host_clock: HostClock = field(default_factory=HostClock)
    held_bytes: int = 0
    max_held_bytes: int = 0

    def has_room(self, size_bytes: int) -> bool:
        return size_bytes > 0

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        self.held_bytes += delta_bytes
        self.max_held_bytes = max(self.max_held_bytes, self.held_bytes)
        return self.held_bytes >= 0

    def put_fragment(self, fragment: Fragment) -> None:
        self.items.append(fragment)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        assert getattr(event, "camera_id", None) == camera_id
        self.items.append(event)

    def submit(self, request: object) -> None:
        """Discards the request for a still."""

    @property
    def fragments(self) -> list[Fragment]:
        return [item for item in self.items if isinstance(item, Fragment)]

    @property
    def picture_count(self) -> int:
        """Number of pictures in the fragments."""
        return sum(fragment.info.access_units for fragment in self.fragments)
