"""Random histories of one camera: epochs with holes, duplicates and shed ranges, their events, revisions of its record."""

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import strategies as st

from districam_common.contract.events import (
    Camera,
    CameraEvent,
    Cause,
    ClockStep,
    Connected,
    FootageExpired,
    Lost,
    PartitionTruncated,
    Profile,
    Refused,
    Shed,
)
from districam_common.contract.segment_array import IndexEntry
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.expectation import Revision
from districam_common.ledger.intervals import Interval

TENTH_US = 100_000
EPOCHS = [f"0190000{n}-0000-7000-8000-00000000000{n}" for n in range(4)]
LOSS_CAUSES: list[Cause] = ["camera_unreachable", "source_silent", "handover", "stream_changed", "service_down"]


@dataclass(frozen=True)
class History:
    """All inputs of the ledger; times in µs, multiples of 0.1 s."""

    window: Interval
    revisions: tuple[Revision, ...]
    entries: tuple[IndexEntry, ...]
    events: tuple[LoggedEvent, ...]
    log_truncations: tuple[PartitionTruncated, ...]
    log_us: int
    now_us: int


def camera(updated_us: int = 0, *, appended_us: int | None = None, **fields: object) -> Revision:
    record = Camera(camera_id="cam-1", name="", url="", updated_us=updated_us)
    return Revision(replace(record, **fields), appended_us)


def entry(epoch: str, first_seq: int, last_seq: int, start_us: int, end_us: int, *, flags: int = 1) -> IndexEntry:
    return IndexEntry(
        epoch=epoch,
        first_seq=first_seq,
        last_seq=last_seq,
        start_us=start_us,
        end_us=end_us,
        bytes=1000,
        init_bytes=100,
        flags=flags,
    )


def connected(epoch: str, at_us: int) -> Connected:
    return Connected(
        camera_id="cam-1",
        at_us=at_us,
        instance="i",
        epoch=epoch,
        reader="native",
        transport="tcp",
        codecs="avc1.640028",
        width=1920,
        height=1080,
    )


def lost(epoch: str, last_seq: int, end_us: int, cause: Cause, **fields: object) -> Lost:
    event = Lost(
        camera_id="cam-1", at_us=end_us, instance="i", epoch=epoch, last_seq=last_seq, end_us=end_us, cause=cause
    )
    return replace(event, **fields)


def refused(at_us: int, cause: Cause, **fields: object) -> Refused:
    return replace(Refused(camera_id="cam-1", at_us=at_us, instance="i", cause=cause), **fields)


def shed(epoch: str, start_us: int, end_us: int, cause: Cause = "shed_backpressure") -> Shed:
    return Shed(
        camera_id="cam-1",
        at_us=end_us,
        instance="i",
        epoch=epoch,
        first_seq=0,
        last_seq=0,
        start_us=start_us,
        end_us=end_us,
        access_units=1,
        bytes=1,
        cause=cause,
    )


def expired(from_us: int, to_us: int) -> FootageExpired:
    return FootageExpired(
        camera_id="cam-1", at_us=to_us, instance="i", from_us=from_us, to_us=to_us, reason="retention"
    )


def truncation(from_us: int, to_us: int) -> PartitionTruncated:
    return PartitionTruncated(partition=0, at_us=to_us, instance="i", from_us=from_us, to_us=to_us)


def tenths_of_seconds(max_tenths: int, min_tenths: int = 0) -> st.SearchStrategy[int]:
    return st.integers(min_tenths, max_tenths).map(lambda n: n * TENTH_US)


@st.composite
def stored_epoch(draw: st.DrawFn, epoch: str, began_us: int) -> tuple[list[int], list[IndexEntry]]:
    """Edges of its fragments, and the segments stored of them: with holes, and duplicates that nest or overlap."""
    edges = [began_us]
    for step in draw(st.lists(st.sampled_from([1, 4, 10, 20, 20, 40]), min_size=1, max_size=12)):
        edges.append(edges[-1] + step * TENTH_US)
    out: list[IndexEntry] = []
    if draw(st.booleans()):
        out.append(entry(epoch, 0, len(edges) - 2, edges[0], edges[-1]))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(edges) - 2))
        last = draw(st.integers(first, len(edges) - 2))
        out.append(entry(epoch, first, last, edges[first], edges[last + 1], flags=draw(st.integers(0, 1))))
    return edges, out


