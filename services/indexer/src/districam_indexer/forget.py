"""`districam-indexer forget SCHEMA`: deletes another schema's index from Redis if no indexer writes it."""

from districam_common.contract import names
from districam_common.errors import Fatal, Retriable
from districam_common.index.redis_client import open_redis
from districam_common.kafka.consumer import KafkaInspector
from districam_indexer.index_store.index_state import IndexState
from districam_indexer.settings import Settings


async def main(settings: Settings, schema: str) -> int:
    """Deletes the index; returns the exit code 0.

    Raises:
        Retriable: a server is unavailable, or indexers of that schema are running.
        Fatal: not a schema, or the one of this version.
    """
    if not schema.isdecimal() or not schema.isascii() or schema.startswith("0"):
        raise Fatal(f"{schema[:20]!r} is not a schema; expected a number from 1 on, as in the keys dc1:…")
    if schema == names.SCHEMA:
        raise Fatal(f"schema {schema} is the one of this version; use districam-indexer rebuild to rebuild it")
    print(f"{await _delete_schema(settings, schema)} keys of schema {schema} removed")
    return 0


async def _delete_schema(settings: Settings, schema: str) -> int:
    """Raises Retriable while an indexer of that schema runs, since it would rebuild the index at once."""
    group = names.indexer_group_of(schema)
    async with KafkaInspector.open(settings.kafka) as inspector, open_redis(settings.redis) as redis:
        if members := await inspector.member_count(group):
            raise Retriable(f"{members} indexers of schema {schema} are running (group {group}): stop them first")
        return await IndexState(redis).delete_schema(schema)
