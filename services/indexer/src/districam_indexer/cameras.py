"""Follows `cameras`: every replica reads the whole topic from its start, and goes on reading. Writing twice is harmless.

Up to where it has written stands in `dc1:applied`, in the transaction of what it stands for. A Redis that came back without
its last second says less than was written: then the topic is read from its start again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from districam_common.contract import names
from districam_common.index.redis_door import RedisAway
from districam_common.kafka.consumer import Reader, Record
from districam_common.runtime.service import retrying
from districam_indexer.apply import Applier
from districam_indexer.core.progress import Place
from districam_indexer.doors import Doors
from districam_indexer.index_state import is_usable
from districam_indexer.index_writer import IndexChanged

log = structlog.get_logger()

_LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class _Written:
    """The index that is written to, and the next offset of each partition of which it holds anything."""

    build: str
    next: dict[Place, int] = field(default_factory=dict[Place, int])


async def run(doors: Doors) -> None:
    """Until the service stops; from the start again after trouble with Kafka, and for an index that is not the same."""
    while not doors.runtime.stopping.is_set():
        await retrying(lambda: _follow(doors), doors.runtime, "kafka")


async def _follow(doors: Doors) -> None:
    """From the start of the topic, until the service stops, or the index is another one, or is set back."""
    build = await _usable_build(doors)
    async with Reader.open(doors.settings.kafka, [names.CAMERAS], client_id=doors.runtime.instance) as reader:
        applier, written = Applier(doors), _Written(build)
        while not doors.runtime.stopping.is_set():
            records = await reader.read_all()
            doors.runtime.health.ok("kafka")
            try:
                await _write(doors, applier, written, records)
            except IndexChanged as change:
                log.warning("cameras are read again", why=str(change))
                return
            await doors.runtime.stops_within(_LOOK_EVERY_S)


async def _usable_build(doors: Doors) -> str:
    """Waits for an index that can be written to; empty if the service stops before there is one."""
    while not doors.runtime.stopping.is_set():
        try:
            meta = await doors.index.meta()
        except RedisAway as error:
            doors.runtime.health.failing("redis", str(error))
        else:
            if meta is not None and is_usable(meta):
                return meta.build
        await doors.runtime.stops_within(_LOOK_EVERY_S)
    return ""


async def _write(doors: Doors, applier: Applier, written: _Written, records: Sequence[Record]) -> None:
    """These records, a batch at a time; then makes sure that all that was ever written is still there.

    Raises:
        IndexChanged: it is not, or it is another index.
    """
    size = doors.settings.indexer.batch_records
    for some in (*(records[n : n + size] for n in range(0, len(records), size)), ()):
        while not await _is_written(doors, applier, written, some):
            if await doors.runtime.stops_within(_LOOK_EVERY_S):
                return


async def _is_written(doors: Doors, applier: Applier, written: _Written, some: Sequence[Record]) -> bool:
    after: dict[Place, int] = {(one.topic, one.partition): one.next_offset for one in some}
    moves = {place: (written.next.get(place, 0), at) for place, at in after.items()}
    try:
        if some:
            await applier.apply(some, build=written.build, moves=moves)
            written.next.update(after)
        else:
            await doors.writer.confirm(written.next, build=written.build)
    except RedisAway as error:
        doors.runtime.health.failing("redis", str(error))
        return False
    doors.runtime.health.ok("redis")
    return True
