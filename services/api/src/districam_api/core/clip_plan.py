"""Which fragments of which objects a clip holds: the cover, one segment at a time, refined where epochs meet."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from districam_api.core.times import Window
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger.intervals import Interval

EPOCH_MATCH_US = 500_000
"""Two epochs of one camera place the same picture within this of each other (arrival jitter)."""
MAX_PREROLL_US = 300_000_000
"""How far before an instant its keyframe is searched for."""


@dataclass(frozen=True, slots=True)
class CoverSegment:
    """A segment of the cover, of which [from_us, to_us) is shown."""

    entry: IndexEntry
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class FragmentInfo:
    """A fragment of a segment: its `seq`, its wall-clock time, and the digest of its first picture."""

    seq: int
    start_us: int
    end_us: int
    is_keyframe: bool
    picture_digest: bytes


@dataclass(frozen=True, slots=True)
class FragmentRange:
    """The fragments to take of a segment: from `first_seq` to `last_seq`, those that start before `before_us`.

    If `trims_access_units`, also drop access units at or after `before_us` in the last fragment.
    """

    entry: IndexEntry
    first_seq: int
    last_seq: int
    before_us: int
    trims_access_units: bool = False


def compatible_windows(
    cover: Sequence[CoverSegment], parameters_by_epoch: Mapping[str, Hashable], window: Window
) -> list[Interval]:
    """The windows, in order, inside which codec parameters do not change: each can be one clip."""
    out: list[Interval] = []
    for _, group in groupby(cover, key=lambda one: parameters_by_epoch[one.entry.epoch]):
        run = list(group)
        out.append((max(window.from_us, run[0].from_us), min(window.to_us, run[-1].to_us)))
    return out


def preroll_segments(entries: Sequence[IndexEntry], first: IndexEntry, at_us: int) -> list[IndexEntry]:
    """`first` and the segments before it by contiguous `seq`, newest first, until one starts with a keyframe."""
    found = [first]
    while not found[-1].starts_with_keyframe:
        seq, epoch = found[-1].first_seq, found[-1].epoch
        before = [e for e in entries if e.epoch == epoch and e.first_seq < seq <= e.last_seq + 1]
        if not before or found[-1].start_us <= at_us - MAX_PREROLL_US:
            break
        found.append(min(before, key=lambda e: e.first_seq))
    return found


def keyframe_at(fragments: Sequence[FragmentInfo], at_us: int) -> FragmentInfo | None:
    """The last fragment at or before `at_us` that starts with a keyframe."""
    return next(
        (fragment for fragment in reversed(fragments) if fragment.is_keyframe and fragment.start_us <= at_us), None
    )


def last_fragment(fragments: Sequence[FragmentInfo], fragment_range: FragmentRange) -> FragmentInfo | None:
    """The last fragment of `fragment_range`, or None."""
    selected = [
        m
        for m in fragments
        if fragment_range.first_seq <= m.seq <= fragment_range.last_seq and m.start_us < fragment_range.before_us
    ]
    return selected[-1] if selected else None


def compute_range(segment: CoverSegment, before_us: int, previous: CoverSegment | None) -> FragmentRange:
    """The fragments of a segment that follow `previous`, the segment before it in the cover, up to `before_us`."""
    first_seq = segment.entry.first_seq
    if previous and previous.entry.epoch == segment.entry.epoch:
        first_seq = max(first_seq, previous.entry.last_seq + 1)
    return FragmentRange(segment.entry, first_seq, segment.entry.last_seq, before_us)


def has_epoch_overlap(segment: CoverSegment, following: CoverSegment | None) -> bool:
    """Whether the change to another epoch lies inside one of the two segments."""
    if following is None or following.entry.epoch == segment.entry.epoch:
        return False
    return segment.to_us < segment.entry.end_us or following.from_us > following.entry.start_us


def trim_overlap(
    fragment_range: FragmentRange, fragments: Sequence[FragmentInfo], next_start: FragmentInfo
) -> FragmentRange:
    """`fragment_range`, cut where the next epoch begins with fragment `next_start`; `fragments` are its segment's.

    Both replicas received the same bytes from one encoder: the keyframe with the digest of `next_start` is the cut.
    If there is none, a segment that ends less than EPOCH_MATCH_US after `next_start` merely arrived later and is
    kept; of a longer one, access units at or after `next_start` are dropped.
    """
    same = [m for m in fragments if _is_same_picture(m, next_start)]
    if same:
        return replace(fragment_range, last_seq=min(same, key=lambda m: abs(m.start_us - next_start.start_us)).seq - 1)
    if fragment_range.entry.end_us - next_start.start_us < EPOCH_MATCH_US:
        return fragment_range
    return replace(
        fragment_range, before_us=min(fragment_range.before_us, next_start.start_us), trims_access_units=True
    )


def _is_same_picture(fragment: FragmentInfo, next_start: FragmentInfo) -> bool:
    is_keyframe = fragment.is_keyframe and next_start.is_keyframe
    return (
        is_keyframe
        and abs(fragment.start_us - next_start.start_us) < EPOCH_MATCH_US
        and fragment.picture_digest == next_start.picture_digest
    )
