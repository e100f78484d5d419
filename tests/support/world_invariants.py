"""Invariants of a finished world. Each check raises AssertionError that says what was found, and where."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from random import Random

from districam_common.contract import names
from districam_common.contract.events import Camera, DeadLetter, Lost
from districam_common.contract.media import Fragment, FragmentInfo
from districam_common.contract.segment_array import LOSSY
from districam_common.ledger.causes import LoggedEvent
from districam_common.ledger.cover import Run, RunPiece, run_cover, runs_of, segment_cover, unexplained_overlaps
from districam_common.ledger.intervals import Interval, intersects, merge, merge_arrays
from districam_common.ledger.ledger import State
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import plan_entry
from districam_recorder.core.partition_log import InvalidRecord
from support.world import CAMERA_IDS, CHECKED_UNTIL_US, HORIZON, RecordedPicture, Snapshot, World
from support.world_broker import PARTITIONS, CorruptFragment
from support.world_cameras import GOP_TICKS, TICK_US, WORLD_START_US, FragmentContent, S, contents, tick_us
from support.world_faults import LOSS_BUGS, TICKS_A_SECOND, truncated_tail_s
from support.world_index import TOPIC_PARTITIONS, Index
from support.world_recorder import ROUND_US


def seconds(at_us: int) -> float:
    """Seconds since the start of the world, for messages."""
    return (at_us - WORLD_START_US) / S


# ---- storage


def check_logged_footage_is_stored(world: World) -> None:
    """All logged footage is stored unchanged, and nothing else; except what the log lost first or a simulated bug dropped."""
    for name in CAMERA_IDS:
        logged = {(f.info.epoch, f.info.seq): f.media for f in world.fragments(name)}
        stored: dict[tuple[str, int], bytes] = {}
        for announcement in world.announced_segments(name):
            body = world.bucket[announcement.key].body[announcement.init_bytes :]
            seqs = range(announcement.first_seq, announcement.last_seq + 1)
            assert body == b"".join(logged[announcement.epoch, seq] for seq in seqs), f"{announcement.key}: other bytes"
            stored |= {(announcement.epoch, seq): logged[announcement.epoch, seq] for seq in seqs}
        missing = logged.keys() - stored.keys() - world.unrecoverable() - world.effect_log.lost_by_bug
        assert not missing, f"{name}: in the log and not stored: {sorted(missing)[:3]}"


def check_rejections_are_reported(world: World) -> None:
    letters = [one.value for one in world.broker.log(names.DEADLETTERS, 0)]
    reported = {(one.partition, one.offset) for one in letters if isinstance(one, DeadLetter)}
    for n in range(PARTITIONS):
        log, start_offset = world.broker.log(names.FRAGMENTS, n), world.broker.start_offsets[n]
        corrupt = {
            (n, offset) for offset, one in enumerate(log) if isinstance(one.value, InvalidRecord | CorruptFragment)
        }
        of_partition = {place for place in reported if place[0] == n}
        assert of_partition <= corrupt, "a readable fragment was rejected"
        assert {place for place in corrupt if place[1] >= start_offset} <= of_partition, (
            "a corrupt record is not reported"
        )


def check_index_is_order_independent(world: World) -> None:
    records = [one for place in [*TOPIC_PARTITIONS, (names.CAMERAS, 0)] for one in world.broker.log(*place)]
    ordered, shuffled = Index(), Index()
    ordered.write(records)
    repeated = [*records, *records[::3]]
    Random(world.plan.seed).shuffle(repeated)
    for n in range(0, len(repeated), 20):
        shuffled.write(repeated[n : n + 20])
    assert ordered == shuffled, "the index depends on the order of its records"


def check_listing_matches_announcements(world: World) -> None:
    """A LIST of the bucket gives the same stored time as the announcements, and the same cover."""
    announced_index = Index()
    announced_index.write(one for place in TOPIC_PARTITIONS for one in world.broker.log(*place))
    listed = Index()
    for key, stored in world.bucket.items():
        name = names.parse_segment_object_key(key, len(stored.body))
        listed.apply(to_batch(plan_entry(name.camera_id, name.entry)))
    for name in CAMERA_IDS:
        a, b = announced_index.segments(name), listed.segments(name)
        recorded = merge_arrays(a["start_us"], a["end_us"])
        assert recorded == merge_arrays(b["start_us"], b["end_us"]), f"{name}: a LIST finds other footage"
        for segments in (a, b):
            pieces = [(piece.from_us, piece.to_us) for piece in segment_cover(segments)]
            assert merge(pieces) == recorded, f"{name}: the cover shows other time than is recorded"
            assert sum(y - x for x, y in pieces) == sum(y - x for x, y in recorded), f"{name}: shown twice"


# ---- clips


class Clip:
    """All stored footage of a camera, read as for a clip: by runs of `seq`, from the objects' bytes."""

    def __init__(self, world: World, name: str) -> None:
        announcements = {one.key: one for one in world.announced_segments(name)}.values()
        read = [(one.epoch, content) for one in announcements for content in world.read_object(one)]
        self.contents: dict[tuple[str, int], FragmentContent] = {(e, c.fragment.seq): c for e, c in read}
        self.runs: list[Run] = runs_of((epoch, content.fragment) for epoch, content in read)
        self.pieces: list[RunPiece] = run_cover(self.runs)

    def stored_pictures(self) -> dict[int, list[RecordedPicture]]:
        """Picture number → its places in the stored footage."""
        out: dict[int, list[RecordedPicture]] = {}
        for (epoch, _), content in self.contents.items():
            for picture in content.pictures:
                out.setdefault(picture.number, []).append(RecordedPicture(epoch, picture.start_us))
        return out

    def shown_pictures(self) -> list[tuple[int, str]]:
        """Picture numbers and their epochs in playback order."""
        out: list[tuple[int, str]] = []
        for piece in self.pieces:
            run = self.runs[piece.run]
            for fragment in run.fragments:
                pictures = self.contents[run.epoch, fragment.seq].pictures
                out += [(p.number, run.epoch) for p in pictures if piece.from_us <= p.start_us < piece.to_us]
        return out


