"""A simulated site: two cameras, two ingests, a log of two partitions, a recorder, an indexer; a tick is half a second.

All decisions are made by the real code; faults happen in its environment. The ground truth of each picture is kept.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from districam_common.contract import names
from districam_common.contract.events import Camera, SegmentStored
from districam_common.contract.media import Fragment
from districam_common.ledger.ledger import LedgerInputs, State, ledger
from districam_recorder.core.partition_log import MAX_FRAGMENT_DELAY_US
from support.world_broker import PARTITIONS, Broker, Bucket, CorruptFragment
from support.world_cameras import TICK_US, WORLD_START_US, FragmentContent, S, SimulatedCamera, contents, tick_us
from support.world_faults import Fault, FaultPlan, Kind, truncated_tail_s
from support.world_index import Indexer
from support.world_ingest import BrokerLink, Ingest, SimulatedHostClock
from support.world_recorder import RULES, EffectLog, ProcessCrashed, Recorder

CAMERA_IDS = ("gate", "yard")
SESSION_TICKS = 20
HORIZON = 480
CHECKED_UNTIL_US = WORLD_START_US + 150 * S
"""States before this instant must not be pending at the end of a world."""
HOURS_AHEAD_US = 7 * 3600 * S
SNAPSHOT_TICKS = 11
MAX_CRASH_DELAY_TICKS = 12


@dataclass(frozen=True, slots=True)
class RecordedPicture:
    """A picture that an ingest recorded in an epoch; `at_us` by the epoch's clock."""

    epoch: str
    at_us: int


@dataclass
class GroundTruth:
    """What happened to one camera, tick by tick; the number of a picture is its tick."""

    sent: set[int] = field(default_factory=set[int])
    """Ticks of pictures sent to at least one client, whether or not they arrived."""
    recorded: defaultdict[int, list[RecordedPicture]] = field(
        default_factory=lambda: defaultdict[int, list[RecordedPicture]](list)
    )
    reasons: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict[int, set[str]](set))
    """Possible reasons for a missing picture of that tick, as far as they are known at the time."""


@dataclass(frozen=True)
class Snapshot:
    """The ledgers as computed at a tick."""

    tick: int
    states: dict[str, list[State]]
    revisions: int
    """Number of camera record revisions in the index."""


_REASON_BY_CAUSE = {
    "camera_unreachable": "camera",
    "source_silent": "camera",
    "clock_step": "clock",
    "stream_changed": "record",
    "stream_error": "lossy",
}