@st.composite
def epoch_events(draw: st.DrawFn, epoch: str, edges: list[int]) -> list[LoggedEvent]:
    """Events of an epoch: `connected` and repeats, perhaps `lost` and a repeat, perhaps shed ranges.

    Its ingest's clock may be ahead: then the events were appended before they take effect.
    """
    instance = draw(st.sampled_from("ij"))
    ahead_us = draw(st.sampled_from([0, 0, 0, 5, 9, 400, 900])) * TENTH_US
    first = replace(connected(epoch, edges[0]), instance=instance)
    append_times = st.none() | tenths_of_seconds(300).map(lambda late_us: edges[0] + late_us - ahead_us)
    out = [LoggedEvent(first, draw(append_times)) for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2])))]
    if draw(st.booleans()):
        out.append(LoggedEvent(replace(first, repeated=True)))
    if draw(st.booleans()):
        lost_at_us = edges[-1] + draw(tenths_of_seconds(200))
        event = lost(
            epoch,
            len(edges) - 2,
            edges[-1],
            draw(st.sampled_from(LOSS_CAUSES)),
            at_us=lost_at_us,
            next_retry_s=draw(st.sampled_from([0.0, 5.0, 20.5])),
            detail=draw(st.sampled_from(["", "reset"])),
            interrupted=draw(st.sampled_from([False, True, True])),
            instance=instance,
        )
        appended = st.none() | tenths_of_seconds(600).map(lambda late_us: lost_at_us + late_us - ahead_us)
        out += [LoggedEvent(event, draw(appended)) for _ in range(draw(st.integers(1, 2)))]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        a, b = sorted(draw(st.tuples(*[st.sampled_from(edges)] * 2)))
        out.append(LoggedEvent(shed(epoch, a, b, draw(st.sampled_from(["shed_backpressure", "stream_error"])))))
    return out


@st.composite
def other_events(draw: st.DrawFn) -> list[LoggedEvent]:
    """Events that belong to no epoch, and events without a cause."""
    events: list[CameraEvent] = [
        refused(
            draw(tenths_of_seconds(1500)),
            draw(st.sampled_from(["auth_failed", "not_found"])),
            next_retry_s=draw(st.sampled_from([0.0, 5.0, 300.0])),
        )
        for _ in range(draw(st.sampled_from([0, 0, 1, 3])))
    ]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        from_us = draw(tenths_of_seconds(1200))
        events.append(expired(from_us, from_us + draw(tenths_of_seconds(300))))
    if draw(st.booleans()):
        at_us = draw(tenths_of_seconds(1500))
        events.append(ClockStep(camera_id="cam-1", at_us=at_us, instance="i", offset_us=9, step_us=9))
        events.append(Profile(camera_id="cam-1", at_us=at_us, instance="i", codecs="hvc1", width=64, height=48))
    append_times = st.none() | tenths_of_seconds(1500)
    return [LoggedEvent(event, draw(append_times) if isinstance(event, Refused) else None) for event in events]


@st.composite
def record(draw: st.DrawFn) -> list[Revision]:
    """Revisions of the camera's record, mostly one from the start; the operator's clock may be wrong.

    Revisions that an older indexer wrote without the append time may occur a second time with it.
    """
    updated_at = draw(st.sampled_from([[0], [0]]) | st.lists(tenths_of_seconds(1500), max_size=4))
    flags = st.sampled_from([{}, {}, {"enabled": False}, {"deleted": True}])
    append_times = sorted(
        draw(st.lists(st.none() | tenths_of_seconds(1500), min_size=len(updated_at), max_size=len(updated_at))),
        key=_when,
    )
    out = [
        camera(at_us, revision=n, appended_us=append_times[n], **draw(flags))
        for n, at_us in enumerate(sorted(updated_at))
    ]
    return out + [Revision(one.camera) for one in out if draw(st.booleans())]


def _when(appended_us: int | None) -> int:
    return -1 if appended_us is None else appended_us


@st.composite
def histories(draw: st.DrawFn) -> History:
    entries: list[IndexEntry] = []
    events = draw(other_events())
    ended_us: list[int] = []
    for epoch in EPOCHS[: draw(st.integers(0, len(EPOCHS)))]:
        close_starts = [st.just(end_us + hole * TENTH_US) for end_us in ended_us[-1:] for hole in (1, 3, 4, 5)]
        edges, stored = draw(stored_epoch(epoch, draw(st.one_of(tenths_of_seconds(900), *close_starts))))
        ended_us.append(edges[-1])
        entries += stored
        events += draw(epoch_events(epoch, edges))
    edges = sorted(draw(st.lists(tenths_of_seconds(1500), max_size=4)))
    return History(
        window=(draw(tenths_of_seconds(300)), draw(tenths_of_seconds(2200, 301))),
        revisions=tuple(draw(record())),
        entries=tuple(draw(st.permutations(entries))),
        events=tuple(draw(st.permutations(events))),
        log_truncations=tuple(truncation(a, b) for a, b in pairwise(edges)),
        log_us=draw(tenths_of_seconds(2500)),
        now_us=draw(tenths_of_seconds(2500)),
    )
