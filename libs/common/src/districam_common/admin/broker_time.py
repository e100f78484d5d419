"""Checks this host's clock against the broker's.

Kafka gives its time only as append times: of existing records, and in the acknowledgement of a new record. Existing
records can prove that this clock is behind; an acknowledgement can prove that it is behind or ahead.
"""

from districam_common.contract.names import SEGMENTS, STREAMS
from districam_common.errors import Rejected
from districam_common.kafka.inspector import KafkaInspector
from districam_common.kafka.topic_reader import TopicReader
from districam_common.ledger.causes import CLOCK_TOLERANCE_US
from districam_common.runtime.settings import KafkaSettings

_APPEND_TIME_RESOLUTION_US = 1_000
"""Append times are truncated to the millisecond."""
_BUSY_TOPICS = (SEGMENTS, STREAMS)
"""While cameras are recorded, records arrive on these topics every few seconds."""


class ClockSkewError(Rejected):
    """This host's clock differs from the broker's by more than `CLOCK_TOLERANCE_US`."""


def proven_skew_us(append_us: int, sent_us: int, acked_us: int) -> int:
    """Minimum by which this host's clock is ahead of the broker's (negative: behind); 0 if the two may agree.

    Args:
        append_us: the broker's append time, which was between the other two.
        sent_us: this host's time when the record was sent.
        acked_us: this host's time when it was acknowledged.
    """
    return max(0, sent_us - append_us - _APPEND_TIME_RESOLUTION_US) + min(0, acked_us - append_us)


def require_no_skew(skew_us: int, written: str) -> None:
    """Raises if the clock differs by more than a second; `written`: what has been written so far, in sentences.

    Raises:
        ClockSkewError: with the skew, the fix and `written`.
    """
    if abs(skew_us) > CLOCK_TOLERANCE_US:
        which = "ahead of" if skew_us > 0 else "behind"
        raise ClockSkewError(
            f"this host's clock is at least {abs(skew_us) / 1e6:.1f} s {which} the broker's, and camera records contain "
            f"the time from which they apply: set the clock (`timedatectl set-ntp true`, or NTP on the brokers if theirs "
            f"are wrong) and run this again. {written}"
        )


async def newest_append_us(settings: KafkaSettings, client_id: str) -> int:
    """The latest append time of the busy topics, found without writing; 0 if they are empty.

    Raises:
        Retriable, Fatal: as reading from Kafka does.
    """
    async with KafkaInspector.open(settings, client_id) as groups:
        ends = await groups.end_offsets([p for topic in _BUSY_TOPICS for p in await groups.partitions(topic)])
    starts = {partition: max(0, end - 1) for partition, end in ends.items()}
    async with TopicReader.open(settings, _BUSY_TOPICS, starts=starts, client_id=client_id) as reader:
        return max((record.append_us for record in await reader.read_all()), default=0)
