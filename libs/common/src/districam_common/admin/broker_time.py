"""Whether this machine's clock agrees with the broker's, as far as a command can tell.

Kafka tells its time in two ways only: each record carries the time of its append, and so does the acknowledgement of each
record that is sent. Records that lie there prove a clock that is behind; an acknowledgement proves either.
"""

from districam_common.contract.names import SEGMENTS, STREAMS
from districam_common.errors import Rejected
from districam_common.kafka.inspector import KafkaInspector
from districam_common.kafka.topic_reader import TopicReader
from districam_common.ledger.causes import CLOCK_TOLERANCE_US
from districam_common.runtime.settings import KafkaSettings

_APPEND_TIME_RESOLUTION_US = 1_000
"""Append times are cut off to the millisecond."""
_BUSY_TOPICS = (SEGMENTS, STREAMS)
"""In a district that records, something comes to these every few seconds."""


class ClockSkewError(Rejected):
    """This machine's clock is off by so much that nothing may be dated by it."""


def proven_skew_us(append_us: int, sent_us: int, acked_us: int) -> int:
    """By how much this machine's clock is surely ahead of the broker's (negative: behind); 0 while the two may agree.

    Args:
        append_us: the broker's time of the append, which lay between the other two.
        sent_us: this machine's time at the sending.
        acked_us: this machine's time at the acknowledgement.
    """
    return max(0, sent_us - append_us - _APPEND_TIME_RESOLUTION_US) + min(0, acked_us - append_us)


def require_no_skew(skew_us: int, written: str) -> None:
    """Refuses a clock that is off by over a second; `written` says what has been done by then, in whole sentences.

    Raises:
        ClockOff: naming the fix.
    """
    if abs(skew_us) > CLOCK_TOLERANCE_US:
        which = "ahead of" if skew_us > 0 else "behind"
        raise ClockSkewError(
            f"this machine's clock is at least {abs(skew_us) / 1e6:.1f} s {which} the broker's, and a camera's record says "
            f"since when it holds: set the clock (`timedatectl set-ntp true`, or NTP on the brokers if theirs are wrong) "
            f"and run this again. {written}"
        )


async def newest_append_us(settings: KafkaSettings, client_id: str) -> int:
    """The latest time of the broker's that is seen without writing anything; 0 if nothing was ever written.

    Raises:
        Retriable, Fatal: of the broker.
    """
    async with KafkaInspector.open(settings, client_id) as groups:
        ends = await groups.end_offsets([p for topic in _BUSY_TOPICS for p in await groups.partitions(topic)])
    starts = {partition: max(0, end - 1) for partition, end in ends.items()}
    async with TopicReader.open(settings, _BUSY_TOPICS, starts=starts, client_id=client_id) as reader:
        return max((record.append_us for record in await reader.read_all()), default=0)
