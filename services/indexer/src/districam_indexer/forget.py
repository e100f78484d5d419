"""`districam-indexer forget SCHEMA`: removes from Redis the index of another schema, once nobody writes it any more."""

from districam_common.contract import names
from districam_common.errors import Fatal, Retriable
from districam_common.index.redis_client import open_redis
from districam_common.kafka.consumer import KafkaInspector
from districam_indexer.index_state import IndexState
from districam_indexer.settings import Settings


async def main(settings: Settings, schema: str) -> int:
    """The exit code: 0 removed.

    Raises:
        Retriable: a server is away, or that index is still written.
        Fatal: it is not to be removed.
    """
    if not schema.isdecimal() or not schema.isascii() or schema.startswith("0"):
        raise Fatal(f"{schema[:20]!r} is no schema: a number from 1 on, as in the keys dc1:…")
    if schema == names.SCHEMA:
        raise Fatal(f"schema {schema} is that of this version: districam-indexer rebuild makes it anew")
    print(f"{await _delete_schema(settings, schema)} keys of schema {schema} removed")
    return 0


async def _delete_schema(settings: Settings, schema: str) -> int:
    """Raises Retriable while an indexer of that schema runs: it would build its index anew at once."""
    group = names.indexer_group_of(schema)
    async with KafkaInspector.open(settings.kafka) as inspector, open_redis(settings.redis) as redis:
        if members := await inspector.member_count(group):
            raise Retriable(f"{members} indexers of schema {schema} are running (group {group}): stop them first")
        return await IndexState(redis).delete_schema(schema)
