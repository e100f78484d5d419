"""Stands for ingest's queue to Kafka and for its stills, in tests of what offers them something."""

from dataclasses import dataclass, field

from districam_common.contract.events import StreamEvent
from districam_common.contract.media import Fragment
from districam_ingest.clocks.host_clock import HostClock


@dataclass
class SendQueue:
    """There is always room; fragments and events are kept in `items`, in the order in which they are offered. No stills.

    Attributes:
        held, most_held: bytes that pictures which wait for their time have taken of the queue's budget.
    """

    items: list[Fragment | StreamEvent] = field(default_factory=list[Fragment | StreamEvent])
    host_clock: HostClock = field(default_factory=HostClock)
    held: int = 0
    most_held: int = 0

    def has_room(self, size: int) -> bool:
        return size > 0

    def hold(self, more: int) -> bool:
        self.held += more
        self.most_held = max(self.most_held, self.held)
        return self.held >= 0

    def offer_fragment(self, fragment: Fragment) -> None:
        self.items.append(fragment)

    def offer_event(self, camera_id: str, event: StreamEvent) -> None:
        assert getattr(event, "camera_id", None) == camera_id
        self.items.append(event)

    def offer(self, wanted: object) -> None:
        """A still, which is not made."""

    @property
    def fragments(self) -> list[Fragment]:
        return [item for item in self.items if isinstance(item, Fragment)]

    @property
    def pictures(self) -> int:
        """How many are in the fragments."""
        return sum(fragment.info.access_units for fragment in self.fragments)
