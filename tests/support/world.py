"""A simulated site: two cameras, two ingests, a log of two partitions, a recorder, an indexer. Time goes in half seconds.

Everything that decides is the real code; faults befall what surrounds it. Beside it stands the truth of each picture.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from districam_common.contract import names
from districam_common.contract.events import Camera, SegmentStored
from districam_common.contract.media import Fragment
from districam_common.ledger.ledger import LedgerInputs, State, ledger
from support.world_broker import PARTITIONS, Broker, Bucket, Rotten
from support.world_cameras import BEGUN_US, TICK_US, Content, Device, S, at, contents
from support.world_faults import Fate, Fault, Kind, torn_s
from support.world_index import Indexer
from support.world_ingest import HostTime, Ingest, Way
from support.world_recorder import Died, Recorder, Witness

CAMERAS = ("gate", "yard")
SESSION_TICKS = 20
HORIZON = 480
JUDGED_US = BEGUN_US + 150 * S
"""What is older than this must be decided at the end of every world."""
HOURS_AHEAD_US = 7 * 3600 * S
LOOK_TICKS = 11
FUSE_TICKS = 12


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that some ingest took into an epoch; `at_us` by the epoch's clock."""

    epoch: str
    at_us: int


@dataclass
class Truth:
    """What befell one camera, tick by tick; the running number of a picture is its tick."""

    sent: set[int] = field(default_factory=set[int])
    """Written to at least one client, whether or not it arrived."""
    taken: defaultdict[int, list[Taken]] = field(default_factory=lambda: defaultdict[int, list[Taken]](list))
    reasons: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict[int, set[str]](set))
    """Why a picture of that tick could be missing, as far as it shows at once."""


@dataclass(frozen=True)
class Look:
    """The ledgers as somebody saw them at a tick."""

    tick: int
    states: dict[str, list[State]]
    revisions: int
    """Of all cameras' records, known to the index."""


_WHY = {
    "camera_unreachable": "camera",
    "source_silent": "camera",
    "clock_step": "clock",
    "stream_changed": "record",
    "stream_error": "lossy",
}