def check_clip_shows_each_picture_once(world: World) -> None:
    """A clip shows each picture once, up to the difference of two epochs' clocks where it changes epoch."""
    for name in CAMERA_IDS:
        clip = Clip(world, name)
        stored, shown = clip.stored_pictures(), clip.shown_pictures()
        for number, times in Counter(number for number, _ in shown).items():
            epochs = {epoch for n, epoch in shown if n == number}
            clocks = [recorded.at_us for recorded in stored[number] if recorded.epoch in epochs]
            assert len(epochs) == times, f"{name}: picture {number} is twice in one epoch of a clip"
            assert times == 1 or max(clocks) > min(clocks), f"{name}: picture {number} is in a clip {times} times"
        for epoch, of_epoch in groupby(shown, key=lambda one: one[1]):
            numbers = [number for number, _ in of_epoch]
            assert numbers == sorted(numbers), f"{name}: pictures of {epoch} are out of order"
        _hides_only_what_it_reports(world, name, stored, {number for number, _ in shown})


def _hides_only_what_it_reports(
    world: World, name: str, stored: dict[int, list[RecordedPicture]], shown: set[int]
) -> None:
    events = _events(world, name)
    segments = world.indexer.index.segments(name)
    reported = unexplained_overlaps(segments, events)
    hidden = {number for number in stored.keys() - shown if number < HORIZON - 120}
    unreported = [
        number for number in hidden if not any(intersects(reported, t.at_us, t.at_us + 1) for t in stored[number])
    ]
    consecutive = [number for number in unreported if {number + n for n in range(1, 5)} <= set(unreported)]
    assert not consecutive, f"{name}: pictures from {min(consecutive)} on are stored but hidden, and not reported"


def _events(world: World, name: str) -> list[LoggedEvent]:
    return world.indexer.index.events(name)


def check_stored_pictures_are_decodable(world: World) -> None:
    """Ingest sheds only tails of GOPs: each stored picture has its predecessors back to the keyframe.

    Losses by a bug, the log's retention or the broker's disk are excused; pictures lost in transit were never recorded.
    """
    for name in CAMERA_IDS:
        truth, stored = world.truth[name], Clip(world, name).stored_pictures()
        in_log = _logged(world, name) | {
            one
            for f in [*world.corrupt_fragments(name), *(f for link in world.links for f in link.corrupted_fragments)]
            for one in _pictures(f)
        }
        stored_keys = {(recorded.epoch, number) for number, found in stored.items() for recorded in found}
        recorded = sorted((one.epoch, number) for number, copies in truth.recorded.items() for one in copies)
        for (epoch, number), (later_epoch, later) in pairwise(recorded):
            needs_previous = epoch == later_epoch and not world.devices[name].is_keyframe(later)
            if needs_previous and (epoch, later) in stored_keys and (epoch, number) not in stored_keys | in_log:
                raise AssertionError(f"{name}: picture {later} is stored, and {number}, which it needs, is not")


