"""The file of API keys: read, re-read when it changes, and replaced as a whole."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from districam_api.core.keys import Key, verify_key

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _File:
    keys: list[Key]


_FILE_ADAPTER = TypeAdapter(_File)


def read(file: Path) -> list[Key]:
    """The keys in the file.

    Raises:
        ValueError: it cannot be read, or is malformed; the message shows none of its content.
    """
    try:
        found = _FILE_ADAPTER.validate_json(file.read_bytes(), extra="forbid").keys
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{file} is not a key file of `districam-api keys`: {field or 'content'}: {first['msg']}"
        ) from None
    if len({key.id for key in found}) < len(found):
        raise ValueError(f"{file} has two keys with the same id; remove one")
    return found


def write(file: Path, keys: Iterable[Key]) -> None:
    """Replaces the file atomically, with mode 0600.

    Raises:
        OSError: the folder cannot be written to.
    """
    text = _FILE_ADAPTER.dump_json(_File(list(keys)), indent=2) + b"\n"
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def exclusive_lock(file: Path) -> Generator[None]:
    """Serialises `keys` commands, so that none overwrites another's change. Locks the folder.

    Raises:
        OSError: the folder does not exist.
    """
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


class KeyRing:
    """The API keys, reloaded from their file."""

    def __init__(self, file: Path) -> None:
        """Reads the file. Raises ValueError."""
        self._file = file
        self._stamp = _stamp(file)
        self._keys = {key.id: key for key in read(file)}

    def verify(self, text: str) -> Key | None:
        """The active key with this text, or None."""
        return verify_key(self._keys, text)

    def active_key(self, key_id: str) -> Key | None:
        """The active key with this id, or None."""
        key = self._keys.get(key_id)
        return key if key and key.revoked_us is None else None

    def refresh(self) -> None:
        """Reads the file again if it has changed; the old keys stay valid if that fails. Blocking."""
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = {key.id: key for key in read(self._file)}
        except ValueError as error:
            log.error("API keys not reloaded", why=str(error))
        else:
            log.info("API keys reloaded", keys=sum(key.revoked_us is None for key in self._keys.values()))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
