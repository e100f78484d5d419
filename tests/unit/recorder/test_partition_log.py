"""Properties of a partition's log under random crashes: nothing is lost, nothing is committed too early."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from districam_common.contract.media import EndKind, Fragment
from districam_common.kafka.marks import Mark
from districam_recorder.core import limits
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.checkpoint import Checkpoint, decode_checkpoint
from districam_recorder.core.effects import Effect, Rejection, Truncation
from districam_recorder.core.objects import build_object
from districam_recorder.core.partition_log import (
    MAX_FRAGMENT_DELAY_US,
    IncomingRecord,
    InvalidRecord,
    PartitionLog,
    SegmentLimits,
)
from districam_recorder.core.progress import Progress
from support.fragments import T0, S, epoch_id, fragment, make_init

LIMITS = SegmentLimits(idle_us=15 * S, segment_max_bytes=64 << 20)
E, F = epoch_id(1), epoch_id(2)
ENDS: list[EndKind | None] = [None, None, None, None, None, None, None, None, "segment", "epoch"]


@dataclass
class Durable:
    """State that survives a crash of the recorder: the bucket, the announcements, the commit."""

    bucket: dict[str, bytes] = field(default_factory=dict[str, bytes])
    announced: list[Effect] = field(default_factory=list[Effect])
    offset: int = 0
    metadata: str = ""

    def fragments(self) -> set[tuple[str, int]]:
        stored = [effect for effect in self.announced if isinstance(effect, Segment)]
        return {(segment.epoch, one.info.seq) for segment in stored for one in segment.fragments}


class Recorder:
    """A partition handler without I/O: PUTs in any order, announcements in the order of closing."""

    def __init__(self, durable: Durable, *, keeps_metadata: bool = True) -> None:
        self.durable = durable
        self.log = PartitionLog(durable.offset, decode_checkpoint(durable.metadata if keeps_metadata else ""), LIMITS)
        self.waiting: list[Effect] = []
        self.put: set[int] = set()

    def read(self, incoming: IncomingRecord) -> None:
        self.waiting += self.log.feed(incoming)

    def rest(self, monotonic_us: int) -> None:
        self.waiting += self.log.report_end(monotonic_us, None)

    def put_one(self, effect: Effect) -> None:
        if isinstance(effect, Segment):
            made = build_object(effect, "bucket")
            stored = self.durable.bucket.setdefault(made.stored.key, made.body)
            assert stored == made.body, "one key, two contents"
        self.put.add(id(effect))

    def announce(self) -> bool:
        if not self.waiting or id(self.waiting[0]) not in self.put:
            return False
        effect = self.waiting.pop(0)
        self.durable.announced.append(effect)
        self.log.report_announced(effect)
        return True

    def commit(self, end_us: int | None = None) -> None:
        commit = self.log.compute_commit(end_us=end_us, is_watermark_frozen=False)
        self.durable.offset, self.durable.metadata = commit.offset, commit.metadata


def make_log(random: Random, cameras: str = "c", size: int = 0) -> list[IncomingRecord]:
    """Interleaved epochs of several cameras with holes, duplicates, invalid records, pauses and ends."""
    log: list[IncomingRecord] = []
    at_us, numbers = T0, iter(range(1000))
    live = [(f"{cameras}{n}", epoch_id(next(numbers)), 0) for n in range(random.randint(1, 3))]

    def append(content: Fragment | InvalidRecord) -> None:
        log.append(IncomingRecord(len(log), at_us, 0, content))

    for _ in range(random.randint(5, 50)):
        n = random.randrange(len(live))
        camera_id, epoch, seq = live[n]
        at_us += random.choice([0, 1, 1, 2, 20]) * S
        seq += random.random() < 0.08
        if random.random() < 0.03:
            append(InvalidRecord(camera_id, "garbage"))
        ends = random.choice(ENDS)
        append(fragment(camera_id, epoch, seq, starts=seq % 4 == 0, ends=ends, size=size))
        if random.random() < 0.1:
            same = [r.content for r in log if isinstance(r.content, Fragment) and r.content.info.epoch == epoch]
            for old in same[-random.randint(1, 3) :]:
                append(old)
        live[n] = (camera_id, epoch_id(next(numbers)), 0) if ends == "epoch" else (camera_id, epoch, seq + 1)
    return log


def readable(log: list[IncomingRecord]) -> set[tuple[str, int]]:
    contents = [record.content for record in log if isinstance(record.content, Fragment)]
    return {(one.info.epoch, one.info.seq) for one in contents}


def drive(seed: int) -> tuple[list[IncomingRecord], Durable]:
    """Random steps on a growing log, with crashes in between; returns once everything is committed."""
    random = Random(seed)
    log, durable, crashes = make_log(random), Durable(), 0
    recorder, visible, monotonic_us = Recorder(durable), 0, 0
    while True:
        if crashes < 6 and random.random() < 0.06:
            crashes += 1
            recorder = Recorder(durable, keeps_metadata=random.random() < 0.7)
        act, before = random.random(), durable.offset
        unput = [effect for effect in recorder.waiting if id(effect) not in recorder.put]
        if act < 0.3:
            visible = min(len(log), visible + random.randint(1, 5))
        elif act < 0.6 and recorder.log.position < visible:
            record = log[recorder.log.position]
            recorder.read(IncomingRecord(record.offset, record.append_us, monotonic_us, record.content))
        elif act < 0.75 and unput:
            recorder.put_one(random.choice(unput))
        elif act < 0.85:
            recorder.announce()
        elif act < 0.95:
            recorder.commit()
            assert durable.offset >= before, "the commit went back"
            assert readable(log[: durable.offset]) <= durable.fragments(), "the commit passed a fragment"
        elif recorder.log.position == visible:
            monotonic_us += random.choice([1, 8, 20]) * S
            recorder.rest(monotonic_us)
        if visible == recorder.log.position == len(log) == durable.offset:
            return log, durable


@given(st.integers(0, 2**32))
def test_no_fragment_is_lost_or_invented_across_random_crashes(seed: int):
    log, durable = drive(seed)
    assert durable.fragments() == readable(log)
    stored = [effect for effect in durable.announced if isinstance(effect, Segment)]
    assert {build_object(segment, "bucket").stored.key for segment in stored} <= set(durable.bucket)
    rejected = {effect.first.offset for effect in durable.announced if isinstance(effect, Rejection)}
    assert rejected == {record.offset for record in log if isinstance(record.content, InvalidRecord)}


@given(st.integers(0, 2**32), st.integers(0, 8))
def test_a_replay_from_any_commit_makes_the_same_segments(seed: int, skip: int):
    """Ingest stamps the cuts: segments of a second recorder begin and end where the first one's do, or lie inside."""
    random = Random(seed)
    cuts, seq = list[int](), 0
    while seq < 40:
        cuts.append(seq)
        seq += random.randint(2, 7)
    log = [
        incoming(n, fragment("c", E, n, starts=n in cuts, ends="segment" if n + 1 in cuts else None))
        for n in range(seq)
    ]

    def closed(start: int) -> list[tuple[int, int]]:
        fresh = PartitionLog(start, Checkpoint(), LIMITS)
        effects = [effect for record in log[start:] for effect in fresh.feed(record)]
        segments = [effect for effect in effects if isinstance(effect, Segment)]
        return [(segment.fragments[0].info.seq, segment.last_seq) for segment in segments]

    whole = closed(0)
    first, *others = closed(skip)
    assert others == [one for one in whole if one[0] > first[0]]
    assert any(begin <= first[0] <= first[1] == end for begin, end in whole)


