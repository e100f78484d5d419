"""The send log: one line for each access unit that the simulated cameras sent.

An access unit is in the log if all its bytes left this process for at least one client: they were written to a
connection and its buffer was flushed past them. Bytes left in the buffer of an aborted or lost connection do not
count. Bytes handed to the operating system count, although a client that died may not have read them: for such a
client the access unit is within the following gap.

Line: `camera number sent_us K|- connection[,connection…]`; `~` after a connection's number means that this
connection had not been sent a keyframe yet.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class SentPicture:
    """One sent access unit; `sent_us` is the time of its first packet, µs UTC.

    `before_first_keyframe`: it is no keyframe, and no connection that it was sent to had been sent one
    before.
    """

    camera_id: str
    number: int
    sent_us: int
    is_keyframe: bool
    connections: tuple[int, ...]
    before_first_keyframe: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """A connection that got an access unit, and whether it still waits for its first keyframe."""

    connection: int
    before_first_keyframe: bool


class SendLog:
    """Appends lines; each is in the file once `write` returns."""

    __slots__ = ("_file",)

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(
        self, camera_id: str, number: int, sent_us: int, *, is_keyframe: bool, sent_to: Sequence[Recipient]
    ) -> None:
        if self._file is None:
            return
        connections = ",".join(f"{to.connection}{'~' if to.before_first_keyframe else ''}" for to in sent_to)
        self._file.write(f"{camera_id} {number} {sent_us} {'K' if is_keyframe else '-'} {connections}\n")


@contextmanager
def open_send_log(path: Path | None) -> Generator[SendLog]:
    """Opens a new log at `path`, replacing an older one; without a path nothing is kept."""
    if path is None:
        yield SendLog(None)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii", buffering=1) as file:  # line buffered: a killed simulator loses no line
        yield SendLog(file)


def read_send_log(path: Path) -> list[SentPicture]:
    """Returns every complete line, in file order (numbers rise per camera). Raises ValueError on other lines."""
    text = path.read_text(encoding="ascii")
    whole = text[: text.rfind("\n") + 1]  # the simulator may still be writing the last line
    return [_parse(line) for line in whole.splitlines()]


def _parse(line: str) -> SentPicture:
    camera_id, number, sent_us, flag, connections = line.split(" ")
    names = connections.split(",")
    return SentPicture(
        camera_id,
        int(number),
        int(sent_us),
        flag == "K",
        tuple(int(name.removesuffix("~")) for name in names),
        all(name.endswith("~") for name in names),
    )
