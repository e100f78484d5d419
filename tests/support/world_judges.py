"""What must hold of a world when it is over. Each judge raises AssertionError with what was seen, and where."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from random import Random

from districam_common.contract import names
from districam_common.contract.events import DeadLetter, Lost
from districam_common.contract.index import LOSSY
from districam_common.contract.media import Fragment, FragmentInfo
from districam_common.ledger.causes import Told
from districam_common.ledger.cover import Run, RunPiece, overlaps, run_cover, runs_of, segment_cover
from districam_common.ledger.intervals import Interval, merge, merge_arrays, touches
from districam_common.ledger.ledger import State
from districam_indexer.core.operations import gathered
from districam_indexer.core.plan import plan_entry
from districam_recorder.core.partition_log import Unreadable
from support.world import CAMERAS, HORIZON, JUDGED_US, Look, Taken, World
from support.world_broker import PARTITIONS, Rotten
from support.world_cameras import BEGUN_US, GOP_TICKS, TICK_US, Content, S, at, contents
from support.world_faults import OF_LOSS
from support.world_index import PLACES, Index


def seconds(at_us: int) -> float:
    """For messages: time since the world began."""
    return (at_us - BEGUN_US) / S


# ---- storage


def stores_what_the_log_held(world: World) -> None:
    """All of it, unchanged, and nothing else; but for what fell off the log and what the bug swallowed."""
    for name in CAMERAS:
        logged = {(f.info.epoch, f.info.seq): f.media for f in world.fragments(name)}
        stored: dict[tuple[str, int], bytes] = {}
        for told in world.announced(name):
            body = world.bucket[told.key].body[told.init_bytes :]
            seqs = range(told.first_seq, told.last_seq + 1)
            assert body == b"".join(logged[told.epoch, seq] for seq in seqs), f"{told.key}: other bytes"
            stored |= {(told.epoch, seq): logged[told.epoch, seq] for seq in seqs}
        missing = logged.keys() - stored.keys() - world.gone() - world.witness.swallowed
        assert not missing, f"{name}: in the log and not stored: {sorted(missing)[:3]}"


def tells_what_it_rejects(world: World) -> None:
    letters = [one.value for one in world.broker.log(names.DEADLETTERS, 0)]
    told = {(one.partition, one.offset) for one in letters if isinstance(one, DeadLetter)}
    for n in range(PARTITIONS):
        log, beginning = world.broker.log(names.FRAGMENTS, n), world.broker.beginnings[n]
        spoilt = {(n, offset) for offset, one in enumerate(log) if isinstance(one.value, Unreadable | Rotten)}
        of_this = {place for place in told if place[0] == n}
        assert of_this <= spoilt, "a readable fragment was rejected"
        assert {place for place in spoilt if place[1] >= beginning} <= of_this, "a spoilt record is not told"


def indexes_alike_in_any_order(world: World) -> None:
    records = [one for place in [*PLACES, (names.CAMERAS, 0)] for one in world.broker.log(*place)]
    straight, shuffled = Index(), Index()
    straight.write(records)
    again = [*records, *records[::3]]
    Random(world.fate.dice).shuffle(again)
    for n in range(0, len(again), 20):
        shuffled.write(again[n : n + 20])
    assert straight == shuffled, "the index depends on the order of what it is told"


def lists_what_it_announced(world: World) -> None:
    """A LIST gives the same time as stored, and the same cover."""
    told = Index()
    told.write(one for place in PLACES for one in world.broker.log(*place))
    listed = Index()
    for key, stored in world.bucket.items():
        name = names.parse_segment_key(key, len(stored.body))
        listed.apply(gathered(plan_entry(name.camera_id, name.entry)))
    for name in CAMERAS:
        a, b = told.segments(name), listed.segments(name)
        recorded = merge_arrays(a["start_us"], a["end_us"])
        assert recorded == merge_arrays(b["start_us"], b["end_us"]), f"{name}: a LIST finds other footage"
        for segments in (a, b):
            pieces = [(piece.from_us, piece.to_us) for piece in segment_cover(segments)]
            assert merge(pieces) == recorded, f"{name}: the cover shows other time than is recorded"
            assert sum(y - x for x, y in pieces) == sum(y - x for x, y in recorded), f"{name}: shown twice"


# ---- clips


class Clip:
    """All that is stored of a camera, read as a clip is: by runs of `seq`, from the objects' bytes."""

    def __init__(self, world: World, name: str) -> None:
        told = {one.key: one for one in world.announced(name)}.values()
        read = [(one.epoch, content) for one in told for content in world.stored(one)]
        self.contents: dict[tuple[str, int], Content] = {(e, c.fragment.seq): c for e, c in read}
        self.runs: list[Run] = runs_of((epoch, content.fragment) for epoch, content in read)
        self.pieces: list[RunPiece] = run_cover(self.runs)

    def stored(self) -> dict[int, list[Taken]]:
        """Running number → where it stands."""
        out: dict[int, list[Taken]] = {}
        for (epoch, _), content in self.contents.items():
            for picture in content.pictures:
                out.setdefault(picture.number, []).append(Taken(epoch, picture.start_us))
        return out

    def shown(self) -> list[tuple[int, str]]:
        """Running numbers and their epochs, in the order in which a viewer sees them."""
        out: list[tuple[int, str]] = []
        for piece in self.pieces:
            run = self.runs[piece.run]
            for fragment in run.fragments:
                pictures = self.contents[run.epoch, fragment.seq].pictures
                out += [(p.number, run.epoch) for p in pictures if piece.from_us <= p.start_us < piece.to_us]
        return out


