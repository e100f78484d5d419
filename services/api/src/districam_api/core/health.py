"""How a stream is doing now, from its record, its events and its newest segment (docs/design/contract.md, API)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from districam_common.contract.events import Camera, Cause, Lost, Refused
from districam_common.ledger.causes import RETRY_MARGIN_US, Told, happenings, in_force

STORED_WITHIN_US = 15_000_000
"""From the end of a segment to its place in the index, on a healthy day and a margin."""

APART_US = 2_000_000
"""By how much clocks that are right may differ: ours, and that of the ingest that spoke."""

StateNow = Literal["disabled", "lost", "recording", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The camera's newest segment."""

    end_us: int
    length_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A camera and what it does. `since_us`: when the event in force took effect, if there is one."""

    camera: Camera
    state: StateNow
    cause: Cause | None = None
    detail: str = ""
    since_us: int | None = None
    last_end_us: int | None = None


def health(camera: Camera, told: Iterable[Told], newest: Newest | None, now_us: int) -> Health:
    """`disabled`; `lost` with its cause; `recording`; else `late`.

    What takes effect later than now was said by a clock that was ahead: it must not hide what is said until then.
    """
    deciding = list(in_force(word for word in happenings(told) if word.effect_us <= now_us + APART_US))
    last = deciding[-1] if deciding else None
    out = Health(
        camera=camera,
        state="disabled",
        since_us=last.effect_us if last else None,
        last_end_us=newest.end_us if newest else None,
    )
    if not camera.is_expected:
        return out
    event = last.event if last else None
    if last and isinstance(event, Lost | Refused) and _explains(event, last.said_us, now_us):
        return replace(out, state="lost", cause=event.cause, detail=event.detail)
    is_recording = newest is not None and not is_late(camera, newest, now_us)
    return replace(out, state="recording" if is_recording else "late")


def is_late(camera: Camera, newest: Newest, now_us: int) -> bool:
    """Whether the next segment should have been indexed by now."""
    due_us = max(camera.segment_s * 1_000_000, newest.length_us) + STORED_WITHIN_US
    return now_us - newest.end_us >= due_us


def _explains(event: Lost | Refused, said_us: int, now_us: int) -> bool:
    """Whether the event still holds: past its announced retry the service that sent it is gone (the ledger's rule)."""
    return (now_us - said_us - RETRY_MARGIN_US) / 1e6 < event.next_retry_s
