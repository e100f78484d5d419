"""How a host asks a broker for the time: the one record that nobody reads."""

from dataclasses import dataclass
from typing import ClassVar

from districam_common.contract.fields import Instance, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockProbe:
    """Written for the time that the broker gives it: so a host learns how its clock stands to that broker's. Nobody reads it.

    Attributes:
        instance: who asks; as text it is the record's key.
        sent_us: when it was sent, by the host's own clock, right or wrong, µs UTC.
    """

    type: ClassVar[str] = "districam.clock.probe.v1"

    instance: Instance
    sent_us: Instant