def shows_each_picture_once(world: World) -> None:
    """But for the difference of two epochs' clocks where the clip passes from one to the other."""
    for name in CAMERAS:
        clip = Clip(world, name)
        stored, shown = clip.stored(), clip.shown()
        for number, times in Counter(number for number, _ in shown).items():
            epochs = {epoch for n, epoch in shown if n == number}
            clocks = [taken.at_us for taken in stored[number] if taken.epoch in epochs]
            assert len(epochs) == times, f"{name}: picture {number} is twice in one epoch of a clip"
            assert times == 1 or max(clocks) > min(clocks), (
                f"{name}: picture {number} is in a clip {times} times"
            )
        for epoch, of_epoch in groupby(shown, key=lambda one: one[1]):
            numbers = [number for number, _ in of_epoch]
            assert numbers == sorted(numbers), f"{name}: pictures of {epoch} are out of order"
        _hides_only_what_it_reports(world, name, stored, {number for number, _ in shown})


def _hides_only_what_it_reports(
    world: World, name: str, stored: dict[int, list[Taken]], shown: set[int]
) -> None:
    told = _told(world, name)
    segments = world.indexer.index.segments(name)
    reported = overlaps(segments, told)
    hidden = {number for number in stored.keys() - shown if number < HORIZON - 120}
    silent = [
        number
        for number in hidden
        if not any(touches(reported, t.at_us, t.at_us + 1) for t in stored[number])
    ]
    in_a_row = [number for number in silent if {number + n for n in range(1, 5)} <= set(silent)]
    assert not in_a_row, f"{name}: pictures from {min(in_a_row)} on are stored, hidden, and nobody says so"


def _told(world: World, name: str) -> list[Told]:
    return world.indexer.index.told(name)


def stores_what_can_be_shown(world: World) -> None:
    """Of a GOP what ingest drops is the rest: a decoder needs the picture before, back to the keyframe.

    What a bug, the log's retention or the broker's disk took is excused, and what was lost on the way was never taken.
    """
    for name in CAMERAS:
        truth, stored = world.truth[name], Clip(world, name).stored()
        in_log = _logged(world, name) | {
            one
            for f in [*world.rotten(name), *(f for way in world.ways for f in way.spoilt)]
            for one in _pictures(f)
        }
        have = {(taken.epoch, number) for number, found in stored.items() for taken in found}
        taken = sorted((one.epoch, number) for number, takes in truth.taken.items() for one in takes)
        for (epoch, number), (later_epoch, later) in pairwise(taken):
            needs = epoch == later_epoch and not world.devices[name].is_keyframe(later)
            if needs and (epoch, later) in have and (epoch, number) not in have | in_log:
                raise AssertionError(
                    f"{name}: picture {later} is stored, and {number}, which it needs, is not"
                )


# ---- the ledger