class Site:
    """Partitions that share a memory limit, and a store that may be unavailable at first."""

    LIMIT = 64_000

    def __init__(self, seed: int, sizes: list[int]) -> None:
        self.random = Random(seed)
        self.logs = [make_log(self.random, f"c{n}-", size) for n, size in enumerate(sizes)]
        self.recorders = [Recorder(Durable()) for _ in sizes]
        self.paused: set[int] = set()

    @property
    def used(self) -> int:
        return sum(recorder.log.bytes for recorder in self.recorders)

    def store(self, *, is_up: bool) -> None:
        for n, recorder in enumerate(self.recorders):
            if n not in self.paused and recorder.log.position == len(self.logs[n]):
                recorder.rest(10**12)
            for effect in recorder.waiting if is_up else []:
                recorder.put_one(effect)
            while recorder.announce():
                pass
            if self.random.random() < 0.2:
                recorder.commit()

    def readable(self) -> list[int]:
        return [
            n
            for n, recorder in enumerate(self.recorders)
            if n not in self.paused and recorder.log.position < len(self.logs[n])
        ]

    def is_done(self) -> bool:
        idle = not any(recorder.waiting or recorder.log.open_bytes for recorder in self.recorders)
        return idle and not self.readable() and not self.paused

    def read(self, n: int) -> None:
        """Makes room first, as the consumer does."""
        recorder = self.recorders[n]
        record = self.logs[n][recorder.log.position]
        holdings = [self.memory_usage(m) for m in range(len(self.recorders))]
        match limits.decide(holdings, n, record.bytes, self.LIMIT):
            case limits.Read():
                recorder.read(record)
                assert self.used <= self.LIMIT, "over the limit"
            case limits.Wait():
                pass
            case limits.Discard(number):
                dropping = self.recorders[number]
                assert number != self.oldest(), "the oldest was dropped"
                dropping.log = dropping.log.without_open_segments()
                self.paused.add(number)
            case limits.Close(number):
                self.recorders[number].waiting += self.recorders[number].log.close_largest()

    def memory_usage(self, n: int) -> limits.PartitionMemory:
        log = self.recorders[n].log
        oldest = log.first_open_record()
        return limits.PartitionMemory(
            partition=n,
            bytes=log.bytes,
            oldest_us=None if oldest is None else oldest.append_us,
            has_pending=log.has_pending,
        )

    def oldest(self) -> int | None:
        held = [(h.oldest_us, h.partition) for h in map(self.memory_usage, range(len(self.logs))) if h.oldest_us]
        return min(held)[1] if held else None


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([500, 4_000, 20_000]), min_size=1, max_size=4),
    is_store_away=st.booleans(),
)
@example(seed=1, sizes=[20_000], is_store_away=True)
def test_the_memory_limit_is_respected_and_no_partition_starves(seed: int, sizes: list[int], *, is_store_away: bool):
    site = Site(seed, sizes)
    for step in range(6000):
        site.store(is_up=not is_store_away or step > 60)
        if site.is_done():
            break
        if limits.may_resume(site.used, site.LIMIT):
            site.paused.clear()
        if todo := site.readable():
            site.read(site.random.choice(todo))
    else:
        raise AssertionError("memory is full and nothing moves")
    for log, recorder in zip(site.logs, site.recorders, strict=True):
        assert recorder.durable.fragments() == readable(log)


