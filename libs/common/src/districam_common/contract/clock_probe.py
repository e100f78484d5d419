"""The record by which an ingest host measures its clock against the broker's."""

from dataclasses import dataclass
from typing import ClassVar

from districam_common.contract.fields import Instance, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockProbe:
    """Sent only to learn its append time, which gives the host's clock offset to the broker. It has no consumer.

    Attributes:
        instance: the sending process; as text it is the record's key.
        sent_us: when it was sent, by the host's own, possibly wrong clock, µs UTC.
    """

    type: ClassVar[str] = "districam.clock.probe.v1"

    instance: Instance
    sent_us: Instant
