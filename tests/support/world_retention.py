"""A simulated site over days: one camera that never fails, retention by a byte budget, and losses of the index.

All decisions are made by the real code. A tick is a quarter of an hour.
"""

import json
from dataclasses import dataclass, field, replace
from random import Random

from districam_common.contract import names
from districam_common.contract.events import Camera, Connected, FootageExpired, SegmentStored
from districam_common.contract.names import DAY_US, HOUR_US, entry_of, segment_object_key
from districam_common.ledger.intervals import merge
from districam_common.ledger.ledger import LedgerInputs, State, ledger
from districam_indexer.core.expired_validation import rejection_reason
from districam_indexer.core.operations import to_batch
from districam_indexer.core.plan import is_covered, plan_entry, plan_event
from districam_recorder.core.progress import Commit
from support.fragments import epoch_id
from support.world_broker import PARTITIONS, Broker
from support.world_index import CAMERAS_PARTITION, TOPIC_PARTITIONS, Indexer

CAMERA = "gate"
PARTITION = names.partition_of(CAMERA, PARTITIONS)
TICK_US = HOUR_US // 4
ARCHIVE_START_US = 1_790_000_000_000_000 // DAY_US * DAY_US
RECORD = Camera(camera_id=CAMERA, name="Gate", url="rtsp://10.0.0.1/", updated_us=ARCHIVE_START_US, revision=1)
RETENTION_US = DAY_US + 2 * HOUR_US
REBUILD_TICKS = 6
"""Ticks for which a rebuilt index is observed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger of the whole past as computed at an instant."""

    now_us: int
    states: list[State]


@dataclass
class Archive:
    """Runs to its end on construction.

    Attributes:
        index_lost_at: ticks at which Redis loses all data and the index is rebuilt.
        streams_until_us: until when retention publishes on `streams`.
    """

    rng: Random
    index_lost_at: frozenset[int] = frozenset()
    ticks: int = 200
    streams_until_us: int = 0
    broker: Broker = field(default_factory=Broker)
    bucket: dict[str, SegmentStored] = field(default_factory=dict[str, SegmentStored])
    snapshots: list[Snapshot] = field(default_factory=list[Snapshot])

    def __post_init__(self) -> None:
        self.broker.now_us = ARCHIVE_START_US
        self.broker.append(*CAMERAS_PARTITION, RECORD)
        connected = Connected(
            camera_id=CAMERA, at_us=ARCHIVE_START_US, instance="i", epoch=epoch_id(1), reader="native", transport="tcp", codecs="avc1",
            width=64, height=48,
        )  # fmt: skip
        self.broker.append(names.STREAMS, PARTITION, connected)
        self.indexer = Indexer(self.broker, self.rng)
        for tick in range(1, self.ticks):
            self.broker.now_us = ARCHIVE_START_US + tick * TICK_US
            if tick in self.index_lost_at:
                self._rebuild()
            self._record(tick)
            self.indexer.run_tick(reads_topics=True)
            self._expire()
            self._snapshot()

    def _record(self, tick: int) -> None:
        """Stores, announces and commits the last quarter of an hour."""
        start_us, end_us = self.broker.now_us - TICK_US, self.broker.now_us
        stored = SegmentStored(
            camera_id=CAMERA, epoch=epoch_id(1), first_seq=tick, last_seq=tick, start_us=start_us, end_us=end_us, bytes=9,
            init_bytes=1, access_units=1, lost_packets=0, damaged=0, codecs="avc1", width=64, height=48,
            starts_with_keyframe=True, bucket="b", key="", sha256="",
        )  # fmt: skip
        stored = replace(stored, key=segment_object_key(CAMERA, entry_of(stored)))
        self.bucket[stored.key] = stored
        self.broker.append(names.SEGMENTS, PARTITION, stored)
        self.broker.commits[PARTITION] = Commit(0, json.dumps({"log_us": end_us}))

    def _expire(self) -> None:
        """Publishes the expiry, writes it to the index, then deletes the objects."""
        edge_us = (self.broker.now_us - RETENTION_US) // HOUR_US * HOUR_US
        if edge_us <= ARCHIVE_START_US or self.rng.random() < 0.5:
            return
        event = FootageExpired(
            camera_id=CAMERA, at_us=self.broker.now_us, instance="i", from_us=ARCHIVE_START_US, to_us=edge_us, reason="budget"
        )  # fmt: skip
        topic = names.STREAMS if self.broker.now_us <= self.streams_until_us else names.RETENTION
        append_us = self.broker.append(topic, PARTITION, event)
        assert rejection_reason(event, topic, append_us, self.streams_until_us) is None
        self.indexer.index.apply(to_batch(plan_event(event, append_us)))
        expired = merge([(event.from_us, event.to_us)])
        expired_keys = [key for key, one in self.bucket.items() if is_covered((one.start_us, one.end_us), expired)]
        for key in expired_keys:
            del self.bucket[key]

    def _rebuild(self) -> None:
        """Rebuilds the empty index from a listing of the bucket; consumers resume the topics from their start offsets."""
        self.indexer = Indexer(self.broker, self.rng)
        for one in self.bucket.values():
            self.indexer.index.apply(to_batch(plan_entry(CAMERA, entry_of(one))))
        ends = {place: len(self.broker.log(*place)) for place in TOPIC_PARTITIONS}
        self.indexer.applied_offsets = {place: end for place, end in ends.items() if place[0] == names.SEGMENTS}
        for _ in range(REBUILD_TICKS):
            self.indexer.run_tick(reads_topics=True)
            self._snapshot()

    def _snapshot(self) -> None:
        index = self.indexer.index
        known = LedgerInputs(
            revisions=index.revisions(CAMERA),
            segments=index.segments(CAMERA),
            events=index.events(CAMERA),
            log_us=self.indexer.watermarks_us.get(PARTITION, 0),
        )
        states = ledger((ARCHIVE_START_US, self.broker.now_us), known, now_us=self.broker.now_us)
        self.snapshots.append(Snapshot(self.broker.now_us, states))
