"""The ledger's rules said once more, as slowly and plainly as possible: what is known of one instant.

It shares no code with districam_common.ledger.ledger; the unit tests hold the two against each other.
"""

from collections.abc import Iterable
from itertools import pairwise

from districam_common.contract.events import (
    Camera,
    CameraEvent,
    Connected,
    FootageExpired,
    Lost,
    Refused,
    Shed,
)
from districam_common.contract.index import IndexEntry
from districam_common.ledger.causes import Told
from support.histories import History

Answer = tuple[str, str | None, str]
"""State, cause, detail."""
Stretch = tuple[int, int]

SETTLE_US = 75_000_000
HALF_SECOND_US = 500_000
THIRTY_SECONDS_US = 30_000_000
NEVER = 10**18


def known_at(at_us: int, history: History) -> Answer:
    events = [told.event for told in history.told]
    stored = [(e.start_us, e.end_us) for e in history.entries]
    if _within(at_us, [(e.from_us, e.to_us) for e in events if isinstance(e, FootageExpired)]):
        return "expired", None, ""
    if _within(at_us, stored) or _in_short_hole(at_us, history):
        return "recorded", None, ""
    if not _is_expected(at_us, history):
        return "not_expected", None, ""
    if at_us >= history.log_us - SETTLE_US or at_us >= history.now_us:
        return "pending", None, ""
    return _why(at_us, history)


def _within(at_us: int, stretches: Iterable[Stretch]) -> bool:
    return any(from_us <= at_us < to_us for from_us, to_us in stretches)


def _overlap(a: Stretch, b: Stretch) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def _sheds(history: History) -> list[Shed]:
    return [told.event for told in history.told if isinstance(told.event, Shed)]


def _why(at_us: int, history: History) -> Answer:
    covering = [shed for shed in _sheds(history) if shed.start_us <= at_us < shed.end_us]
    if covering:
        first = min(covering, key=lambda shed: (shed.start_us, shed.end_us, shed.cause))
        return "gap", first.cause, ""
    proven, unproven = missing(history)
    if _within(at_us, unproven):
        return "pending", None, ""
    cause, detail = ("pipeline_loss", "") if _within(at_us, proven) else _last_word(at_us, history)
    in_fallen = _within(at_us, [(f.from_us, f.to_us) for f in history.fell])
    if in_fallen and cause in ("pipeline_loss", "service_down"):
        return "gap", "storage_down", ""
    return "gap", cause, detail


def _in_short_hole(at_us: int, history: History) -> bool:
    """Between something stored before and something stored after, less than half a second apart."""
    before = [e.end_us for e in history.entries if e.start_us < e.end_us <= at_us]
    after = [e.start_us for e in history.entries if at_us < e.start_us < e.end_us]
    if not before or not after or min(after) - max(before) >= HALF_SECOND_US:
        return False
    hole = (max(before), min(after))
    proven, unproven = missing(history)
    sheds = [(shed.start_us, shed.end_us) for shed in _sheds(history)]
    if any(_overlap(hole, stretch) for stretch in [*proven, *unproven, *sheds]):
        return False
    changes = [
        at for told in _spoken(history) if hole[0] <= (at := _takes_effect_us(told, history)) < hole[1]
    ]
    words = [_word_in_force(at, history) for at in [hole[0], *changes]]
    return not any(isinstance(word, Lost) and word.interrupted for word in words)


def missing(history: History) -> tuple[list[Stretch], list[Stretch]]:
    """Where fragments are proven to have been and are not stored; where they may yet come out of the log."""
    proven: list[Stretch] = []
    unproven: list[Stretch] = []
    events = [told.event for told in history.told]
    for epoch in {e.epoch for e in events if isinstance(e, Connected)} | {e.epoch for e in history.entries}:
        begun = [e.at_us for e in events if isinstance(e, Connected) and e.epoch == epoch]
        stored = sorted((e for e in history.entries if e.epoch == epoch), key=lambda e: e.last_seq)
        steps = [(-1, min(begun))] if begun else []
        steps += [(e.last_seq, e.end_us) for e in stored]
        for one in stored:
            earlier = [step for step in steps if step[0] < one.first_seq]
            if (
                earlier
                and earlier[-1][0] + 1 < one.first_seq
                and _is_first_after(one, earlier[-1][0], stored)
            ):
                proven.append((earlier[-1][1], one.start_us))
        ends = [told for told in history.told if isinstance(told.event, Lost) and told.event.epoch == epoch]
        for told in ends:
            assert isinstance(told.event, Lost)
            if steps and told.event.last_seq > steps[-1][0]:
                is_proven = any(t.appended_us is None or t.appended_us < history.log_us for t in ends)
                (proven if is_proven else unproven).append((steps[-1][1], told.event.end_us))
    return proven, unproven