class World:
    """Runs to its end at once. `looks`: with intermediate ledgers, else the last only."""

    def __init__(self, fate: Fate, *, looks: bool = False) -> None:
        self.fate = fate
        self._dice = Random(fate.dice)
        self._faults = defaultdict[Kind, list[Fault]](list)
        for fault in fate.faults:
            self._faults[fault.kind].append(fault)
        self.broker, self.bucket, self.witness = Broker(), Bucket(), Witness()
        self.broker.keeps_texts = fate.has("torn")
        self._hosts = [HostTime(), HostTime()]
        self.ways = [Way(), Way()]
        self._instances = count()
        phases = {names.partition_of(name, PARTITIONS): name for name in CAMERAS}
        assert len(phases) == len(CAMERAS), "a partition for each camera"
        self.devices = {
            name: Device(_record(name, single_client=single), phase=3 * n)
            for n, (name, single) in enumerate(zip(CAMERAS, fate.single_client, strict=True))
        }
        self._assigned = {name: host for host, name in enumerate(CAMERAS)}
        self._away = [0, 0]
        self._let_go = {name: set[str]() for name in CAMERAS}  # why, while nobody has taken a picture since
        self._ingests: list[Ingest | None] = [None, None]
        self._stood_still = [0, 0]
        self._recorder: Recorder | None = None
        self.indexer = Indexer(self.broker, self._dice)
        self.truth = {name: Truth() for name in CAMERAS}
        self.looks: list[Look] = []
        for tick in range(HORIZON):
            self._tick(tick)
            if tick == HORIZON - 1 or (looks and tick % LOOK_TICKS == fate.dice % LOOK_TICKS):
                self.looks.append(self._look(tick))

    def _look(self, tick: int) -> Look:
        known = sum(len(self.indexer.index.revisions(name)) for name in CAMERAS)
        return Look(tick, {name: self._ledger(name, tick) for name in CAMERAS}, known)

    def _ledger(self, name: str, tick: int) -> list[State]:
        index, partition = self.indexer.index, names.partition_of(name, PARTITIONS)
        known = LedgerInputs(
            revisions=index.revisions(name),
            segments=index.segments(name),
            events=index.told(name),
            fell=index.fell(partition),
            log_us=self.indexer.logged.get(partition, 0),
        )
        return ledger((BEGUN_US, at(tick + 1)), known, now_us=at(tick + 1))

    # ---- a tick

    def _is(self, kind: Kind, tick: int, who: int | None = None) -> bool:
        return any(f.is_on(tick) and who in (None, f.who) for f in self._faults[kind])

    def _begins(self, kind: Kind, tick: int) -> list[Fault]:
        return [fault for fault in self._faults[kind] if fault.begins(tick)]

    def _tick(self, tick: int) -> None:
        self.broker.now_us = at(tick)
        self._move_leaders(tick)
        strays = [fault for fault in self._faults["stray"] if fault.is_on(tick)]
        self.broker.off_us = {fault.who: _clock_error_us("stray", fault.for_s) for fault in strays[:1]}
        for number, name in enumerate(CAMERAS):
            self._befall_camera(tick, number, self.devices[name])
        self._regroup(tick)
        for host in (0, 1):
            self._run_ingest(tick, host)
        for name in CAMERAS:
            self._note(tick, name)
        for partition in range(PARTITIONS):
            (self.broker.rots.add if self._is("rotten", tick, partition) else self.broker.rots.discard)(
                partition
            )
            if self._is("truncated", tick, partition):
                self.broker.truncate(partition, 20 * S)
        self._run_recorder(tick)
        self._befall_redis(tick)
        if not self._is("indexer", tick, 0) and not self._is("broker", tick):
            self.indexer.turn(follows=not self._is("indexer", tick, 1))

    def _befall_redis(self, tick: int) -> None:
        if self._begins("setback", tick):
            self.indexer.keep()
        if any(fault.ends(tick) for fault in self._faults["setback"]):
            self.indexer.set_back()

    def _befall_camera(self, tick: int, number: int, device: Device) -> None:
        device.silent = self._is("silent", tick, number)
        device.reachable = not self._is("unreachable", tick, number)
        device.lost = self._is("lossy", tick, number) and self._dice.random() < 0.5
        if device.sends:
            device.sent.add(tick)
        enabled = not self._is("disabled", tick, number)
        device.oversize = self._is("oversize", tick, number)
        kinds: list[Kind] = ["renamed", "changed"]
        news = {kind for kind in kinds for fault in self._begins(kind, tick) if fault.who == number}
        is_changed = enabled != device.record.enabled or bool(news)
        if tick == 0 or (is_changed and not self._is("broker", tick)):
            device.record = _revised(
                device.record, tick, news, enabled=enabled, now_us=self._dated_us(tick, number)
            )
            self.broker.append(names.CAMERAS, 0, device.record)
        for way in self.ways:
            (way.spoils.add if self._is("poisoned", tick, number) else way.spoils.discard)(device.camera_id)

    def _dated_us(self, tick: int, number: int) -> int:
        """Now, by the clock of whoever changes the camera's record."""
        off = [f for f in self._faults["misdated"] if f.is_on(tick) and f.who == number]
        return at(tick) + sum((fault.for_s * 7 % 301 - 150) * S for fault in off)

    def _regroup(self, tick: int) -> None:
        """What the group's coordinator does."""
        for fault in self._begins("moved", tick):
            self._assigned[CAMERAS[fault.who]] ^= 1
        for name, host in self._assigned.items():
            if self._away[host] >= SESSION_TICKS and not self._away[1 - host]:
                self._assigned[name] = 1 - host

    # ---- ingest

    def _run_ingest(self, tick: int, host: int) -> None:
        clock = self._hosts[host]
        clock.tick = tick
        for fault in self._begins("skewed", tick) + self._begins("stepped", tick):
            if fault.who == host:
                clock.off_us += _clock_error_us(fault.kind, fault.for_s)
        clock.ahead_us = HOURS_AHEAD_US if self._is("ahead", tick, host) else 0
        if self._is("killed", tick, host) or any(f.who == host for f in self._begins("ahead", tick)):
            self._kill(host)
        elif self._is("stalled", tick, host) or self._is("suspended", tick, host):
            clock.slept += self._is("suspended", tick, host)
            self._stood_still[host] += 1
            self._away[host] += 1
        else:
            self._wake(tick, host)

    def _kill(self, host: int) -> None:
        ingest, self._ingests[host] = self._ingests[host], None
        self._away[host] += 1
        self._stood_still[host] = 0
        if ingest is not None:
            ingest.die()

    def _wake(self, tick: int, host: int) -> None:
        ingest = self._ingests[host]
        if ingest is None:
            name = f"host-{host}-{next(self._instances)}"
            ingest = Ingest(name, self._hosts[host], self.ways[host])
            self._ingests[host] = ingest
        self.ways[host].is_full = self._is("shedding", tick, host)
        cut = self._is("cut", tick, host)
        broker = not cut and self._finds_broker(tick, host)
        ingest.wake(self._stood_still[host])
        self._stood_still[host] = 0
        self._away[host] = self._away[host] + 1 if cut else 0
        away = {n for n in range(PARTITIONS) if not self._finds_leader(tick, host, n)}
        narrowed = self._is("narrowed", tick, host)
        if broker:
            unheard = away | ({0} if narrowed else set[int]())
            ingest.queue.ask_when_due(self.broker, self._hosts[host], unheard)
            mine = {name: self.devices[name] for name in CAMERAS if self._assigned[name] == host}
            ingest.hear(mine, {name: device.record for name, device in self.devices.items()})
        else:
            ingest.out_of_contact()
        ingest.read()
        if broker:
            away = set(range(PARTITIONS)) if narrowed else away
            ingest.queue.send(self.broker, self._hosts[host], self._dice, away=away)

    def _pauses(self, host: int) -> tuple[int, int]:
        """After an outage each ingest waits a while of its own before it tries again."""
        return (0, (self.fate.dice * (5 + 6 * host)) % 17)

    def _finds_broker(self, tick: int, host: int) -> bool:
        return not any(self._is("broker", tick - n) for n in self._pauses(host))

    def _finds_leader(self, tick: int, host: int, partition: int) -> bool:
        return not any(self._is_leader_away(tick - n, partition) for n in self._pauses(host))

    def _is_leader_away(self, tick: int, partition: int) -> bool:
        return self._is("leader", tick, partition) or self._is("torn", tick, partition)

    def _move_leaders(self, tick: int) -> None:
        for fault in self._begins("torn", tick):
            lost = self.broker.tear(fault.who, torn_s(fault) * S)
            self.witness.misses(fault.who, self.broker, lost)
            for name in CAMERAS:
                if names.partition_of(name, PARTITIONS) == fault.who:
                    self.truth[name].reasons[tick].add("tear")
        for partition in range(PARTITIONS):
            is_away = self._is_leader_away(tick, partition)
            self.broker.lines[partition] += partition in self.broker.away and not is_away
            (self.broker.away.add if is_away else self.broker.away.discard)(partition)

    # ---- the truth

    def _note(self, tick: int, name: str) -> None:
        truth, device = self.truth[name], self.devices[name]
        running = [i for n, i in enumerate(self._ingests) if i is not None and not self._stood_still[n]]
        for ingest in running:
            if name in ingest.pulls:
                for number, epoch, at_us in ingest.pulls[name].taken:
                    truth.taken[number].append(Taken(epoch, at_us))
                    truth.sent.add(number)
            if ingest.queue.refused_room:
                truth.reasons[tick].add("shed")
        reading = [ingest.pulls[name] for ingest in running if name in ingest.pulls]
        if device.sends and any(pull.stream for pull in reading):
            truth.sent.add(tick)
        self._let_go[name] |= {
            "handover" if ingest.let_go[name] == "handover" else "service"
            for ingest in running
            if name in ingest.let_go
        }
        if any(pull.taken for pull in reading):
            self._let_go[name].clear()
        truth.reasons[tick] |= self._reasons(device, running)

    def _reasons(self, device: Device, running: list[Ingest]) -> set[str]:
        if not device.record.enabled:
            return {"disabled"}
        pulls = [ingest for ingest in running if device.camera_id in ingest.pulls]
        out = set[str]() if pulls else {"service"}
        out |= self._let_go[device.camera_id]
        if device.lost:
            out.add("lossy")
        if device.oversize:
            out.add("oversize")
        if not device.sends:
            out.add("camera")
        for ingest in pulls:
            pull = ingest.pulls[device.camera_id]
            if not pull.taken:
                cause = ingest.queue.causes.get(device.camera_id, "")
                out.add(_WHY.get(cause, "service"))
        return out

    # ---- storage

    def _run_recorder(self, tick: int) -> None:
        monotonic_us = 5 * S + tick * TICK_US
        crashes = [fault for fault in self._faults["recorder"] if fault.is_on(tick)]
        if self._recorder is None and not crashes:
            self._recorder = Recorder(self.broker, self.bucket, self.witness, self._dice, monotonic_us)
        if self._recorder is None:
            return
        if self._begins("recorder", tick):
            self._recorder.fuse = self._dice.randint(0, 6)
        self._recorder.forgets |= bool(self._begins("forgetful", tick))
        up, store = not self._is("broker", tick), not self._is("store", tick)
        try:
            self._recorder.turn(monotonic_us, broker=up, store=store)
        except Died:
            self._recorder = None
        if any(fault.is_on(tick - FUSE_TICKS) for fault in crashes):
            self._recorder = None  # there was too little to do for the fuse

    def drain(self) -> None:
        """The world is over and all is well: the recorder gets time to finish. It must."""
        monotonic_us = 5 * S + HORIZON * TICK_US
        recorder = self._recorder or Recorder(
            self.broker, self.bucket, self.witness, self._dice, monotonic_us
        )
        recorder.fuse = None
        ends = [len(self.broker.log(names.FRAGMENTS, n)) for n in range(PARTITIONS)]
        for turn in range(1, 200):
            recorder.turn(monotonic_us + turn * 20 * S, broker=True, store=True)
            if ends == [commit and commit.offset for commit in self.broker.commits]:
                return
        raise AssertionError("the recorder is stuck")

    # ---- what came of it

    def fragments(self, name: str) -> list[Fragment]:
        """All of the camera that the log has ever held, repeats included."""
        log = self.broker.ever.get((names.FRAGMENTS, names.partition_of(name, PARTITIONS)), [])
        return [one.value for one in log if isinstance(one.value, Fragment)]

    def torn(self) -> set[tuple[str, int]]:
        """(epoch, seq) of what was lost with a log's tail before anybody had stored it."""
        lost = [one.value for torn in self.broker.torn for _, one in torn]
        left = [one.value for n in range(PARTITIONS) for one in self.broker.log(names.FRAGMENTS, n)]
        out = {(f.info.epoch, f.info.seq) for f in lost if isinstance(f, Fragment)}
        out -= {(f.info.epoch, f.info.seq) for f in left if isinstance(f, Fragment)}
        return out - self.witness.announced

    def rotten(self, name: str) -> list[Fragment]:
        """Those of the camera that reached the log and could never be read."""
        log = self.broker.ever.get((names.FRAGMENTS, names.partition_of(name, PARTITIONS)), [])
        return [one.value.fragment for one in log if isinstance(one.value, Rotten)]

    def gone(self) -> set[tuple[str, int]]:
        """(epoch, seq) of what no recorder could read any more: the log had lost it first."""
        out = set[tuple[str, int]]()
        for n, beginning in enumerate(self.broker.beginnings):
            log = [one.value for one in self.broker.log(names.FRAGMENTS, n)]
            out |= {(f.info.epoch, f.info.seq) for f in log[:beginning] if isinstance(f, Fragment)}
        return out - self.witness.announced | self.torn()

    def announced(self, name: str) -> list[SegmentStored]:
        log = self.broker.log(names.SEGMENTS, names.partition_of(name, PARTITIONS))
        return [one.value for one in log if isinstance(one.value, SegmentStored)]

    def stored(self, stored: SegmentStored) -> list[Content]:
        """An object as read from the bucket."""
        return list(contents(self.bucket[stored.key].body[stored.init_bytes :]))


def _record(name: str, *, single_client: bool) -> Camera:
    url = "rtsp://10.0.0.1/1"
    return Camera(camera_id=name, name=name, url=url, single_client=single_client, updated_us=BEGUN_US)


def _revised(record: Camera, tick: int, news: set[str], *, enabled: bool, now_us: int) -> Camera:
    """The record's next revision, by the clock of whoever makes it; the first one is as it is."""
    dated_us = max(now_us, record.updated_us + bool(tick))
    revised = replace(record, enabled=enabled, revision=record.revision + bool(tick), updated_us=dated_us)
    if "renamed" in news:
        revised = replace(revised, name=f"{record.name}'", groups=("gates",), retention_days=7)
    if "changed" in news:
        revised = replace(revised, credential="other" if record.credential is None else None)
    return revised


def _clock_error_us(kind: Kind, dice: int) -> int:
    """By how much the host's clock goes wrong, or a broker's."""
    if kind == "skewed":
        return (dice % 19 - 9) * S // 10
    if kind == "stray":
        return ((dice % 2) * 2 - 1) * (15 + dice) * S // 10 * (60 if dice % 3 == 0 else 1)
    return (dice % 25 - 12) * S if kind == "stepped" else 0
