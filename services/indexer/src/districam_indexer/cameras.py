"""Follows `cameras`: every replica reads the whole topic from its start, and goes on reading. Writing twice is harmless."""

from collections.abc import Sequence

from districam_common import names
from districam_common.kafka.consumer import Reader, Record
from districam_common.redis_door import RedisAway
from districam_common.service import retrying
from districam_indexer.apply import Applier
from districam_indexer.doors import Doors
from districam_indexer.index_state import is_usable
from districam_indexer.index_writer import IndexChanged

_LOOK_EVERY_S = 1.0


async def run(doors: Doors) -> None:
    """Until the service stops; from the start again after trouble with Kafka."""
    await retrying(lambda: _follow(doors), doors.runtime, "kafka")


async def _follow(doors: Doors) -> None:
    async with Reader.open(doors.settings.kafka, [names.CAMERAS], client_id=doors.runtime.instance) as reader:
        applier = Applier(doors)
        while not doors.runtime.stopping.is_set():
            records = await reader.read_all()
            doors.runtime.health.ok("kafka")
            await _write(doors, applier, records)
            await doors.runtime.stops_within(_LOOK_EVERY_S)


async def _write(doors: Doors, applier: Applier, records: Sequence[Record]) -> None:
    """Into whichever index there is; waits while there is none."""
    batch = doors.settings.indexer.batch_records
    for n in range(0, len(records), batch):
        while not await _is_written(doors, applier, records[n : n + batch]):
            if await doors.runtime.stops_within(_LOOK_EVERY_S):
                return


async def _is_written(doors: Doors, applier: Applier, records: Sequence[Record]) -> bool:
    try:
        meta = await doors.index.meta()
        if meta is None or not is_usable(meta):
            return False
        await applier.apply(records, build=meta.build)
    except IndexChanged:
        return False
    except RedisAway as error:
        doors.runtime.health.failing("redis", str(error))
        return False
    doors.runtime.health.ok("redis")
    return True
