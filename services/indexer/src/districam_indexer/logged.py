"""How far the truth has got: the recorders' commits, told to the index once it holds all that was announced before them."""

from collections.abc import Iterable, Mapping, Sequence

from districam_common.contract import names
from districam_common.index.redis_door import RedisAway
from districam_common.kafka.consumer import Groups, Partition
from districam_common.kafka.marks import Mark
from districam_common.runtime.service import retrying
from districam_indexer.consume import Consumption
from districam_indexer.core.progress import Place, log_us_of, places_of, progress
from districam_indexer.doors import Doors
from districam_indexer.index_writer import IndexChanged


async def run(doors: Doors, consumption: Consumption) -> None:
    """Every `progress_s`, until the service stops, for the partitions whose announcements this replica indexes."""
    await retrying(lambda: _look_repeatedly(doors, consumption), doors.runtime, "kafka")


async def _look_repeatedly(doors: Doors, consumption: Consumption) -> None:
    async with Groups.open(doors.settings.kafka, client_id=doors.runtime.instance) as groups:
        while not doors.runtime.stopping.is_set():
            try:
                meta = await doors.index.meta()
                if meta is not None and meta.is_ready:
                    await look(
                        doors,
                        groups,
                        build=meta.build,
                        partitions=meta.partitions,
                        ours=consumption.segment_partitions,
                    )
            except RedisAway as error:
                doors.runtime.health.failing("redis", str(error))
            except IndexChanged:
                pass  # the next look sees the new one
            await doors.runtime.stops_within(doors.settings.indexer.progress_s)


async def look(
    doors: Doors, groups: Groups, *, build: str, partitions: int, ours: frozenset[int] | None = None
) -> None:
    """One look: the recorders' commits, then the ends of what they and the ingests announced, then what is applied.

    Nothing of it is of use to an index that was made for another number of `partitions` of `fragments`. Of those only the
    ones are looked at whose announcements come in partitions `ours` of `segments`; None: all. A commit has up to 4 KiB, and
    replicas need not each read all of them. A log that has not what was applied of it is another one: how far it goes says
    nothing until it has been read again.

    Raises:
        IndexChanged, Retriable: nothing was written.
    """
    if ours is not None and not ours:
        return
    fragments = await groups.partitions(names.FRAGMENTS)
    told_on = [await groups.partitions(topic) for topic in (names.SEGMENTS, names.STREAMS, names.RETENTION)]
    if len(fragments) != partitions:
        return
    count = len(told_on[0])
    wanted = [one for one in fragments if ours is None or one.number % count in ours]
    places = {place for one in wanted for place in places_of(one.number, count)}
    told = await _told(groups, wanted)
    ends = await groups.ends([one for topic in told_on for one in topic if tuple(one) in places])
    sure = await groups.sure(_lasts(ends, await doors.writer.marks()))
    ends = {place: end for place, end in ends.items() if place in sure}
    await doors.writer.log_reached(
        lambda applied, logged: progress(told, {**ends}, applied, logged, count=count), build=build
    )


def _lasts(places: Iterable[Partition], read: Mapping[Place, Sequence[Mark]]) -> dict[Partition, Mark | None]:
    """The last record that was applied of each."""
    return {place: next(iter(read.get(place, ())), None) for place in places}


async def _told(groups: Groups, fragments: Iterable[Partition]) -> dict[int, int]:
    commits = await groups.committed(names.RECORDER_GROUP, fragments)
    read = {p.number: log_us_of(commit.metadata) for p, commit in commits.items() if commit is not None}
    return {number: log_us for number, log_us in read.items() if log_us is not None}