# ---- the ledger


def check_states_tile_the_window(world: World) -> None:
    for snapshot in world.snapshots:
        for name, states in snapshot.states.items():
            assert states[0].from_us == WORLD_START_US, f"{name}: no state at the window's start"
            assert states[-1].to_us == tick_us(snapshot.tick + 1), f"{name}: no state at the window's end"
            for a, b in pairwise(states):
                assert a.to_us == b.from_us, f"{name}: states do not tile at {seconds(a.to_us)} s"
                assert (a.state, a.cause, a.detail) != (b.state, b.cause, b.detail), (
                    f"{name}: equal neighbouring states"
                )


def _state(states: Sequence[State], at_us: int) -> State:
    return next(state for state in states if state.from_us <= at_us < state.to_us)


def check_stored_is_recorded(world: World) -> None:
    """Footage that reached the log long ago is `recorded`, now that all faults are over."""
    for name in CAMERA_IDS:
        states = world.snapshots[-1].states[name]
        lost = world.unrecoverable() | world.effect_log.lost_by_bug
        for fragment in world.fragments(name):
            info = fragment.info
            if (info.epoch, info.seq) in lost or not WORLD_START_US <= info.start_us <= info.end_us < CHECKED_UNTIL_US:
                continue
            found = _state(states, info.start_us)
            assert found.state == "recorded", (
                f"{name}: {found.state} {found.cause} at {seconds(info.start_us)} s, and the log had it"
            )


def check_one_epoch_per_camera(world: World) -> None:
    """Each camera is recorded in a single epoch from its first picture on."""
    for name in CAMERA_IDS:
        epochs = {epoch for found in Clip(world, name).stored_pictures().values() for epoch in {t.epoch for t in found}}
        assert len(epochs) == 1, f"{name}: {len(epochs)} epochs"
        states = world.snapshots[-1].states[name]
        first = next(n for n, state in enumerate(states) if state.state == "recorded")
        missing = [state for state in states[first:] if state.state == "gap" and state.from_us < CHECKED_UNTIL_US]
        assert not missing, f"{name}: a gap at {seconds(missing[0].from_us)} s"


def check_picture_times(world: World) -> None:
    """Stored pictures have their true times, to within two seconds of host clock error; not checked if a clock jumped."""
    for name in CAMERA_IDS * (not world.plan.has("stepped")):
        for number, found in Clip(world, name).stored_pictures().items():
            for recorded in found:
                assert abs(recorded.at_us - tick_us(number)) <= 2 * S, (
                    f"{name}: picture {number} of {seconds(tick_us(number))} s is stored at {seconds(recorded.at_us)} s"
                )


def check_every_picture_is_accounted_for(world: World) -> None:
    """A picture that was sent but not stored lies in a reported gap or in a fragment marked lossy; else it is a bug's loss."""
    for name in CAMERA_IDS:
        truth, states = world.truth[name], world.snapshots[-1].states[name]
        stored, lossy = Clip(world, name).stored_pictures(), _lossy_intervals(world, name)
        in_log = _logged(world, name)
        for number in sorted(truth.sent - stored.keys()):
            copies = truth.recorded.get(number) or [RecordedPicture("", tick_us(number))]
            for recorded in copies:
                if not WORLD_START_US + S <= recorded.at_us < CHECKED_UNTIL_US or tick_us(number) >= CHECKED_UNTIL_US:
                    continue
                states_near = [
                    _state(states, t) for t in (recorded.at_us, recorded.at_us - TICK_US, recorded.at_us + TICK_US)
                ]
                is_reported_gap = any(
                    s.state == "gap" and s.cause not in ("pipeline_loss", "unknown") for s in states_near
                )
                is_lossy = intersects(lossy, recorded.at_us - TICK_US, recorded.at_us + TICK_US)
                is_not_expected = any(s.state == "not_expected" for s in states_near)
                is_bug_loss = (recorded.epoch, number) in in_log or (
                    world.plan.has(*LOSS_BUGS) and any(s.cause == "pipeline_loss" for s in states_near)
                )
                assert is_reported_gap or is_lossy or is_not_expected or is_bug_loss or _covered(world, states_near), (
                    f"{name}: picture {number} was sent at {seconds(recorded.at_us)} s and is unaccounted for: {states_near[0]}"
                )