def tiles(world: World) -> None:
    for look in world.looks:
        for name, states in look.states.items():
            assert states[0].from_us == BEGUN_US, f"{name}: the window's start is not told"
            assert states[-1].to_us == at(look.tick + 1), f"{name}: the window's end is not told"
            for a, b in pairwise(states):
                assert a.to_us == b.from_us, f"{name}: states do not tile at {seconds(a.to_us)} s"
                assert (a.state, a.cause, a.detail) != (b.state, b.cause, b.detail), f"{name}: twice the same"


def _state(states: Sequence[State], at_us: int) -> State:
    return next(state for state in states if state.from_us <= at_us < state.to_us)


def records_what_is_stored(world: World) -> None:
    """What had reached the log long ago stands as recorded, now that all faults are over."""
    for name in CAMERAS:
        states = world.looks[-1].states[name]
        lost = world.gone() | world.witness.swallowed
        for fragment in world.fragments(name):
            info = fragment.info
            if (info.epoch, info.seq) in lost or not BEGUN_US <= info.start_us <= info.end_us < JUDGED_US:
                continue
            found = _state(states, info.start_us)
            assert found.state == "recorded", (
                f"{name}: {found.state} {found.cause} at {seconds(info.start_us)} s, and the log had it"
            )


def interrupts_nothing(world: World) -> None:
    """Each camera is recorded in one epoch from its first picture on."""
    for name in CAMERAS:
        epochs = {
            epoch for found in Clip(world, name).stored().values() for epoch in {t.epoch for t in found}
        }
        assert len(epochs) == 1, f"{name}: {len(epochs)} epochs"
        states = world.looks[-1].states[name]
        first = next(n for n, state in enumerate(states) if state.state == "recorded")
        missing = [state for state in states[first:] if state.state == "gap" and state.from_us < JUDGED_US]
        assert not missing, f"{name}: a gap at {seconds(missing[0].from_us)} s"


def places_pictures_at_their_time(world: World) -> None:
    """But for the error of a host's clock, two seconds at most where it did not jump."""
    for name in CAMERAS * (not world.fate.has("stepped")):
        for number, found in Clip(world, name).stored().items():
            for taken in found:
                assert abs(taken.at_us - at(number)) <= 2 * S, (
                    f"{name}: picture {number} of {seconds(at(number))} s stands at {seconds(taken.at_us)} s"
                )


def accounts_for_every_picture(world: World) -> None:
    """Sent and not stored: then it lies in a reported gap, or in a fragment marked lossy. Only a bug is a loss."""
    for name in CAMERAS:
        truth, states = world.truth[name], world.looks[-1].states[name]
        stored, lossy = Clip(world, name).stored(), _lossy(world, name)
        in_log = _logged(world, name)
        for number in sorted(truth.sent - stored.keys()):
            takes = truth.taken.get(number) or [Taken("", at(number))]
            for taken in takes:
                if not BEGUN_US + S <= taken.at_us < JUDGED_US or at(number) >= JUDGED_US:
                    continue
                where = [
                    _state(states, t) for t in (taken.at_us, taken.at_us - TICK_US, taken.at_us + TICK_US)
                ]
                is_told = any(s.state == "gap" and s.cause not in ("pipeline_loss", "unknown") for s in where)
                is_lossy = touches(lossy, taken.at_us - TICK_US, taken.at_us + TICK_US)
                is_off = any(s.state == "not_expected" for s in where)
                is_bug = (taken.epoch, number) in in_log or (
                    world.fate.has(*OF_LOSS) and any(s.cause == "pipeline_loss" for s in where)
                )
                assert is_told or is_lossy or is_off or is_bug or _covered(world, where), (
                    f"{name}: picture {number} was sent at {seconds(taken.at_us)} s and is nowhere: {where[0]}"
                )


def _covered(world: World, where: Iterable[State]) -> bool:
    """Another epoch's clock is off, so that its footage stands where this picture would."""
    return world.fate.has("skewed", "stepped") and any(state.state == "recorded" for state in where)


def _lossy(world: World, name: str) -> list[Interval]:
    segments = world.indexer.index.segments(name)
    marked = segments[segments["flags"] & LOSSY > 0]
    return merge_arrays(marked["start_us"], marked["end_us"])


def _logged(world: World, name: str) -> set[tuple[str, int]]:
    """(epoch, running number) of all pictures that reached the log, and could be read unless a tear took them first."""
    rotten = world.rotten(name) if world.fate.has("torn") else []
    return {one for fragment in [*world.fragments(name), *rotten] for one in _pictures(fragment)}


