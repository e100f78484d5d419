"""A slow and simple reference implementation of the ledger's rules, evaluated at one instant.

It shares no code with districam_common.ledger.ledger; unit tests compare the two.
"""

from collections.abc import Iterable
from itertools import pairwise

from districam_common.contract.events import Camera, CameraEvent, Connected, FootageExpired, Lost, Refused, Shed
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger.causes import LoggedEvent
from support.histories import History

StateAt = tuple[str, str | None, str]
"""State, cause, detail."""
TimeRange = tuple[int, int]

SETTLE_US = 75_000_000
HALF_SECOND_US = 500_000
THIRTY_SECONDS_US = 30_000_000
NEVER = 10**18


def state_at(at_us: int, history: History) -> StateAt:
    events = [logged.event for logged in history.events]
    stored = [(e.start_us, e.end_us) for e in history.entries]
    if _within(at_us, [(e.from_us, e.to_us) for e in events if isinstance(e, FootageExpired)]):
        return "expired", None, ""
    if _within(at_us, stored) or _in_short_hole(at_us, history):
        return "recorded", None, ""
    if not _is_expected(at_us, history):
        return "not_expected", None, ""
    if at_us >= history.log_us - SETTLE_US or at_us >= history.now_us:
        return "pending", None, ""
    return _gap_cause(at_us, history)


def _within(at_us: int, stretches: Iterable[TimeRange]) -> bool:
    return any(from_us <= at_us < to_us for from_us, to_us in stretches)


def _overlap(a: TimeRange, b: TimeRange) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def _sheds(history: History) -> list[Shed]:
    return [logged.event for logged in history.events if isinstance(logged.event, Shed)]


def _gap_cause(at_us: int, history: History) -> StateAt:
    covering = [shed for shed in _sheds(history) if shed.start_us <= at_us < shed.end_us]
    if covering:
        first = min(covering, key=lambda shed: (shed.start_us, shed.end_us, shed.cause))
        return "gap", first.cause, ""
    proven, unproven = missing_ranges(history)
    if _within(at_us, unproven):
        return "pending", None, ""
    cause, detail = ("pipeline_loss", "") if _within(at_us, proven) else _last_status(at_us, history)
    is_log_truncated = _within(at_us, [(f.from_us, f.to_us) for f in history.log_truncations])
    if is_log_truncated and cause in ("pipeline_loss", "service_down"):
        return "gap", "storage_down", ""
    return "gap", cause, detail


def _in_short_hole(at_us: int, history: History) -> bool:
    """Whether the instant lies between stored fragments less than half a second apart."""
    before = [e.end_us for e in history.entries if e.start_us < e.end_us <= at_us]
    after = [e.start_us for e in history.entries if at_us < e.start_us < e.end_us]
    if not before or not after or min(after) - max(before) >= HALF_SECOND_US:
        return False
    hole = (max(before), min(after))
    proven, unproven = missing_ranges(history)
    sheds = [(shed.start_us, shed.end_us) for shed in _sheds(history)]
    if any(_overlap(hole, stretch) for stretch in [*proven, *unproven, *sheds]):
        return False
    changes = [at for logged in _status_events(history) if hole[0] <= (at := _effective_us(logged, history)) < hole[1]]
    words = [_status_in_force(at, history) for at in [hole[0], *changes]]
    return not any(isinstance(word, Lost) and word.interrupted for word in words)


def missing_ranges(history: History) -> tuple[list[TimeRange], list[TimeRange]]:
    """Where fragments are proven missing; where they may still be in the log."""
    proven: list[TimeRange] = []
    unproven: list[TimeRange] = []
    events = [logged.event for logged in history.events]
    for epoch in {e.epoch for e in events if isinstance(e, Connected)} | {e.epoch for e in history.entries}:
        begun = [e.at_us for e in events if isinstance(e, Connected) and e.epoch == epoch]
        stored = sorted((e for e in history.entries if e.epoch == epoch), key=lambda e: e.last_seq)
        steps = [(-1, min(begun))] if begun else []
        steps += [(e.last_seq, e.end_us) for e in stored]
        for one in stored:
            earlier = [step for step in steps if step[0] < one.first_seq]
            if earlier and earlier[-1][0] + 1 < one.first_seq and _is_next_copy(one, earlier[-1][0], stored):
                proven.append((earlier[-1][1], one.start_us))
        ends = [logged for logged in history.events if isinstance(logged.event, Lost) and logged.event.epoch == epoch]
        for logged in ends:
            assert isinstance(logged.event, Lost)
            if steps and logged.event.last_seq > steps[-1][0]:
                is_proven = any(t.appended_us is None or t.appended_us < history.log_us for t in ends)
                (proven if is_proven else unproven).append((steps[-1][1], logged.event.end_us))
    return proven, unproven


def _is_next_copy(one: IndexEntry, seq: int, stored: list[IndexEntry]) -> bool:
    """Whether no other copy has anything between `seq` and the start of `one`."""
    return not any(other.first_seq < one.first_seq and other.last_seq > seq for other in stored)


