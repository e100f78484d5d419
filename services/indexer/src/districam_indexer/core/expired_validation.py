"""Validates `expired` events: they hide footage from readers, so only those of retention are accepted."""

from districam_common.contract import names
from districam_common.contract.events import FootageExpired
from districam_common.contract.names import DAY_US, HOUR_US, format_rfc3339

MIN_EXPIRED_AGE_US = DAY_US - HOUR_US
"""Retention deletes nothing younger than a day by the recorders' watermark. A broker's clock, which gives the
append time, may be behind that by up to an hour."""


def rejection_reason(event: FootageExpired, topic: str, append_us: int, streams_until_us: int) -> str | None:
    """Why the event is rejected; None if it is valid.

    Args:
        event: names the expired interval.
        topic: on which it was read.
        append_us: its append time (broker clock).
        streams_until_us: last append time at which the topic `streams` is accepted too.
    """
    if topic != names.RETENTION and append_us > streams_until_us:
        streams_until = format_rfc3339(streams_until_us)
        return f"expired is accepted on the topic {names.RETENTION} only, since {streams_until}"
    if event.to_us > append_us - MIN_EXPIRED_AGE_US:
        return f"to_us is {format_rfc3339(event.to_us)}: footage younger than a day does not expire"
    return None
