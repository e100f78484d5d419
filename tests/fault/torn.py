"""Truncated Kafka logs: a broker restarts without its last records."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from districam_common.contract import names
from fault.scene import Scene
from support.truncated_log import log_end_offset, truncate_tail

LOST = {names.FRAGMENTS: 4, names.SEGMENTS: 2}
"""How many records of each partition with footage are lost."""
LOST_S = 10
"""How much footage that is: the fragments of a GOP, and the one being sent."""


async def tail_cut(scene: Scene, with_it: Sequence[str] = ()) -> None:
    """The broker stops, loses the ends of its logs and restarts while ingest runs on. `with_it` are stopped meanwhile.

    Raises:
        AssertionError: there was nothing to lose, or a log did not grow beyond its old end.
    """
    broker, data = scene.servers.kafka.child, _data(scene)
    services = [scene.pipeline[name].child for name in with_it]
    for child in (*services, broker):
        await child.kill()
    before = _truncate_all(data)
    await broker.start()
    for child in services:
        await asyncio.sleep(3)  # meanwhile ingest publishes, and the log grows beyond its old end
        await child.start()
    async with asyncio.timeout(60):
        while not all(log_end_offset(data, *place) > end for place, end in before.items()):
            await asyncio.sleep(0.2)


def _truncate_all(data: Path) -> dict[tuple[str, int], int]:
    """Truncates all partitions with footage; returns their former end offsets."""
    before: dict[tuple[str, int], int] = {}
    for topic, lost in LOST.items():
        for folder in data.glob(f"{topic}-*"):
            number = int(folder.name.rpartition("-")[2])
            end = log_end_offset(data, topic, number)
            if end > lost:
                before[topic, number] = end
                truncate_tail(data, topic, number, end - lost)
    if len(before) < len(LOST):
        raise AssertionError(f"nothing to lose in {data}")
    return before


def _data(scene: Scene) -> Path:
    return scene.send_log.parent / "kafka" / "data"
