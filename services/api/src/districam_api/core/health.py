"""A stream's current health, from its record, events and newest segment (docs/design/contract.md, API)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from districam_common.contract.events import Camera, Cause, Lost, Refused
from districam_common.ledger.causes import RETRY_MARGIN_US, LoggedEvent, effective_changes, status_changes

MAX_INDEXING_DELAY_US = 15_000_000
"""From the end of a segment to its index entry in normal operation, with a margin."""

MAX_CLOCK_SKEW_US = 2_000_000
"""Tolerated difference between this host's clock and that of the reporting ingest."""

StreamState = Literal["disabled", "lost", "recording", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestSegment:
    """End and length of the camera's newest segment."""

    end_us: int
    length_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """A camera and its stream's state. `since_us`: when the current event took effect, if there is one."""

    camera: Camera
    state: StreamState
    cause: Cause | None = None
    detail: str = ""
    since_us: int | None = None
    last_end_us: int | None = None


def compute_health(
    camera: Camera, events: Iterable[LoggedEvent], newest: NewestSegment | None, now_us: int
) -> StreamHealth:
    """`disabled`; `lost` with its cause; `recording`; else `late`.

    An event that takes effect in the future comes from a fast clock: until then it must not hide current events.
    """
    effective = list(
        effective_changes(
            status for status in status_changes(events) if status.effective_us <= now_us + MAX_CLOCK_SKEW_US
        )
    )
    last = effective[-1] if effective else None
    out = StreamHealth(
        camera=camera,
        state="disabled",
        since_us=last.effective_us if last else None,
        last_end_us=newest.end_us if newest else None,
    )
    if not camera.is_expected:
        return out
    event = last.event if last else None
    if last and isinstance(event, Lost | Refused) and _explains(event, last.reported_us, now_us):
        return replace(out, state="lost", cause=event.cause, detail=event.detail)
    is_recording = newest is not None and not is_late(camera, newest, now_us)
    return replace(out, state="recording" if is_recording else "late")


def is_late(camera: Camera, newest: NewestSegment, now_us: int) -> bool:
    """Whether the next segment should have been indexed by now."""
    due_us = max(camera.segment_s * 1_000_000, newest.length_us) + MAX_INDEXING_DELAY_US
    return now_us - newest.end_us >= due_us


def _explains(event: Lost | Refused, reported_us: int, now_us: int) -> bool:
    """Whether the event still applies: past its announced retry its ingest is gone (the ledger's rule)."""
    return (now_us - reported_us - RETRY_MARGIN_US) / 1e6 < event.next_retry_s
