"""Files that are complete or absent: written to a partial file, which is renamed at the end."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from districam_client.errors import CommandError

PARTIAL_SUFFIX = ".part"
_FILENAME = re.compile(r'filename="([A-Za-z0-9][A-Za-z0-9._-]*)"')


def target(output: Path | None, disposition: str, fallback: str, *, force: bool) -> Path:
    """Where to write: `output`, inside it if it is a folder, or this folder, under the name that the api gives.

    Raises:
        CommandError: the file exists already, or its folder does not.
    """
    match = _FILENAME.search(disposition)
    name = match[1] if match else fallback
    path = Path(name) if output is None else output / name if output.is_dir() else output
    if path.exists() and not force:
        raise CommandError(f"{path} exists already; --force replaces it")
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {path.parent}")
    return path


def numbered(output: Path | None, number: int) -> Path | None:
    """The name of one of several: `clip.mp4` becomes `clip-1.mp4`."""
    if output is None or output.is_dir():
        return output
    return output.with_name(f"{output.stem}-{number}{output.suffix}")


@contextmanager
def open_atomic(path: Path) -> Generator[BinaryIO]:
    """A file that becomes `path` if the block succeeds, and is removed otherwise.

    Raises:
        CommandError: it cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        try:
            with partial.open("wb") as out:
                yield out
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error
