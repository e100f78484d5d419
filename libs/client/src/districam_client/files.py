"""Files that are either whole or not there: written beside their name and put in its place at the end."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from districam_client.errors import Ended

PART = ".part"
_NAMED = re.compile(r'filename="([A-Za-z0-9][A-Za-z0-9._-]*)"')


def target(wanted: Path | None, disposition: str, fallback: str, *, force: bool) -> Path:
    """Where to put it: `wanted`, in it if that is a folder, or here, under the name that the api gives.

    Raises:
        Ended: it is there already, or its folder is not.
    """
    match = _NAMED.search(disposition)
    name = match[1] if match else fallback
    path = Path(name) if wanted is None else wanted / name if wanted.is_dir() else wanted
    if path.exists() and not force:
        raise Ended(f"{path} is there already; --force replaces it")
    if not path.parent.is_dir():
        raise Ended(f"there is no folder {path.parent}")
    return path


def numbered(wanted: Path | None, number: int) -> Path | None:
    """The name of one of several: `clip.mp4` becomes `clip-1.mp4`."""
    if wanted is None or wanted.is_dir():
        return wanted
    return wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")


@contextmanager
def written(path: Path) -> Generator[BinaryIO]:
    """A file that becomes `path` if the block ends well, and else is gone.

    Raises:
        Ended: it cannot be written.
    """
    part = path.with_name(path.name + PART)
    try:
        try:
            with part.open("wb") as out:
                yield out
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Ended(f"{path} cannot be written: {error.strerror or error}") from error
