"""How long a connection may keep the api waiting, judged from looks at it that are a moment apart."""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["head", "body", "answer"]
"""What is awaited: a request's head, the rest of its body, or our own answer."""
TimeoutCause = Literal["head", "body", "reader"]

MIN_PROGRESS_BYTES = 64 << 10
"""Who takes that much within the time for a piece is slow, and not asleep: 1.1 kB/s in a minute."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The time for a head, and again for a body; and the time for a piece of an answer to be taken."""

    request_us: int
    reader_us: int


class ConnectionDeadline:
    """One connection.

    Attributes:
        _phase, _since_us: what is awaited, and since when.
        _untaken, _taken_us: bytes of answers that the client had still to take when it last took a piece, and when
            that was.
    """

    def __init__(self, deadlines: Deadlines, now_us: int) -> None:
        self._deadlines = deadlines
        self._phase: Phase = "head"
        self._since_us = now_us
        self._unsent_bytes = 0
        self._progress_us = now_us

    def on_response_complete(self, now_us: int) -> None:
        """Notes that an answer is complete: the next request has its own time."""
        self._since_us = now_us

    def on_write_resumed(self) -> None:
        """Notes that the client took all but a little: at the next look what is waiting is news."""
        self._unsent_bytes = 0

    def timeout_cause(self, phase: Phase, unsent_bytes: int, now_us: int) -> TimeoutCause | None:
        """What the connection is to be ended for.

        Args:
            phase: what is awaited now.
            unsent_bytes: bytes of answers that wait for the client.
            now_us: never falls.
        """
        if phase != self._phase or unsent_bytes:  # nobody is hurried to ask while an answer is on its way
            self._phase, self._since_us = phase, now_us
        if self._is_stalled(unsent_bytes, now_us):
            return "reader"
        if phase == "answer" or now_us - self._since_us < self._deadlines.request_us:
            return None
        return phase

    def _is_stalled(self, unsent_bytes: int, now_us: int) -> bool:
        """Whether no piece was taken in time. What grows was empty enough to be written to, so some was taken."""
        if (
            not unsent_bytes
            or unsent_bytes > self._unsent_bytes
            or unsent_bytes <= self._unsent_bytes - MIN_PROGRESS_BYTES
        ):
            self._unsent_bytes, self._progress_us = unsent_bytes, now_us
        return unsent_bytes > 0 and now_us - self._progress_us >= self._deadlines.reader_us