def _is_first_after(one: IndexEntry, seq: int, stored: list[IndexEntry]) -> bool:
    """No other copy holds anything between `seq` and the first of `one`."""
    return not any(other.first_seq < one.first_seq and other.last_seq > seq for other in stored)


def _last_word(at_us: int, history: History) -> tuple[str, str]:
    told = _told_in_force(at_us, history)
    if told is None or not isinstance(told.event, Lost | Refused):
        return "service_down", ""
    word = told.event
    believed_until_us = (
        _believed_us(word.at_us, told) + int(word.next_retry_s * 1_000_000) + THIRTY_SECONDS_US
    )
    return (word.cause, word.detail) if at_us < believed_until_us else ("service_down", "")


def _word_in_force(at_us: int, history: History) -> CameraEvent | None:
    told = _told_in_force(at_us, history)
    return None if told is None else told.event


def _told_in_force(at_us: int, history: History) -> Told | None:
    """Walks through the words that count, in the order in which they take effect."""
    spoken = [told for told in _spoken(history) if _takes_effect_us(told, history) <= at_us]
    spoken.sort(key=lambda told: (_takes_effect_us(told, history), *_at_one_instant(told)))
    seen = set[str]()
    holder, before = "", ""  # who has the camera, and who had connected before that one and is not over
    word: Told | None = None
    for told in spoken:
        event = told.event
        if isinstance(event, Connected):
            if event.epoch not in seen:
                seen.add(event.epoch)
                holder, before = event.epoch, holder
                word = told
        elif not isinstance(event, Lost) or holder in ("", event.epoch):
            word = told
            if isinstance(event, Lost) and event.cause == "handover" and before:
                holder, before = before, ""
        elif event.epoch == before:
            before = ""
    return word


def _spoken(history: History) -> list[Told]:
    return [told for told in history.told if isinstance(told.event, Connected | Lost | Refused)]


def _at_one_instant(told: Told) -> tuple[int, bool, str]:
    """The log's order; where nobody knows it, `lost` first."""
    took_us = NEVER if told.appended_us is None else told.appended_us
    return took_us, not isinstance(told.event, Lost), repr(told.event)


def _takes_effect_us(told: Told, history: History) -> int:
    """Not after the log took it, nor after what the same process said later: its clock was ahead."""
    own_us = _own_effect_us(told)
    if told.appended_us is None:
        return own_us
    later = [
        other
        for other in _spoken(history)
        if other.event.instance == told.event.instance
        and other.appended_us is not None
        and other.appended_us > told.appended_us
    ]
    return min([own_us, *map(_own_effect_us, later)])


def _own_effect_us(told: Told) -> int:
    return _believed_us(told.event.end_us if isinstance(told.event, Lost) else told.event.at_us, told)


def _believed_us(at_us: int, told: Told) -> int:
    """More than a second ahead of the broker's clock is proven wrong."""
    if told.appended_us is not None and at_us > told.appended_us + 1_000_000:
        return told.appended_us
    return at_us


def _is_expected(at_us: int, history: History) -> bool:
    """Enabled at that instant, and since then spoken of, or half a minute old."""
    revisions = sorted(_revisions(history), key=lambda one: (one[0], one[1].revision))
    past = list({since_us: camera for since_us, camera in revisions if since_us <= at_us}.items())
    signs = [e.start_us for e in history.entries]
    signs += [_believed_us(told.event.at_us, told) for told in _spoken(history)]
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
    asked_us = since_us
    if is_first and camera == revisions[0][1]:
        since_us = max(since_us, known.get(camera, since_us))
    if at_us >= since_us + THIRTY_SECONDS_US:
        return True
    return any(sign_us <= at_us and (is_first or sign_us >= asked_us) for sign_us in signs)


def _logged(history: History) -> list[tuple[Camera, int]]:
    """Revisions with the earliest time at which the log took them, of those of which it is known."""
    took = [(one.camera, one.appended_us) for one in history.revisions if one.appended_us is not None]
    return sorted(took, key=lambda one: -one[1])


def _revisions(history: History) -> list[tuple[int, Camera]]:
    """Since when each revision holds: as the log took it, else as it says; the first from the earlier of the two on."""
    known = dict(_logged(history))
    cameras = {one.camera for one in history.revisions}
    out = [(known.get(camera, camera.updated_us), camera) for camera in cameras]
    out.sort(key=lambda one: (one[0], one[1].revision))
    if out:
        since_us, first = out[0]
        out[0] = (min(since_us, first.updated_us), first)
    return out
