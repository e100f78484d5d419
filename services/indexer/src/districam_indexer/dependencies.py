"""Shared objects of the indexer's loops."""

from dataclasses import dataclass

from districam_common.index.index_reader import IndexReader
from districam_common.kafka.producer import Publisher
from districam_common.runtime.service import Runtime
from districam_common.s3.versioned_bucket import VersionedBucket
from districam_indexer.core.hold_rules import AnnouncedIntervals
from districam_indexer.index_store.eviction import Evictor
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.index_store.index_writer import IndexWriter
from districam_indexer.settings import Settings


@dataclass(frozen=True, slots=True)
class Dependencies:
    """One instance for the process.

    Attributes:
        streams_until_us: last append time at which `expired` is accepted on `streams`
            (`districam_common.s3.cutover`).
    """

    settings: Settings
    runtime: Runtime
    publisher: Publisher
    index: IndexReader
    writer: IndexWriter
    state: IndexState
    evictor: Evictor
    bucket: VersionedBucket
    announced_intervals: AnnouncedIntervals
    streams_until_us: int