# ---- single rules


def incoming(offset: int, content: Fragment | InvalidRecord, append_us: int | None = None) -> IncomingRecord:
    return IncomingRecord(offset, T0 + offset * S if append_us is None else append_us, 0, content)


def log_from(offset: int = 0, checkpoint: Checkpoint | None = None) -> PartitionLog:
    return PartitionLog(offset, checkpoint or Checkpoint(), LIMITS)


def test_an_unreadable_fragment_shows_as_a_hole_in_its_epoch():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0)))
    (rejection,) = log.feed(incoming(1, InvalidRecord("c", "garbage")))
    assert rejection == Rejection(FirstRecord(1, T0 + S, T0 + S), "c", "garbage")
    (segment,) = log.feed(incoming(2, fragment("c", E, 2)))
    assert isinstance(segment, Segment)
    assert segment.close_reason == "hole"


def test_a_fragment_with_a_different_init_is_rejected_and_the_next_ones_are_stored():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0)))
    effects = log.feed(incoming(1, fragment("c", E, 1, init=make_init("other"))))
    assert [(type(effect), effect.first.offset) for effect in effects] == [(Rejection, 1)]
    (segment,) = log.feed(incoming(2, fragment("c", E, 1, ends="segment")))
    assert isinstance(segment, Segment)
    assert [one.info.seq for one in segment.fragments] == [0, 1]


@pytest.mark.hostile
def test_a_forged_fragment_with_a_used_seq_is_rejected_as_a_conflict():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0, size=1)))
    (rejection,) = log.feed(incoming(1, fragment("c", E, 0)))
    assert isinstance(rejection, Rejection)
    assert (rejection.key, rejection.first.offset, rejection.is_conflict) == ("c", 1, True)
    assert log.duplicates == 0


