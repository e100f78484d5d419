"""`districam-indexer forget SCHEMA`: removes from Redis the index of another schema, once nobody writes it any more."""

import asyncio
import sys

from districam_common import names
from districam_common.errors import Fatal, Retriable
from districam_common.kafka.consumer import Groups
from districam_common.redis_door import open_redis
from districam_indexer.index_state import IndexState
from districam_indexer.settings import Settings

DONE, NOT_DONE, REFUSED = 0, 1, 3


def main(settings: Settings, schema: str) -> int:
    """Gives the exit code: 0 removed; 1 a server is away, or that index is still written; 3 refused."""
    if not schema.isdecimal() or not schema.isascii() or schema.startswith("0"):
        return _failed(f"{schema[:20]!r} is no schema: a number from 1 on, as in the keys dc1:…", REFUSED)
    if schema == names.SCHEMA:
        return _failed(
            f"schema {schema} is that of this version: districam-indexer rebuild makes it anew", REFUSED
        )
    try:
        count = asyncio.run(_forgotten(settings, schema))
    except Fatal as error:
        return _failed(str(error), REFUSED)
    except Retriable as error:
        return _failed(str(error), NOT_DONE)
    print(f"{count} keys of schema {schema} removed")
    return DONE


async def _forgotten(settings: Settings, schema: str) -> int:
    """Raises Retriable while an indexer of that schema runs: it would build its index anew at once."""
    group = names.indexer_group_of(schema)
    async with Groups.open(settings.kafka) as groups, open_redis(settings.redis) as redis:
        if members := await groups.members(group):
            raise Retriable(
                f"{members} indexers of schema {schema} are running (group {group}): stop them first"
            )
        return await IndexState(redis).forget(schema)


def _failed(why: str, code: int) -> int:
    print(f"districam-indexer: {why}", file=sys.stderr)
    return code