class World:
    """Runs to its end on construction. `with_snapshots`: keeps intermediate ledgers too, not only the last."""

    def __init__(self, plan: FaultPlan, *, with_snapshots: bool = False) -> None:
        self.plan = plan
        self._rng = Random(plan.seed)
        self._faults = defaultdict[Kind, list[Fault]](list)
        for fault in plan.faults:
            self._faults[fault.kind].append(fault)
        self.broker, self.bucket, self.effect_log = Broker(), Bucket(), EffectLog()
        self.broker.keeps_commit_metadata = plan.has("tail_lost")
        self._hosts = [SimulatedHostClock(), SimulatedHostClock()]
        self.links = [BrokerLink(), BrokerLink()]
        self._instances = count()
        phases = {names.partition_of(name, PARTITIONS): name for name in CAMERA_IDS}
        assert len(phases) == len(CAMERA_IDS), "a partition for each camera"
        self.devices = {
            name: SimulatedCamera(_record(name, single_client=single), phase=3 * n)
            for n, (name, single) in enumerate(zip(CAMERA_IDS, plan.single_client, strict=True))
        }
        self._assigned = {name: host for host, name in enumerate(CAMERA_IDS)}
        self._ticks_without_contact = [0, 0]
        self._release_reasons = {
            name: set[str]() for name in CAMERA_IDS
        }  # why it was released, until a picture is recorded again
        self._ingests: list[Ingest | None] = [None, None]
        self._stalled_ticks = [0, 0]
        self._recorder: Recorder | None = None
        self.indexer = Indexer(self.broker, self._rng)
        self.truth = {name: GroundTruth() for name in CAMERA_IDS}
        self.snapshots: list[Snapshot] = []
        for tick in range(HORIZON):
            self._tick(tick)
            if tick == HORIZON - 1 or (with_snapshots and tick % SNAPSHOT_TICKS == plan.seed % SNAPSHOT_TICKS):
                self.snapshots.append(self._snapshot(tick))

    def _snapshot(self, tick: int) -> Snapshot:
        revision_count = sum(len(self.indexer.index.revisions(name)) for name in CAMERA_IDS)
        return Snapshot(tick, {name: self._ledger(name, tick) for name in CAMERA_IDS}, revision_count)

    def _ledger(self, name: str, tick: int) -> list[State]:
        index, partition = self.indexer.index, names.partition_of(name, PARTITIONS)
        inputs = LedgerInputs(
            revisions=index.revisions(name),
            segments=index.segments(name),
            events=index.events(name),
            truncations=index.log_truncations(partition),
            log_us=self.indexer.watermarks_us.get(partition, 0),
        )
        return ledger((WORLD_START_US, tick_us(tick + 1)), inputs, now_us=tick_us(tick + 1))

    # ---- a tick

    def _is(self, kind: Kind, tick: int, target: int | None = None) -> bool:
        return any(f.is_active(tick) and target in (None, f.target) for f in self._faults[kind])

    def _starting_faults(self, kind: Kind, tick: int) -> list[Fault]:
        return [fault for fault in self._faults[kind] if fault.starts_at(tick)]

    def _tick(self, tick: int) -> None:
        self.broker.now_us = tick_us(tick)
        self._move_leaders(tick)
        active = [fault for fault in self._faults["broker_clock_wrong"] if fault.is_active(tick)]
        self.broker.clock_offsets_us = {
            fault.target: _clock_error_us("broker_clock_wrong", fault.for_s) for fault in active[:1]
        }
        for number, name in enumerate(CAMERA_IDS):
            self._apply_camera_faults(tick, number, self.devices[name])
        self._regroup(tick)
        for host in (0, 1):
            self._run_ingest(tick, host)
        for name in CAMERA_IDS:
            self._record_truth(tick, name)
        for partition in range(PARTITIONS):
            (
                self.broker.corrupting_partitions.add
                if self._is("corrupt", tick, partition)
                else self.broker.corrupting_partitions.discard
            )(partition)
            if self._is("truncated", tick, partition):
                self.broker.apply_retention(partition, 20 * S)
        self._run_recorder(tick)
        self._apply_redis_faults(tick)
        if not self._is("indexer", tick, 0) and not self._is("broker", tick):
            self.indexer.run_tick(reads_topics=not self._is("indexer", tick, 1))

    def _apply_redis_faults(self, tick: int) -> None:
        if self._starting_faults("redis_restored", tick):
            self.indexer.save_snapshot()
        if any(fault.ends_at(tick) for fault in self._faults["redis_restored"]):
            self.indexer.restore_snapshot()

    def _apply_camera_faults(self, tick: int, number: int, device: SimulatedCamera) -> None:
        device.is_silent = self._is("silent", tick, number)
        device.is_reachable = not self._is("unreachable", tick, number)
        device.is_losing = self._is("lossy", tick, number) and self._rng.random() < 0.5
        if device.is_sending:
            device.sent.add(tick)
        enabled = not self._is("disabled", tick, number)
        device.is_oversize = self._is("oversize", tick, number)
        kinds: list[Kind] = ["renamed", "changed"]
        changed_kinds = {
            kind for kind in kinds for fault in self._starting_faults(kind, tick) if fault.target == number
        }
        is_changed = enabled != device.record.enabled or bool(changed_kinds)
        if tick == 0 or (is_changed and not self._is("broker", tick)):
            device.record = _revised(
                device.record, tick, changed_kinds, enabled=enabled, now_us=self._dated_us(tick, number)
            )
            self.broker.append(names.CAMERAS, 0, device.record)
        for link in self.links:
            (
                link.corrupted_camera_ids.add
                if self._is("corrupted_in_transit", tick, number)
                else link.corrupted_camera_ids.discard
            )(device.camera_id)

    def _dated_us(self, tick: int, number: int) -> int:
        """The current time by the clock of the operator who changes the camera's record."""
        faults = [f for f in self._faults["misdated"] if f.is_active(tick) and f.target == number]
        return tick_us(tick) + sum((fault.for_s * 7 % 301 - 150) * S for fault in faults)

    def _regroup(self, tick: int) -> None:
        """Reassigns cameras as the group's coordinator does."""
        for fault in self._starting_faults("moved", tick):
            self._assigned[CAMERA_IDS[fault.target]] ^= 1
        for name, host in self._assigned.items():
            if self._ticks_without_contact[host] >= SESSION_TICKS and not self._ticks_without_contact[1 - host]:
                self._assigned[name] = 1 - host

    # ---- ingest

    def _run_ingest(self, tick: int, host: int) -> None:
        clock = self._hosts[host]
        clock.tick = tick
        for fault in self._starting_faults("skewed", tick) + self._starting_faults("stepped", tick):
            if fault.target == host:
                clock.offset_us += _clock_error_us(fault.kind, fault.for_s)
        clock.ahead_us = HOURS_AHEAD_US if self._is("restarted_ahead", tick, host) else 0
        if self._is("killed", tick, host) or any(
            f.target == host for f in self._starting_faults("restarted_ahead", tick)
        ):
            self._kill(host)
        elif self._is("stalled", tick, host) or self._is("suspended", tick, host):
            clock.suspended_ticks += self._is("suspended", tick, host)
            self._stalled_ticks[host] += 1
            self._ticks_without_contact[host] += 1
        else:
            self._run_ingest_tick(tick, host)

    def _kill(self, host: int) -> None:
        ingest, self._ingests[host] = self._ingests[host], None
        self._ticks_without_contact[host] += 1
        self._stalled_ticks[host] = 0
        if ingest is not None:
            ingest.crash()

    def _run_ingest_tick(self, tick: int, host: int) -> None:
        ingest = self._ingests[host]
        if ingest is None:
            name = f"host-{host}-{next(self._instances)}"
            ingest = Ingest(name, self._hosts[host], self.links[host])
            self._ingests[host] = ingest
        self.links[host].is_full = self._is("shedding", tick, host)
        is_cut_off = self._is("cut_off", tick, host)
        broker = not is_cut_off and self._reaches_broker(tick, host)
        ingest.begin_tick(self._stalled_ticks[host])
        self._stalled_ticks[host] = 0
        self._ticks_without_contact[host] = self._ticks_without_contact[host] + 1 if is_cut_off else 0
        leaderless = {n for n in range(PARTITIONS) if not self._reaches_leader(tick, host, n)}
        is_leader_cut_off = self._is("leader_cut_off", tick, host)
        if broker:
            unreachable_brokers = leaderless | ({0} if is_leader_cut_off else set[int]())
            ingest.queue.probe_clocks_when_due(self.broker, self._hosts[host], unreachable_brokers)
            assigned = {name: self.devices[name] for name in CAMERA_IDS if self._assigned[name] == host}
            ingest.apply_assignment(assigned, {name: device.record for name, device in self.devices.items()})
        else:
            ingest.handle_lost_contact()
        ingest.run_workers()
        if broker:
            leaderless = set(range(PARTITIONS)) if is_leader_cut_off else leaderless
            ingest.queue.send(self.broker, self._hosts[host], self._rng, unreachable_partitions=leaderless)

    def _retry_lags(self, host: int) -> tuple[int, int]:
        """Per host, how many ticks its retry lags behind the end of an outage."""
        return (0, (self.plan.seed * (5 + 6 * host)) % 17)

    def _reaches_broker(self, tick: int, host: int) -> bool:
        return not any(self._is("broker", tick - n) for n in self._retry_lags(host))

    def _reaches_leader(self, tick: int, host: int, partition: int) -> bool:
        return not any(self._is_leader_down(tick - n, partition) for n in self._retry_lags(host))

    def _is_leader_down(self, tick: int, partition: int) -> bool:
        return self._is("leader", tick, partition) or self._is("tail_lost", tick, partition)

    def _move_leaders(self, tick: int) -> None:
        for fault in self._starting_faults("tail_lost", tick):
            lost = self.broker.truncate_tail(fault.target, truncated_tail_s(fault) * S)
            self.effect_log.record_lost_tail(fault.target, self.broker, lost)
            for name in CAMERA_IDS:
                if names.partition_of(name, PARTITIONS) == fault.target:
                    self.truth[name].reasons[tick].add("tail_loss_at_tick")
        for partition in range(PARTITIONS):
            is_away = self._is_leader_down(tick, partition)
            self.broker.leader_generations[partition] += partition in self.broker.leaderless_partitions and not is_away
            (self.broker.leaderless_partitions.add if is_away else self.broker.leaderless_partitions.discard)(partition)

    # ---- the truth

    def _record_truth(self, tick: int, name: str) -> None:
        truth, device = self.truth[name], self.devices[name]
        running = [i for n, i in enumerate(self._ingests) if i is not None and not self._stalled_ticks[n]]
        for ingest in running:
            if name in ingest.workers:
                for number, epoch, at_us in ingest.workers[name].recorded:
                    truth.recorded[number].append(RecordedPicture(epoch, at_us))
                    truth.sent.add(number)
            if ingest.queue.was_full:
                truth.reasons[tick].add("shed")
        reading = [ingest.workers[name] for ingest in running if name in ingest.workers]
        if device.is_sending and any(worker.stream for worker in reading):
            truth.sent.add(tick)
        self._release_reasons[name] |= {
            "handover" if ingest.released[name] == "handover" else "service"
            for ingest in running
            if name in ingest.released
        }
        if any(worker.recorded for worker in reading):
            self._release_reasons[name].clear()
        truth.reasons[tick] |= self._reasons(device, running)

    def _reasons(self, device: SimulatedCamera, running: list[Ingest]) -> set[str]:
        if not device.record.enabled:
            return {"disabled"}
        pulls = [ingest for ingest in running if device.camera_id in ingest.workers]
        out = set[str]() if pulls else {"service"}
        out |= self._release_reasons[device.camera_id]
        if device.is_losing:
            out.add("lossy")
        if device.is_oversize:
            out.add("oversize")
        if not device.is_sending:
            out.add("camera")
        for ingest in pulls:
            worker = ingest.workers[device.camera_id]
            if not worker.recorded:
                cause = ingest.queue.causes.get(device.camera_id, "")
                out.add(_REASON_BY_CAUSE.get(cause, "service"))
        return out

    # ---- storage

    def _run_recorder(self, tick: int) -> None:
        monotonic_us = 5 * S + tick * TICK_US
        crashes = [fault for fault in self._faults["recorder"] if fault.is_active(tick)]
        if self._recorder is None and not crashes:
            self._recorder = Recorder(self.broker, self.bucket, self.effect_log, self._rng, monotonic_us)
        if self._recorder is None:
            return
        if self._starting_faults("recorder", tick):
            self._recorder.steps_until_crash = self._rng.randint(0, 6)
        self._recorder.skips_next_announcement |= bool(self._starting_faults("announcement_skipped", tick))
        up, store = not self._is("broker", tick), not self._is("store", tick)
        try:
            self._recorder.run_tick(monotonic_us, broker=up, store=store)
        except ProcessCrashed:
            self._recorder = None
        if any(fault.is_active(tick - MAX_CRASH_DELAY_TICKS) for fault in crashes):
            self._recorder = None  # it had too few steps to reach its crash

    def finish_recording(self) -> None:
        """Ends all faults and lets the recorder finish.

        Raises:
            AssertionError: it does not finish.
        """
        monotonic_us = 5 * S + HORIZON * TICK_US
        recorder = self._recorder or Recorder(self.broker, self.bucket, self.effect_log, self._rng, monotonic_us)
        recorder.steps_until_crash = None
        ends = [len(self.broker.log(names.FRAGMENTS, n)) for n in range(PARTITIONS)]
        for turn in range(1, 200):
            recorder.run_tick(monotonic_us + turn * 20 * S, broker=True, store=True)
            if ends == [commit and commit.offset for commit in self.broker.commits]:
                return
        raise AssertionError("the recorder is stuck")

    # ---- results

    def fragments(self, name: str) -> list[Fragment]:
        """All fragments of the camera that the log has ever held, duplicates included."""
        log = self.broker.all_appended.get((names.FRAGMENTS, names.partition_of(name, PARTITIONS)), [])
        return [one.value for one in log if isinstance(one.value, Fragment)]

    def lost_with_log_tail(self) -> set[tuple[str, int]]:
        """(epoch, seq) of fragments lost with a truncated log tail before they were stored."""
        lost = [one.value for tail in self.broker.truncated_tails for _, one in tail]
        left = [one.value for n in range(PARTITIONS) for one in self.broker.log(names.FRAGMENTS, n)]
        out = {(f.info.epoch, f.info.seq) for f in lost if isinstance(f, Fragment)}
        out -= {(f.info.epoch, f.info.seq) for f in left if isinstance(f, Fragment)}
        return out - self.effect_log.announced

    def corrupt_fragments(self, name: str) -> list[Fragment]:
        """The camera's fragments that reached the log but could never be read."""
        log = self.broker.all_appended.get((names.FRAGMENTS, names.partition_of(name, PARTITIONS)), [])
        return [one.value.fragment for one in log if isinstance(one.value, CorruptFragment)]

    def late_corrupt_fragments(self, name: str) -> list[Fragment]:
        """Those of them whose epoch had been idle in the log, or had no record in it and was late by more than is usual."""
        log = self.broker.all_appended.get((names.FRAGMENTS, names.partition_of(name, PARTITIONS)), [])
        read_us, out = dict[str, int](), list[Fragment]()
        for one in log:
            if isinstance(one.value, Fragment):
                read_us[one.value.info.epoch] = one.appended_us
            elif isinstance(one.value, CorruptFragment):
                info = one.value.fragment.info
                earliest_us = read_us.get(info.epoch, info.start_us + MAX_FRAGMENT_DELAY_US - RULES.idle_us)
                out += [one.value.fragment] if one.appended_us - earliest_us > RULES.idle_us else []
        return out

    def unrecoverable(self) -> set[tuple[str, int]]:
        """(epoch, seq) of fragments that the log lost before a recorder could read them."""
        out = set[tuple[str, int]]()
        for n, beginning in enumerate(self.broker.start_offsets):
            log = [one.value for one in self.broker.log(names.FRAGMENTS, n)]
            out |= {(f.info.epoch, f.info.seq) for f in log[:beginning] if isinstance(f, Fragment)}
        return out - self.effect_log.announced | self.lost_with_log_tail()

    def announced_segments(self, name: str) -> list[SegmentStored]:
        log = self.broker.log(names.SEGMENTS, names.partition_of(name, PARTITIONS))
        return [one.value for one in log if isinstance(one.value, SegmentStored)]

    def read_object(self, stored: SegmentStored) -> list[FragmentContent]:
        """The fragments of an object in the bucket."""
        return list(contents(self.bucket[stored.key].body[stored.init_bytes :]))


def _record(name: str, *, single_client: bool) -> Camera:
    url = "rtsp://10.0.0.1/1"
    return Camera(camera_id=name, name=name, url=url, single_client=single_client, updated_us=WORLD_START_US)


def _revised(record: Camera, tick: int, changed_kinds: set[str], *, enabled: bool, now_us: int) -> Camera:
    """The record's next revision, dated by the operator's clock; at tick 0 the same revision."""
    dated_us = max(now_us, record.updated_us + bool(tick))
    revised = replace(record, enabled=enabled, revision=record.revision + bool(tick), updated_us=dated_us)
    if "renamed" in changed_kinds:
        revised = replace(revised, name=f"{record.name}'", groups=("gates",), retention_days=7)
    if "changed" in changed_kinds:
        revised = replace(revised, credential="other" if record.credential is None else None)
    return revised


def _clock_error_us(kind: Kind, seed: int) -> int:
    """Error of the host's or broker's clock in µs."""
    if kind == "skewed":
        return (seed % 19 - 9) * S // 10
    if kind == "broker_clock_wrong":
        return ((seed % 2) * 2 - 1) * (15 + seed) * S // 10 * (60 if seed % 3 == 0 else 1)
    return (seed % 25 - 12) * S if kind == "stepped" else 0