def test_the_commit_waits_until_a_rejection_is_announced():
    log = log_from()
    (rejection,) = log.feed(incoming(0, InvalidRecord("c", "garbage")))
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 0
    log.report_announced(rejection)
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 1


def test_announcing_out_of_order_raises_an_assertion_error():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0, ends="segment")))
    (second,) = log.feed(incoming(1, fragment("c", E, 1, ends="segment")))
    with pytest.raises(AssertionError, match="order"):
        log.report_announced(second)


def test_records_before_the_position_are_ignored():
    log = log_from(5)
    assert log.feed(incoming(4, fragment("c", E, 0, ends="epoch"))) == []
    assert (log.position, log.duplicates) == (5, 0)


def test_duplicates_are_counted_and_committed():
    log = log_from(5, Checkpoint(0, {E: 3}))
    assert log.feed(incoming(5, fragment("c", E, 3))) == []
    assert log.duplicates == 1
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 6


def test_open_segments_cannot_be_discarded_while_an_effect_is_pending():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0, ends="segment")))
    with pytest.raises(AssertionError, match="effect is pending"):
        log.without_open_segments()


def log_us(log: PartitionLog, *, end_us: int | None = None, is_frozen: bool = False) -> int:
    committed = decode_checkpoint(log.compute_commit(end_us=end_us, is_watermark_frozen=is_frozen).metadata).log_us
    assert committed == log.watermark_us
    return committed


def test_log_us_is_the_time_of_the_first_record_not_yet_announced():
    log = log_from()
    (segment,) = log.feed(incoming(0, fragment("c", E, 0, start_us=T0 - 9 * S, ends="segment")))
    log.feed(incoming(1, fragment("d", F, 0, start_us=T0 + 99 * S)))
    assert log_us(log, end_us=T0 + 50 * S) == T0 - 9 * S
    log.report_announced(segment)
    assert log_us(log, end_us=T0 + 50 * S) == T0 + S


def test_log_us_is_the_brokers_time_once_all_is_announced_and_never_goes_back():
    log = log_from()
    assert log_us(log) == 0
    assert log_us(log, end_us=T0) == T0
    assert log_us(log, end_us=T0 - S) == T0
    log.feed(incoming(0, fragment("c", E, 0, start_us=T0 - 9 * S)))
    assert log_us(log) == T0


def test_log_us_stays_at_the_committed_one_while_it_is_frozen():
    log = log_from(3, Checkpoint(T0, {}))
    assert log_us(log, end_us=T0 + 50 * S, is_frozen=True) == T0
    assert log_us(log, end_us=T0 + 50 * S) == T0 + 50 * S


def test_a_head_truncation_is_reported_from_the_commits_time_to_the_first_record_left():
    log = log_from(10, Checkpoint(T0, {E: 4}))
    log.report_head_truncation(20)
    log.report_head_truncation(22)  # the head is truncated further before anything is read
    assert log.position == 22
    assert log.compute_commit(end_us=T0 + 90 * S, is_watermark_frozen=False).offset == 10
    assert log_us(log, end_us=T0 + 90 * S) == T0
    effects = log.feed(incoming(22, fragment("c", E, 9), append_us=T0 + 60 * S))
    (truncation,) = effects
    from_us = T0 - MAX_FRAGMENT_DELAY_US  # fragments in flight at the time of the commit began before it
    assert truncation == Truncation(FirstRecord(10, from_us, from_us), from_us, T0 + 60 * S)
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 10
    log.report_announced(truncation)
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 22


UNREADABLE = InvalidRecord("", "offset 2: the batch's checksum (CRC-32C) does not match", is_lost=True)


def test_an_unreadable_record_is_rejected_and_its_time_is_reported_as_a_truncation():
    log = log_from()
    log.feed(IncomingRecord(0, T0 + 2 * S, 0, fragment("c", E, 0)))
    log.feed(IncomingRecord(1, T0 + 9 * S, 0, fragment("d", F, 0, start_us=T0 + 7 * S)))
    (rejection,) = log.feed(IncomingRecord(2, 0, 0, UNREADABLE, count=3))
    assert rejection == Rejection(FirstRecord(2, T0 + 9 * S, T0 + 9 * S), "", UNREADABLE.reason)
    assert log.position == 5
    log.report_announced(rejection)
    assert log.compute_commit(end_us=T0 + 90 * S, is_watermark_frozen=False).offset == 0
    (truncation,) = log.feed(IncomingRecord(5, T0 + 11 * S, 0, fragment("d", F, 1, start_us=T0 + 9 * S)))
    assert isinstance(truncation, Truncation)
    assert truncation.from_us == T0 + 2 * S, "the next fragment of the slower epoch may be lost"
    assert truncation.to_us == T0 + 12 * S, "up to the next record, plus the clock tolerance"


