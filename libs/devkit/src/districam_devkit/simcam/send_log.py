"""The send log: which access units the simulated cameras sent, one line each.

An access unit is in the log if all its bytes left this process for at least one client: they were written to a
connection and its buffer was flushed past them. What still stood in the buffer of a connection that was aborted
or lost does not count. What was handed to the operating system does, although a client that has died cannot
have read it: for such a client it lies within the gap that follows.

Line: `camera number sent_us K|- connection[,connection…]`; `~` behind a connection's number says that this
connection had not been sent a keyframe yet.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class SentPicture:
    """One access unit that was sent; `sent_us` is microseconds UTC, when its first packet left.

    `before_first_keyframe`: no connection that it was sent to had been sent a keyframe before it, nor was it one.
    """

    camera_id: str
    number: int
    sent_us: int
    is_keyframe: bool
    connections: tuple[int, ...]
    before_first_keyframe: bool


@dataclass(frozen=True, slots=True)
class Recipient:
    """A connection that received an access unit, and whether it still waits for its first keyframe."""

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
    """A new log at `path` (an older one is replaced); without a path, nothing is kept."""
    if path is None:
        yield SendLog(None)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii", buffering=1) as file:  # a line a write: a killed simulator loses none
        yield SendLog(file)


def read_send_log(path: Path) -> list[SentPicture]:
    """Every whole line, in the order written (per camera: rising numbers). Raises ValueError on any other line."""
    text = path.read_text(encoding="ascii")
    whole = text[: text.rfind("\n") + 1]  # the simulator may be writing the last line
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
