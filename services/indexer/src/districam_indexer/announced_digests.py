"""The announced sha256 of each object, from the topic `segments`; on disk, since there are millions."""

import hashlib
import sqlite3
import tempfile
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from districam_common.contract import names, wire
from districam_common.errors import Rejected, Retriable
from districam_common.kafka.consumer import Record, TopicReader
from districam_common.runtime.settings import KafkaSettings

log = structlog.get_logger()


class AnnouncedDigests:
    """Object key → sha256. The first announcement of a key counts; a later one cannot legitimise other bytes."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE announced (key BLOB PRIMARY KEY, sha256 TEXT) WITHOUT ROWID")

    @classmethod
    @contextmanager
    def open(cls) -> Generator["AnnouncedDigests"]:
        """Opens an empty database in a temporary folder; it takes about 60 bytes for each object."""
        with (
            tempfile.TemporaryDirectory(prefix="districam-check-") as folder,
            closing(sqlite3.connect(Path(folder, "announced.db"), isolation_level=None)) as database,
        ):
            database.execute("PRAGMA journal_mode=OFF")
            database.execute("PRAGMA synchronous=OFF")
            yield cls(database)

    def __len__(self) -> int:
        return self._database.execute("SELECT count(*) FROM announced").fetchone()[0]

    def add(self, digests: Iterable[tuple[str, str]]) -> None:
        """Adds (key, hex digest) of announcements, in the order of the log."""
        rows = [(_hash_key(key), sha256) for key, sha256 in digests]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO announced VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def sha256(self, key: str) -> str | None:
        """The announced digest of a key (hex); None if the log does not have it."""
        row = self._database.execute("SELECT sha256 FROM announced WHERE key = ?", (_hash_key(key),)).fetchone()
        return None if row is None else row[0]

    async def read(self, kafka: KafkaSettings) -> None:
        """Reads all of `segments`.

        Raises:
            Retriable: the broker is unavailable or cannot read its log.
        """
        async with TopicReader.open(kafka, [names.SEGMENTS], client_id="districam-check") as reader:
            async for records in reader.batches():
                self.add(pair for record in records if (pair := _decode_announcement(record)))


def _hash_key(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _decode_announcement(record: Record) -> tuple[str, str] | None:
    try:
        stored = wire.decode_stored(record.key, record.headers, record.value)
    except (Rejected, Retriable) as error:
        log.warning("unreadable announcement ignored", partition=record.partition, offset=record.offset, why=str(error))
        return None
    return stored.key, stored.sha256