def test_the_truncation_of_an_unreadable_record_lasts_to_the_next_fragment():
    log = log_from()
    log.feed(IncomingRecord(0, T0 + 2 * S, 0, fragment("c", E, 0)))
    log.feed(IncomingRecord(1, 0, 0, UNREADABLE))
    truncation, _ = log.feed(IncomingRecord(2, T0 + 5 * S, 0, fragment("c", E, 4, start_us=T0 + 8 * S)))
    assert isinstance(truncation, Truncation)
    assert truncation.to_us == T0 + 8 * S, "the broker's clock is behind"


def test_an_unreadable_record_may_have_been_the_first_fragment_of_a_new_epoch():
    log = log_from()
    log.feed(IncomingRecord(0, T0 + 2 * S, 0, fragment("c", E, 0)))
    log.feed(IncomingRecord(1, 0, 0, UNREADABLE))
    truncation, _ = log.feed(IncomingRecord(2, T0 + 4 * S, 0, fragment("c", E, 2)))
    assert isinstance(truncation, Truncation)
    assert truncation.from_us <= T0 - 3 * S


def test_an_epoch_idle_for_long_does_not_extend_the_truncation_of_an_unreadable_record():
    log = log_from()
    log.feed(IncomingRecord(0, T0 + 2 * S, 0, fragment("c", E, 0)))
    for n in range(1, 20):
        log.feed(IncomingRecord(n, T0 + 2 * S + 2 * n * S, 0, fragment("d", F, n - 1, start_us=T0 + 2 * n * S)))
    log.feed(IncomingRecord(20, 0, 0, UNREADABLE))
    (truncation,) = log.report_end(0, T0 + 60 * S)
    assert isinstance(truncation, Truncation)
    assert truncation.from_us == T0 + 40 * S - 5 * S


def test_the_truncation_of_an_unreadable_first_record_is_bounded_by_the_commit():
    log = log_from(7, Checkpoint(T0, {}))
    log.feed(IncomingRecord(7, 0, 0, UNREADABLE))
    (truncation,) = log.feed(IncomingRecord(8, T0 + 30 * S, 0, fragment("c", E, 9, start_us=T0 + 28 * S)))
    assert isinstance(truncation, Truncation)
    assert (truncation.from_us, truncation.to_us) == (T0 - 5 * S, T0 + 31 * S)


def test_the_truncation_of_an_unreadable_first_record_without_a_commit_is_bounded():
    log = log_from()
    log.feed(IncomingRecord(0, 0, 0, UNREADABLE))
    (truncation,) = log.feed(IncomingRecord(1, T0 + 30 * S, 0, fragment("c", E, 9, start_us=T0 + 28 * S)))
    assert isinstance(truncation, Truncation)
    assert truncation.from_us == T0 + 25 * S


@pytest.mark.correctness
def test_the_last_record_read_may_be_an_unreadable_one():
    log = log_from()
    log.feed(IncomingRecord(0, T0 + 2 * S, 0, fragment("c", E, 0), "e/0"))
    for offset in (1, 2):
        log.feed(IncomingRecord(offset, 0, 0, UNREADABLE))
    assert log.last_read == Mark(2, T0 + 2 * S, "")
    assert log.read_marks[0] == log.last_read
    log.report_tail_truncation(Mark(0, T0 + 2 * S, "e/0"), 0)
    assert log.position == 1, "whatever has the offsets of the unreadable records is read"


def test_a_control_batch_advances_the_position_without_a_truncation():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0)))
    (rejection,) = log.feed(IncomingRecord(1, 0, 0, InvalidRecord("", "offset 1: a control batch")))
    assert isinstance(rejection, Rejection)
    assert log.position == 2
    assert log.report_end(0, T0 + 9 * S) == []


