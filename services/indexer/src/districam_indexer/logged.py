"""How far the truth has got: the recorders' commits, told to the index once it holds all that was announced before them."""

from collections.abc import Iterable

from districam_common import names
from districam_common.kafka.consumer import Groups, Partition
from districam_common.redis_door import RedisAway
from districam_common.service import retrying
from districam_indexer.core.progress import log_us_of, progress
from districam_indexer.doors import Doors
from districam_indexer.index_writer import IndexChanged


async def run(doors: Doors) -> None:
    """Every `progress_s`, until the service stops."""
    await retrying(lambda: _look_repeatedly(doors), doors.runtime, "kafka")


async def _look_repeatedly(doors: Doors) -> None:
    async with Groups.open(doors.settings.kafka, client_id=doors.runtime.instance) as groups:
        while not doors.runtime.stopping.is_set():
            try:
                meta = await doors.index.meta()
                if meta is not None and meta.is_ready:
                    await look(doors, groups, build=meta.build, partitions=meta.partitions)
            except RedisAway as error:
                doors.runtime.health.failing("redis", str(error))
            except IndexChanged:
                pass  # the next look sees the new one
            await doors.runtime.stops_within(doors.settings.indexer.progress_s)


async def look(doors: Doors, groups: Groups, *, build: str, partitions: int) -> None:
    """One look: the recorders' commits, then the ends of what they and the ingests announced, then what is applied.

    Nothing of it is of use to an index that was made for another number of `partitions` of `fragments`.

    Raises:
        IndexChanged, Retriable: nothing was written.
    """
    fragments = await groups.partitions(names.FRAGMENTS)
    segments, streams = await groups.partitions(names.SEGMENTS), await groups.partitions(names.STREAMS)
    if len(fragments) != partitions:
        return
    told = await _told(groups, fragments)
    ends = await groups.ends([*segments, *streams])
    await doors.writer.log_reached(
        lambda applied, logged: progress(told, {**ends}, applied, logged, count=len(segments)), build=build
    )


async def _told(groups: Groups, fragments: Iterable[Partition]) -> dict[int, int]:
    commits = await groups.committed(names.RECORDER_GROUP, fragments)
    read = {p.number: log_us_of(commit.metadata) for p, commit in commits.items() if commit is not None}
    return {number: log_us for number, log_us in read.items() if log_us is not None}