def _covered(world: World, states_near: Iterable[State]) -> bool:
    """True if another epoch's clock is wrong, so that its footage covers the place of this picture."""
    return world.plan.has("skewed", "stepped") and any(state.state == "recorded" for state in states_near)


def _lossy_intervals(world: World, name: str) -> list[Interval]:
    segments = world.indexer.index.segments(name)
    marked = segments[segments["flags"] & LOSSY > 0]
    return merge_arrays(marked["start_us"], marked["end_us"])


def _logged(world: World, name: str) -> set[tuple[str, int]]:
    """(epoch, number) of all pictures that reached the log and were readable, or whose loss there cannot be told from ours.

    The range of an unreadable record does not reach back to what is delivered late: an ingest that was killed and one
    that was cut off look the same, and minutes of the dead one would read `storage_down`.
    """
    is_tail_lost = world.plan.has("tail_lost")
    corrupt = world.corrupt_fragments(name) if is_tail_lost else world.late_corrupt_fragments(name)
    return {one for fragment in [*world.fragments(name), *corrupt] for one in _pictures(fragment)}


def _pictures(fragment: Fragment) -> set[tuple[str, int]]:
    """(epoch, number) of a fragment's pictures."""
    numbers = {picture.number for content in contents(fragment.media) for picture in content.pictures}
    return {(fragment.info.epoch, number) for number in numbers}


def check_not_expected_only_while_disabled(world: World) -> None:
    """Time is `not_expected` only while the logged record is disabled, and up to half a minute after it is enabled."""
    for name in CAMERA_IDS:
        reasons = world.truth[name].reasons
        for state in world.snapshots[-1].states[name]:
            if state.state != "not_expected":
                continue
            first, last = _ticks(state)
            for tick in range(max(first, EXPECTED_AFTER_TICKS), last):
                is_enabled = all("disabled" not in reasons[t] for t in range(tick - EXPECTED_AFTER_TICKS, tick + 1))
                assert not is_enabled, f"{name} at {tick / 2} s: not expected, although its record is enabled"


EXPECTED_AFTER_TICKS = 60
"""A camera is expected at the latest this long after it was enabled."""


def check_bug_losses_are_reported(world: World) -> None:
    """Losses by a bug are reported if provable: a later seq of the epoch is stored, or `lost` reports its end."""
    for name in CAMERA_IDS:
        states, index = world.snapshots[-1].states[name], world.indexer.index
        stored = {(s.epoch, seq) for s in world.announced_segments(name) for seq in range(s.first_seq, s.last_seq + 1)}
        proved = dict[str, int]()
        for logged_event in index.events(name):
            if isinstance(logged_event.event, Lost):
                proved[logged_event.event.epoch] = logged_event.event.last_seq
        for epoch, seq in stored:
            proved[epoch] = max(seq, proved.get(epoch, -1))
        truncations = merge((f.from_us, f.to_us) for f in index.log_truncations(names.partition_of(name, PARTITIONS)))
        corrupted = [f for link in world.links for f in link.corrupted_fragments if f.info.camera_id == name]
        for info in (f.info for f in [*world.fragments(name), *corrupted]):
            if (info.epoch, info.seq) in stored | world.unrecoverable() or info.seq > proved.get(info.epoch, -1):
                continue
            if info.start_us >= WORLD_START_US and info.end_us < CHECKED_UNTIL_US:
                found = _state(states, info.start_us)
                allowed = ["pipeline_loss", *["storage_down"] * intersects(truncations, *_span(info))]
                assert found.state in ("recorded", "not_expected") or found.cause in allowed, (
                    f"{name}: {found.state} {found.cause} at {seconds(info.start_us)} s: a bug lost it"
                )


def _span(info: FragmentInfo) -> Interval:
    return info.start_us, info.end_us


ALLOWED_CAUSES: dict[str, set[str]] = {
    "camera": {"camera_unreachable", "source_silent"},
    "clock": {"clock_step"},
    "dead": {"service_down"},
    "disabled": {"stream_changed"},
    "head_lost": {"storage_down"},
    "handover": {"handover", "service_down"},
    "lossy": {"source_silent", "stream_error"},
    "oversize": {"stream_error"},
    "lost": {"pipeline_loss", "service_down"},  # not provable at the end of an epoch whose ingest was killed
    "record": {"stream_changed"},
    "service": {"service_down"},
    "corrupt": {"storage_down"},
    "corrupt_when_late": {"storage_down", "pipeline_loss", "service_down"},
    "shed": {"shed_backpressure"},
    "tail_lost_after_read": {"storage_down"},
    "tail_loss_at_tick": {"storage_down"},
    "tail_lost": {"storage_down", "pipeline_loss", "service_down"},  # before a recorder had read it
}
OUTAGE_TICKS_BEFORE, OUTAGE_TICKS_AFTER, OUTAGE_MARGIN_TICKS = 90, 40, 5
SHED_TICKS_BEFORE, SHED_TICKS_AFTER = GOP_TICKS + 4, 8
"""The rest of a GOP is shed too, and a fragment is complete only when the next one starts."""