def _last_status(at_us: int, history: History) -> tuple[str, str]:
    logged = _logged_event_in_force(at_us, history)
    if logged is None or not isinstance(logged.event, Lost | Refused):
        return "service_down", ""
    event = logged.event
    trusted_until_us = _trusted_us(event.at_us, logged) + int(event.next_retry_s * 1_000_000) + THIRTY_SECONDS_US
    return (event.cause, event.detail) if at_us < trusted_until_us else ("service_down", "")


def _status_in_force(at_us: int, history: History) -> CameraEvent | None:
    logged = _logged_event_in_force(at_us, history)
    return None if logged is None else logged.event


def _logged_event_in_force(at_us: int, history: History) -> LoggedEvent | None:
    """Iterates over the events that count, in the order in which they take effect."""
    status_events = [logged for logged in _status_events(history) if _effective_us(logged, history) <= at_us]
    status_events.sort(key=lambda logged: (_effective_us(logged, history), *_tie_break_key(logged)))
    seen = set[str]()
    holder, before = "", ""  # the camera's owner; an earlier owner whose epoch has not ended
    in_force: LoggedEvent | None = None
    for logged in status_events:
        event = logged.event
        if isinstance(event, Connected):
            if event.epoch not in seen:
                seen.add(event.epoch)
                holder, before = event.epoch, holder
                in_force = logged
        elif not isinstance(event, Lost) or holder in ("", event.epoch):
            in_force = logged
            if isinstance(event, Lost) and event.cause == "handover" and before:
                holder, before = before, ""
        elif event.epoch == before:
            before = ""
    return in_force


def _status_events(history: History) -> list[LoggedEvent]:
    return [logged for logged in history.events if isinstance(logged.event, Connected | Lost | Refused)]


def _tie_break_key(logged: LoggedEvent) -> tuple[int, bool, str]:
    """Log order; where it is unknown, `lost` first."""
    took_us = NEVER if logged.appended_us is None else logged.appended_us
    return took_us, not isinstance(logged.event, Lost), repr(logged.event)


def _effective_us(logged: LoggedEvent, history: History) -> int:
    """At most the log's append time and the time of later events of the same process, whose clock was ahead."""
    own_us = _own_effective_us(logged)
    if logged.appended_us is None:
        return own_us
    later = [
        other
        for other in _status_events(history)
        if other.event.instance == logged.event.instance
        and other.appended_us is not None
        and other.appended_us > logged.appended_us
    ]
    return min([own_us, *map(_own_effective_us, later)])


def _own_effective_us(logged: LoggedEvent) -> int:
    return _trusted_us(logged.event.end_us if isinstance(logged.event, Lost) else logged.event.at_us, logged)


def _trusted_us(at_us: int, logged: LoggedEvent) -> int:
    """Times more than a second ahead of the broker's clock are proven wrong."""
    if logged.appended_us is not None and at_us > logged.appended_us + 1_000_000:
        return logged.appended_us
    return at_us


def _is_expected(at_us: int, history: History) -> bool:
    """Enabled at that instant, and since then mentioned in an event, or for half a minute."""
    revisions = sorted(_revisions(history), key=lambda one: (one[0], one[1].revision))
    past = list({since_us: camera for since_us, camera in revisions if since_us <= at_us}.items())
    evidence_us = [e.start_us for e in history.entries]
    evidence_us += [_trusted_us(logged.event.at_us, logged) for logged in _status_events(history)]
    if not past:
        return False
    if not past[-1][1].is_expected:
        return False
    known = dict(_logged(history))
    changes = [
        (since_us, camera)
        for (_, before), (since_us, camera) in pairwise([(0, None), *past])
        if camera is not None and camera.is_expected and not (before and before.is_expected)
    ]
    since_us, camera = changes[-1]
    is_first = len(changes) == 1
    enabled_us = since_us
    if is_first and camera == revisions[0][1]:
        since_us = max(since_us, known.get(camera, since_us))
    if at_us >= since_us + THIRTY_SECONDS_US:
        return True
    return any(sign_us <= at_us and (is_first or sign_us >= enabled_us) for sign_us in evidence_us)


def _logged(history: History) -> list[tuple[Camera, int]]:
    """Revisions with the earliest log append time, where it is known."""
    took = [(one.camera, one.appended_us) for one in history.revisions if one.appended_us is not None]
    return sorted(took, key=lambda one: -one[1])


def _revisions(history: History) -> list[tuple[int, Camera]]:
    """Start of each revision: its append time, else its own time; for the first one the earlier of the two."""
    known = dict(_logged(history))
    cameras = {one.camera for one in history.revisions}
    out = [(known.get(camera, camera.updated_us), camera) for camera in cameras]
    out.sort(key=lambda one: (one[0], one[1].revision))
    if out:
        since_us, first = out[0]
        out[0] = (min(since_us, first.updated_us), first)
    return out