@pytest.mark.correctness
def test_a_record_after_the_position_is_ignored():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0)))
    assert log.feed(incoming(2, fragment("c", E, 2))) == []
    assert log.position == 1
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 0
    log.feed(incoming(1, fragment("c", E, 1)))
    (segment,) = log.feed(incoming(2, fragment("c", E, 2, ends="epoch")))
    assert isinstance(segment, Segment)
    assert [one.info.seq for one in segment.fragments] == [0, 1, 2]


def test_open_fragments_are_stored_after_the_log_lost_its_head():
    log = log_from(0, Checkpoint(T0 - S, {}))
    log.feed(incoming(0, fragment("c", E, 0)))
    log.report_head_truncation(5)
    truncation, segment = log.feed(incoming(5, fragment("c", E, 5)))
    assert isinstance(truncation, Truncation)
    assert isinstance(segment, Segment)
    assert segment.close_reason == "hole"
    assert log.compute_commit(end_us=None, is_watermark_frozen=False).offset == 0


def test_a_truncation_that_leaves_an_empty_log_is_reported_up_to_the_brokers_time():
    log = log_from(10, Checkpoint(T0, {}))
    log.report_head_truncation(20)
    assert log.report_end(0, None) == []
    (truncation,) = log.report_end(0, T0 + 7 * S)
    from_us = T0 - MAX_FRAGMENT_DELAY_US
    assert truncation == Truncation(FirstRecord(10, from_us, from_us), from_us, T0 + 7 * S)


@pytest.mark.correctness
def test_a_tail_truncation_is_not_over_at_the_survivors_time():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0)))
    log.feed(incoming(1, fragment("c", E, 1), append_us=T0 + 20 * S))
    (closed,) = log.report_tail_truncation(None, 0)
    assert isinstance(closed, Segment)
    assert log.report_end(0, T0 + 18 * S) == [], "the broker's time known from the log is before the loss"
    (truncation,) = log.feed(incoming(0, fragment("c", E, 2, starts=True), append_us=T0 + 30 * S))
    assert isinstance(truncation, Truncation)
    assert truncation.to_us == T0 + 30 * S


@pytest.mark.correctness
def test_a_recorder_that_had_reached_the_end_knows_when_a_tail_truncation_is_over():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0), append_us=T0))
    log.report_end(0, T0 + S)
    log.report_tail_truncation(None, 0)
    effects = log.report_end(0, T0 + 20 * S)
    assert effects == [Truncation(FirstRecord(0, 0, 0), 0, T0 + 20 * S)]


@pytest.mark.correctness
def test_a_tail_truncation_without_later_records_is_reported_after_a_minute():
    log = log_from()
    log.feed(incoming(0, fragment("c", E, 0), append_us=T0))
    log.report_tail_truncation(None, 0)
    effects = log.report_end(0, T0 + 60 * S)
    assert effects == [Truncation(FirstRecord(0, 0, 0), 0, T0 + 60 * S)]


def test_discarding_open_segments_keeps_a_truncation_that_is_not_announced():
    log = log_from(10, Checkpoint(T0, {}))
    log.report_head_truncation(20)
    fresh = log.without_open_segments()
    assert fresh.position == 20
    assert fresh.compute_commit(end_us=None, is_watermark_frozen=False).offset == 10
    assert isinstance(fresh.feed(incoming(20, fragment("c", E, 9)))[0], Truncation)


def test_ended_epochs_are_dropped_from_the_commit_metadata():
    log = log_from(0, Checkpoint(0, {}))
    (segment,) = log.feed(incoming(0, fragment("c", E, 0, ends="epoch")))
    log.report_announced(segment)
    assert decode_checkpoint(log.compute_commit(end_us=None, is_watermark_frozen=False).metadata).seqs == {E: 0}
    log.feed(IncomingRecord(1, T0 + 40 * S, 0, fragment("d", F, 0)))
    assert decode_checkpoint(log.compute_commit(end_us=None, is_watermark_frozen=False).metadata).seqs == {}


def test_an_older_copy_does_not_lower_the_last_announced_seq():
    progress = Progress(Checkpoint(0, {E: 9}))
    segment = Segment(FirstRecord(0, T0, T0), (fragment("c", E, 3),), 0, "ends")
    progress.add([segment])
    progress.report_announced(segment)
    assert progress.seqs == {E: 9}
