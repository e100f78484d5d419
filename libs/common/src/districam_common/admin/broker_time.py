"""Whether this machine's clock agrees with the broker's, as far as a command can tell.

Kafka tells its time in two ways only: each record carries the time of its append, and so does the acknowledgement of each
record that is sent. Records that lie there prove a clock that is behind; an acknowledgement proves either.
"""

from districam_common.contract.names import SEGMENTS, STREAMS
from districam_common.errors import Rejected
from districam_common.kafka.groups import Groups
from districam_common.kafka.reader import Reader
from districam_common.ledger.causes import CLOCK_OFF_US
from districam_common.runtime.settings import KafkaSettings

_GRAIN_US = 1_000
"""Append times are cut off to the millisecond."""
_BUSY = (SEGMENTS, STREAMS)
"""In a district that records, something comes to these every few seconds."""


class ClockOff(Rejected):
    """This machine's clock is off by so much that nothing may be dated by it."""


def ahead_us(append_us: int, sent_us: int, acked_us: int) -> int:
    """By how much this machine's clock is surely ahead of the broker's (negative: behind); 0 while the two may agree.

    Args:
        append_us: the broker's time of the append, which lay between the other two.
        sent_us: this machine's time at the sending.
        acked_us: this machine's time at the acknowledgement.
    """
    return max(0, sent_us - append_us - _GRAIN_US) + min(0, acked_us - append_us)


def check(ahead_us: int, written: str) -> None:
    """Refuses a clock that is off by over a second; `written` says what has been done by then, in whole sentences.

    Raises:
        ClockOff: naming the fix.
    """
    if abs(ahead_us) > CLOCK_OFF_US:
        which = "ahead of" if ahead_us > 0 else "behind"
        raise ClockOff(
            f"this machine's clock is at least {abs(ahead_us) / 1e6:.1f} s {which} the broker's, and a camera's record says "
            f"since when it holds: set the clock (`timedatectl set-ntp true`, or NTP on the brokers if theirs are wrong) "
            f"and run this again. {written}"
        )


async def newest_append_us(settings: KafkaSettings, client_id: str) -> int:
    """The latest time of the broker's that is seen without writing anything; 0 if nothing was ever written.

    Raises:
        Retriable, Fatal: of the broker.
    """
    async with Groups.open(settings, client_id) as groups:
        ends = await groups.ends([p for topic in _BUSY for p in await groups.partitions(topic)])
    starts = {partition: max(0, end - 1) for partition, end in ends.items()}
    async with Reader.open(settings, _BUSY, starts=starts, client_id=client_id) as reader:
        return max((record.append_us for record in await reader.read_all()), default=0)
