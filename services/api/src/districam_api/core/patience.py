"""How long a connection may keep the api waiting, judged from looks at it that are a moment apart."""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["head", "body", "answer"]
"""What is awaited: a request's head, the rest of its body, or our own answer."""
Late = Literal["head", "body", "reader"]

PIECE_BYTES = 64 << 10
"""Who takes that much within the time for a piece is slow, and not asleep: 1.1 kB/s in a minute."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The time for a head, and again for a body; and the time for a piece of an answer to be taken."""

    request_us: int
    reader_us: int


class Waiting:
    """One connection.

    Attributes:
        _phase, _since_us: what is awaited, and since when.
        _untaken, _taken_us: bytes of answers that the client had still to take when it last took a piece, and when
            that was.
    """

    def __init__(self, patience: Patience, now_us: int) -> None:
        self._patience = patience
        self._phase: Phase = "head"
        self._since_us = now_us
        self._untaken = 0
        self._taken_us = now_us

    def answered(self, now_us: int) -> None:
        """Notes that an answer is complete: the next request has its own time."""
        self._since_us = now_us

    def took(self) -> None:
        """Notes that the client took all but a little: at the next look what is waiting is news."""
        self._untaken = 0

    def late(self, phase: Phase, untaken: int, now_us: int) -> Late | None:
        """What the connection is to be ended for.

        Args:
            phase: what is awaited now.
            untaken: bytes of answers that wait for the client.
            now_us: never falls.
        """
        if phase != self._phase or untaken:  # nobody is hurried to ask while an answer is on its way
            self._phase, self._since_us = phase, now_us
        if self._is_asleep(untaken, now_us):
            return "reader"
        if phase == "answer" or now_us - self._since_us < self._patience.request_us:
            return None
        return phase

    def _is_asleep(self, untaken: int, now_us: int) -> bool:
        """Whether no piece was taken in time. What grows was empty enough to be written to, so some was taken."""
        if not untaken or untaken > self._untaken or untaken <= self._untaken - PIECE_BYTES:
            self._untaken, self._taken_us = untaken, now_us
        return untaken > 0 and now_us - self._taken_us >= self._patience.reader_us
