"""Which `expired` events are believed: what they hide is found by nobody any more, so nobody else's word counts."""

from districam_common.contract import names
from districam_common.contract.events import FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US, format_rfc3339

MIN_EXPIRED_AGE_US = DAY_US - HOUR_US
"""Retention lets go of nothing younger than a day by the recorders' progress, neither by age nor for the budget. A broker's clock,
which gives the append time, may be behind that: by an hour and no more."""


def rejection_reason(event: FootageExpired, topic: str, append_us: int, streams_until_us: int) -> str | None:
    """Why the event is not believed; None if it is.

    Args:
        event: what is said to be let go.
        topic: on which it was read.
        append_us: when the broker took it.
        streams_until_us: up to which append time it may stand on `streams`.
    """
    if topic != names.RETENTION and append_us > streams_until_us:
        streams_until = format_rfc3339(streams_until_us)
        return f"expired is said on {names.RETENTION} alone since {streams_until}: not by an indexer of this version"
    if event.to_us > append_us - MIN_EXPIRED_AGE_US:
        return f"to_us is {format_rfc3339(event.to_us)}: footage younger than a day is never let go"
    return None