def check_gap_causes(world: World) -> None:
    """A gap's cause was active in the gap's outage; see `ALLOWED_CAUSES`.

    An outage is a run of pictures that are not stored, and 2.5 s on either side. A `lost` is valid half a minute beyond
    its announced retry, and a dying ingest cannot report causes: so those of 45 s before and 20 s after count too.
    """
    for name in CAMERA_IDS:
        reasons = _reasons(world, name)
        for state in world.snapshots[-1].states[name]:
            if state.state != "gap":
                continue
            first, last = _ticks(state)
            for tick in range(first, last):
                nearby = _outage_reasons(reasons, tick)
                allowed = set[str]().union(*(ALLOWED_CAUSES[reason] for reason in nearby))
                is_excused = world.plan.has("stepped") and state.cause != "pipeline_loss"
                is_excused |= state.cause == "service_down" and (
                    _is_event_order_unknown(world, name) or _is_change_misdated(world, name, tick)
                )
                is_excused |= state.cause == "storage_down" and _may_be_lost_by_log(world, name, tick)
                assert state.cause in allowed or is_excused, (
                    f"{name} at {tick / 2} s: {state.cause}, but the true reasons are {sorted(nearby) or 'nothing'}"
                )


def _is_event_order_unknown(world: World, name: str) -> bool:
    """True if the clock of the leader of the camera's events was wrong for a while.

    What it appends then seems to precede or follow other events: the index has append times, not offsets. Then
    `service_down`, which blames us, may stand for any cause.
    """
    leader = world.broker.leader(names.STREAMS, names.partition_of(name, PARTITIONS))
    return any(fault.kind == "broker_clock_wrong" and fault.target == leader for fault in world.plan.faults)


def _is_change_misdated(world: World, name: str, tick: int) -> bool:
    """True between the time of a change of the camera's record and its append time by a broker whose clock was wrong.

    A change is effective by its append time: a camera that was disabled is expected until then.
    """
    return any(
        min(one.append_us, one.appended_us) <= tick_us(tick) < max(one.append_us, one.appended_us)
        for one in world.broker.log(names.CAMERAS, 0)
        if isinstance(one.value, Camera) and one.value.camera_id == name
    )


TICKS_BEFORE_LOSS = 20 * TICKS_A_SECOND
"""Marks of read records are up to 15 s apart, an epoch is live for 15 s, and a fragment is appended up to 5 s late."""


def _may_be_lost_by_log(world: World, name: str, tick: int) -> bool:
    """True if nothing tells whether footage of that tick was lost by the log, or never reached it.

    A lost tail began some time after a mark that survived, an unreadable record may have been of any live epoch, and
    both end at the latest when the recorder finds the end of the log again.
    """
    partition, spans = names.partition_of(name, PARTITIONS), list[tuple[int, int]]()
    for fault in world.plan.faults:
        if fault.target == partition and fault.kind == "tail_lost" and world.broker.truncated_tails[partition]:
            spans.append((fault.at_s - truncated_tail_s(fault), fault.at_s + fault.for_s))
        if fault.target == partition and fault.kind == "corrupt" and world.corrupt_fragments(name):
            spans.append((fault.at_s, fault.at_s + fault.for_s))
    return any(
        from_s * TICKS_A_SECOND - TICKS_BEFORE_LOSS <= tick < to_s * TICKS_A_SECOND + ROUND_US // TICK_US
        for from_s, to_s in spans
    )


def _ticks(state: State) -> tuple[int, int]:
    """First and end tick of a state, limited to the checked time."""
    to_us = min(state.to_us, CHECKED_UNTIL_US)
    return (state.from_us - WORLD_START_US) // TICK_US, -((WORLD_START_US - to_us) // TICK_US)


def _outage_reasons(reasons: Sequence[set[str]], tick: int) -> set[str]:
    first = last = tick
    while first > max(0, tick - OUTAGE_TICKS_BEFORE) and reasons[first - 1]:
        first -= 1
    while last < min(len(reasons) - 1, tick + OUTAGE_TICKS_AFTER) and reasons[last + 1]:
        last += 1
    return set[str]().union(*reasons[max(0, first - OUTAGE_MARGIN_TICKS) : last + OUTAGE_MARGIN_TICKS + 1])


