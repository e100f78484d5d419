"""The cameras' user names and passwords, from a mounted YAML file: `{name: {username, password}}`. Never logged."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import yaml

from districam_common.errors import Retriable


@dataclass(frozen=True, slots=True)
class Credential:
    """What a camera asks for."""

    username: str
    password: str = field(repr=False)


class Credentials:
    """The file's entries; read again when it has changed (a mounted secret is replaced in place)."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Credential] = {}

    def find(self, name: str) -> Credential | None:
        """The entry of that name; None if there is none. Looks at the file (a `stat`, and a small read on change).

        Raises:
            Retriable: the file cannot be read or is not what it should be; the message has no content of it.
        """
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp != self._stamp:
                self._entries = parse(self._file.read_text(encoding="utf-8"))
                self._stamp = stamp
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = error if isinstance(error, OSError) else "it is not {name: {username, password}} in YAML"
            raise Retriable(f"the credentials' file {self._file}: {why}") from None
        return self._entries.get(name)


def parse(text: str) -> dict[str, Credential]:
    """The entries of a credentials' file.

    Raises:
        ValueError: it is something else; without what it holds.
    """
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError("not YAML") from None
    if not isinstance(document, dict):
        raise ValueError("not a mapping")  # noqa: TRY004  # one kind of problem
    return {str(name): _credential(entry) for name, entry in cast("dict[object, object]", document).items()}


def _credential(entry: object) -> Credential:
    fields = cast("dict[object, object]", entry) if isinstance(entry, dict) else {}
    username, password = fields.get("username"), fields.get("password")
    if set(fields) != {"username", "password"} or username is None or password is None:
        raise ValueError("an entry has other fields than username and password")
    return Credential(str(username), str(password))
