"""Which fragments of which objects a clip holds: the cover, a segment at a time, refined where epochs meet."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from districam_api.core.times import Window
from districam_common.contract.index import IndexEntry
from districam_common.ledger.intervals import Interval

SEAM_US = 500_000
"""Two epochs of one camera place the same picture this near to one another at most (jitter of arrival)."""
BACK_MOST_US = 300_000_000
"""How far before an instant its keyframe is looked for."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A segment of the cover; [from_us, to_us) of it is shown."""

    entry: IndexEntry
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A fragment of a segment: its `seq`, its time on our clock, and the digest of the picture that it starts with."""

    seq: int
    at_us: int
    end_us: int
    is_keyframe: bool
    picture: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """What to take of a segment: fragments from `first_seq` to `last_seq` that start before `before_us`.

    `trims`: so are access units, whatever their fragment.
    """

    entry: IndexEntry
    first_seq: int
    last_seq: int
    before_us: int
    trims: bool = False


def stretches(shown: Sequence[Shown], shapes: Mapping[str, Hashable], window: Window) -> list[Interval]:
    """The windows in which all epochs have one shape, in order: each can be one clip."""
    out: list[Interval] = []
    for _, group in groupby(shown, key=lambda one: shapes[one.entry.epoch]):
        run = list(group)
        out.append((max(window.from_us, run[0].from_us), min(window.to_us, run[-1].to_us)))
    return out


def lead(entries: Sequence[IndexEntry], first: IndexEntry, at_us: int) -> list[IndexEntry]:
    """`first` and the segments before it by contiguous `seq`, newest first, until one starts with a keyframe."""
    found = [first]
    while not found[-1].starts_with_keyframe:
        seq, epoch = found[-1].first_seq, found[-1].epoch
        before = [e for e in entries if e.epoch == epoch and e.first_seq < seq <= e.last_seq + 1]
        if not before or found[-1].start_us <= at_us - BACK_MOST_US:
            break
        found.append(min(before, key=lambda e: e.first_seq))
    return found


def keyframe_at(marks: Sequence[Mark], at_us: int) -> Mark | None:
    """The last fragment at or before `at_us` that starts with a keyframe."""
    return next((mark for mark in reversed(marks) if mark.is_keyframe and mark.at_us <= at_us), None)


def last_before(marks: Sequence[Mark], cut: Cut) -> Mark | None:
    """The last fragment that `cut` takes."""
    taken = [m for m in marks if cut.first_seq <= m.seq <= cut.last_seq and m.at_us < cut.before_us]
    return taken[-1] if taken else None


def cut_of(shown: Shown, before_us: int, before: Shown | None) -> Cut:
    """The part of a segment that follows the segment `before` in the cover, up to `before_us`."""
    first_seq = shown.entry.first_seq
    if before and before.entry.epoch == shown.entry.epoch:
        first_seq = max(first_seq, before.entry.last_seq + 1)
    return Cut(shown.entry, first_seq, shown.entry.last_seq, before_us)


def is_seam(shown: Shown, following: Shown | None) -> bool:
    """Whether another epoch takes over inside one of the two segments."""
    if following is None or following.entry.epoch == shown.entry.epoch:
        return False
    return shown.to_us < shown.entry.end_us or following.from_us > following.entry.start_us


def seam(cut: Cut, marks: Sequence[Mark], entry: Mark) -> Cut:
    """`cut`, whose segment is `marks`, up to the fragment `entry` of the next epoch.

    The same encoder's picture has the same bytes in both epochs: what follows it was taken twice. Where it is not
    found, a segment that goes on a little longer merely arrived a little later; of one that goes on for long, what
    begins after `entry` is left out.
    """
    same = [m for m in marks if _is_same(m, entry)]
    if same:
        return replace(cut, last_seq=min(same, key=lambda m: abs(m.at_us - entry.at_us)).seq - 1)
    if cut.entry.end_us - entry.at_us < SEAM_US:
        return cut
    return replace(cut, before_us=min(cut.before_us, entry.at_us), trims=True)


def _is_same(mark: Mark, entry: Mark) -> bool:
    is_keyframe = mark.is_keyframe and entry.is_keyframe
    return is_keyframe and abs(mark.at_us - entry.at_us) < SEAM_US and mark.picture == entry.picture