def _reasons(world: World, name: str) -> list[set[str]]:
    """Per tick the reasons why its picture is not stored; empty if it is."""
    truth, stored = world.truth[name], Clip(world, name).stored_pictures()
    offered = {one for link in world.links for f in link.queued_fragments for one in _pictures(f)}
    corrupted = {one for link in world.links for f in link.corrupted_fragments for one in _pictures(f)}
    logged, gone = _logged(world, name), world.unrecoverable()
    expired_from_log = {
        one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in gone for one in _pictures(f)
    }
    lost = world.lost_with_log_tail()
    truncated = {one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in lost for one in _pictures(f)}
    known = lost & world.effect_log.lost_after_read
    missed = {one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in known for one in _pictures(f)}
    corrupt = {one for f in world.corrupt_fragments(name) for one in _pictures(f)}
    corrupt_when_late = {one for f in world.late_corrupt_fragments(name) for one in _pictures(f)}

    def fate_of(one: tuple[str, int]) -> str:
        if one in truncated:
            return "tail_lost_after_read" if one in missed else "tail_lost"
        if one in expired_from_log:
            return "head_lost"
        if one in corrupt:
            fate = "corrupt_when_late" if one in corrupt_when_late else "corrupt"
            return "tail_lost" if world.plan.has("tail_lost") else fate
        if one in logged or one in corrupted:
            return "lost"
        ahead = HORIZON if world.plan.has("stalled") else SHED_TICKS_AFTER  # pictures held then are sent late
        nearby = range(one[1] - SHED_TICKS_BEFORE, one[1] + ahead)
        return "shed" if one not in offered and any("shed" in truth.reasons[t] for t in nearby) else "dead"

    out: list[set[str]] = []
    for tick in range(HORIZON):
        if tick in stored:
            out.append(set())
            continue
        outcomes = {fate_of((recorded.epoch, tick)) for recorded in truth.recorded.get(tick, ())}
        out.append(outcomes | truth.reasons[tick])
    return out


# ---- finality

Change = Callable[[State, State], bool]


def check_final_states(world: World, is_allowed: Change) -> None:
    """From each snapshot to the next, states that were not pending stay the same, unless `is_allowed` permits the change."""
    for before, after in zip(world.snapshots, world.snapshots[1:], strict=False):
        for name in CAMERA_IDS:
            for was, now, at_us in _changes(before, after, name):
                is_permitted = after.revisions > before.revisions or _may_change(world, name, at_us, now)
                is_new = was.state == "not_expected" and is_permitted
                assert is_new or is_allowed(was, now), (
                    f"{name} at {seconds(at_us)} s: {was.state} {was.cause} became {now.state} {now.cause} "
                    f"between {before.tick / 2} and {after.tick / 2} s"
                )


def _changes(before: Snapshot, after: Snapshot, name: str) -> Iterable[tuple[State, State, int]]:
    later = iter(after.states[name])
    now = next(later)
    for was in before.states[name]:
        from_us = was.from_us
        while from_us < was.to_us:
            while now.to_us <= from_us:
                now = next(later)
            to_us = min(was.to_us, now.to_us)
            is_same = (was.state, was.cause) == (now.state, now.cause)
            if was.state != "pending" and not is_same and to_us - from_us > FRAME_US:
                yield was, now, from_us
            from_us = to_us


FRAME_US = TICK_US
"""Edges may differ by a frame."""


def _may_change(world: World, name: str, at_us: int, now: State) -> bool:
    """True if `not_expected` may change: an ingest that does not know the record yet may still deliver footage, and the
    first event of a new or newly enabled camera determines from when on it is expected.
    """
    if now.state == "recorded":
        return True
    since = [one.effective_from_us for one in world.indexer.index.revisions(name) if one.camera.enabled]
    return any(from_us <= at_us < from_us + 30 * S for from_us in since)


def allow_no_change(_was: State, _now: State) -> bool:
    return False


def allow_inferred_service_down(was: State, now: State) -> bool:
    """Silence inferred as `service_down` may later get another cause, or be filled by late footage."""
    return was.cause == "service_down" and now.state in ("recorded", "gap", "pending")


def allow_all_but_pipeline_loss(was: State, _now: State) -> bool:
    return was.cause != "pipeline_loss"