def _pictures(fragment: Fragment) -> set[tuple[str, int]]:
    """(epoch, running number) of a fragment's pictures."""
    numbers = {picture.number for content in contents(fragment.media) for picture in content.pictures}
    return {(fragment.info.epoch, number) for number in numbers}


def excuses_only_what_nobody_wanted(world: World) -> None:
    """No time is `not_expected` but while the record in the log says so, and half a minute after it says otherwise."""
    for name in CAMERAS:
        reasons = world.truth[name].reasons
        for state in world.looks[-1].states[name]:
            if state.state != "not_expected":
                continue
            first, last = _ticks(state)
            for tick in range(max(first, WORD_TICKS), last):
                wanted = all("disabled" not in reasons[t] for t in range(tick - WORD_TICKS, tick + 1))
                assert not wanted, f"{name} at {tick / 2} s: not expected, and its record wants it"


WORD_TICKS = 60
"""A camera is expected at the latest so long after it was enabled."""


def tells_what_a_bug_lost(world: World) -> None:
    """Where anything can prove it: a later seq of the epoch is stored, or its end is told."""
    for name in CAMERAS:
        states, index = world.looks[-1].states[name], world.indexer.index
        stored = {(s.epoch, seq) for s in world.announced(name) for seq in range(s.first_seq, s.last_seq + 1)}
        proved = dict[str, int]()
        for told in index.told(name):
            if isinstance(told.event, Lost):
                proved[told.event.epoch] = told.event.last_seq
        for epoch, seq in stored:
            proved[epoch] = max(seq, proved.get(epoch, -1))
        fell = merge((f.from_us, f.to_us) for f in index.fell(names.partition_of(name, PARTITIONS)))
        spoilt = [f for way in world.ways for f in way.spoilt if f.info.camera_id == name]
        for info in (f.info for f in [*world.fragments(name), *spoilt]):
            if (info.epoch, info.seq) in stored | world.gone() or info.seq > proved.get(info.epoch, -1):
                continue
            if info.start_us >= BEGUN_US and info.end_us < JUDGED_US:
                found = _state(states, info.start_us)
                right = ["pipeline_loss", *["storage_down"] * touches(fell, *_span(info))]
                assert found.state in ("recorded", "not_expected") or found.cause in right, (
                    f"{name}: {found.state} {found.cause} at {seconds(info.start_us)} s: a bug lost it"
                )


def _span(info: FragmentInfo) -> Interval:
    return info.start_us, info.end_us


RIGHT: dict[str, set[str]] = {
    "camera": {"camera_unreachable", "source_silent"},
    "clock": {"clock_step"},
    "dead": {"service_down"},
    "disabled": {"stream_changed"},
    "fell": {"storage_down"},
    "handover": {"handover", "service_down"},
    "lossy": {"source_silent", "stream_error"},
    "oversize": {"stream_error"},
    "lost": {"pipeline_loss", "service_down"},  # unproven at the end of an epoch whose ingest was killed
    "record": {"stream_changed"},
    "service": {"service_down"},
    "rotten": {"storage_down"},
    "shed": {"shed_backpressure"},
    "missed": {"storage_down"},
    "tear": {"storage_down"},
    "torn": {"storage_down", "pipeline_loss", "service_down"},  # before anybody had read it
}
BACK_TICKS, AHEAD_TICKS, NEAR_TICKS = 90, 40, 5
SHED_BACK_TICKS, SHED_AHEAD_TICKS = GOP_TICKS + 4, 8
"""The rest of a GOP is shed with what found no room, and a fragment is offered when the next one begins."""


def blames_the_true_cause(world: World) -> None:
    """A gap's cause is one that was at work in the outage it lies in; see `RIGHT`.

    An outage is a row of pictures that are not stored, and 2.5 s on either side. A `lost` outlasts its announced retry
    by half a minute, and an ingest that dies cannot tell what it knew: so causes of 45 s before and 20 s after count.
    """
    for name in CAMERAS:
        reasons = _reasons(world, name)
        for state in world.looks[-1].states[name]:
            if state.state != "gap":
                continue
            first, last = _ticks(state)
            for tick in range(first, last):
                near = _of_outage(reasons, tick)
                right = set[str]().union(*(RIGHT[reason] for reason in near))
                is_excused = world.fate.has("stepped") and state.cause != "pipeline_loss"
                assert state.cause in right or is_excused, (
                    f"{name} at {tick / 2} s: {state.cause}, and in truth {sorted(near) or 'nothing'}"
                )


