"""What befalls Kafka's logs: a broker that comes back without what it took last."""

import asyncio
from pathlib import Path

from districam_common import names
from fault.scene import Scene
from support.torn_log import end_of, tear

LOST = {names.FRAGMENTS: 4, names.SEGMENTS: 2}
"""How many records of each partition that has footage are lost."""


async def tail_cut(scene: Scene) -> None:
    """The broker stops, the ends of its logs are gone, it comes back; everybody else goes on.

    Raises:
        AssertionError: there was nothing to lose, or a log did not grow beyond where it had been.
    """
    broker, data = scene.servers.kafka.child, _data(scene)
    await broker.kill()
    before = _torn(data)
    await broker.start_again()
    async with asyncio.timeout(60):
        while not all(end_of(data, *place) > end for place, end in before.items()):
            await asyncio.sleep(0.2)


def _torn(data: Path) -> dict[tuple[str, int], int]:
    """Takes the ends of all partitions that have footage. Gives where they had ended."""
    before: dict[tuple[str, int], int] = {}
    for topic, lost in LOST.items():
        for folder in data.glob(f"{topic}-*"):
            number = int(folder.name.rpartition("-")[2])
            end = end_of(data, topic, number)
            if end > lost:
                before[topic, number] = end
                tear(data, topic, number, end - lost)
    if len(before) < len(LOST):
        raise AssertionError(f"nothing to lose in {data}")
    return before


def _data(scene: Scene) -> Path:
    return scene.send_log.parent / "kafka" / "data"