def _ticks(state: State) -> tuple[int, int]:
    """Ticks of a state, that of its first instant included, as far as worlds are judged."""
    to_us = min(state.to_us, JUDGED_US)
    return (state.from_us - BEGUN_US) // TICK_US, -((BEGUN_US - to_us) // TICK_US)


def _of_outage(reasons: Sequence[set[str]], tick: int) -> set[str]:
    first = last = tick
    while first > max(0, tick - BACK_TICKS) and reasons[first - 1]:
        first -= 1
    while last < min(len(reasons) - 1, tick + AHEAD_TICKS) and reasons[last + 1]:
        last += 1
    return set[str]().union(*reasons[max(0, first - NEAR_TICKS) : last + NEAR_TICKS + 1])


def _reasons(world: World, name: str) -> list[set[str]]:
    """Tick by tick why its picture is not stored; empty where it is."""
    truth, stored = world.truth[name], Clip(world, name).stored()
    offered = {one for way in world.ways for f in way.offered for one in _pictures(f)}
    spoilt = {one for way in world.ways for f in way.spoilt for one in _pictures(f)}
    logged, gone = _logged(world, name), world.gone()
    fell = {one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in gone for one in _pictures(f)}
    lost = world.torn()
    torn = {one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in lost for one in _pictures(f)}
    known = lost & world.witness.missed
    missed = {
        one for f in world.fragments(name) if (f.info.epoch, f.info.seq) in known for one in _pictures(f)
    }
    rotten = {one for f in world.rotten(name) for one in _pictures(f)}

    def fate_of(one: tuple[str, int]) -> str:
        if one in torn:
            return "missed" if one in missed else "torn"
        if one in fell:
            return "fell"
        if one in rotten:
            return "torn" if world.fate.has("torn") else "rotten"
        if one in logged or one in spoilt:
            return "lost"
        ahead = (
            HORIZON if world.fate.has("stalled") else SHED_AHEAD_TICKS
        )  # what was held then is offered late
        near = range(one[1] - SHED_BACK_TICKS, one[1] + ahead)
        return "shed" if one not in offered and any("shed" in truth.reasons[t] for t in near) else "dead"

    out: list[set[str]] = []
    for tick in range(HORIZON):
        if tick in stored:
            out.append(set())
            continue
        fates = {fate_of((taken.epoch, tick)) for taken in truth.taken.get(tick, ())}
        out.append(fates | truth.reasons[tick])
    return out


# ---- finality

Change = Callable[[State, State], bool]


def changes_only(world: World, allows: Change) -> None:
    """From each look to the next: what was not pending stays as it was, unless `allows` it."""
    for before, after in zip(world.looks, world.looks[1:], strict=False):
        for name in CAMERAS:
            for was, now, at_us in _changes(before, after, name):
                is_news = after.revisions > before.revisions or _may_turn(world, name, at_us, now)
                is_new = was.state == "not_expected" and is_news
                assert is_new or allows(was, now), (
                    f"{name} at {seconds(at_us)} s: {was.state} {was.cause} became {now.state} {now.cause} "
                    f"between {before.tick / 2} and {after.tick / 2} s"
                )


def _changes(before: Look, after: Look, name: str) -> Iterable[tuple[State, State, int]]:
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
"""An edge may be off by a frame."""


def _may_turn(world: World, name: str, at_us: int, now: State) -> bool:
    """What was not expected may come all the same, from an ingest that had not heard of it yet. And the first event of a
    camera that is new or newly enabled says from when on it is expected.
    """
    if now.state == "recorded":
        return True
    since = [one.holds_from_us for one in world.indexer.index.revisions(name) if one.camera.enabled]
    return any(from_us <= at_us < from_us + 30 * S for from_us in since)


def nothing(_was: State, _now: State) -> bool:
    return False


def an_inferred_silence(was: State, now: State) -> bool:
    """Silence read as `service_down` may later be told apart, or filled by footage that comes late."""
    return was.cause == "service_down" and now.state in ("recorded", "gap", "pending")


def no_loss(was: State, _now: State) -> bool:
    return was.cause != "pipeline_loss"
