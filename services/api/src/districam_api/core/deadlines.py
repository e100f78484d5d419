"""Deadlines of a connection, checked periodically: request head, request body, and reading of responses."""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["head", "body", "answer"]
"""What the connection waits for: a request's head, the rest of its body, or our response."""
TimeoutCause = Literal["head", "body", "reader"]

MIN_PROGRESS_BYTES = 64 << 10
"""A client that reads this much within `reader_us` is slow, not stalled: 1.1 kB/s at 60 s."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits: of a request's head and again of its body, and of reading MIN_PROGRESS_BYTES of a response."""

    request_us: int
    reader_us: int


class ConnectionDeadline:
    """The deadlines of one connection.

    Attributes:
        _phase, _since_us: the current phase and when it began.
        _unsent_bytes, _progress_us: response bytes that were unsent at the client's last progress, and when that was.
    """

    def __init__(self, deadlines: Deadlines, now_us: int) -> None:
        self._deadlines = deadlines
        self._phase: Phase = "head"
        self._since_us = now_us
        self._unsent_bytes = 0
        self._progress_us = now_us

    def on_response_complete(self, now_us: int) -> None:
        """Starts the time of the next request."""
        self._since_us = now_us

    def on_write_resumed(self) -> None:
        """The client has drained the buffer: bytes that are unsent at the next check are new."""
        self._unsent_bytes = 0

    def timeout_cause(self, phase: Phase, unsent_bytes: int, now_us: int) -> TimeoutCause | None:
        """The deadline that has passed, or None.

        Args:
            phase: the current phase.
            unsent_bytes: response bytes that wait for the client.
            now_us: monotonic.
        """
        if phase != self._phase or unsent_bytes:  # no request deadline while a response is being sent
            self._phase, self._since_us = phase, now_us
        if self._is_stalled(unsent_bytes, now_us):
            return "reader"
        if phase == "answer" or now_us - self._since_us < self._deadlines.request_us:
            return None
        return phase

    def _is_stalled(self, unsent_bytes: int, now_us: int) -> bool:
        """Whether the client made no progress in time. A growing buffer is progress: it drained first."""
        if (
            not unsent_bytes
            or unsent_bytes > self._unsent_bytes
            or unsent_bytes <= self._unsent_bytes - MIN_PROGRESS_BYTES
        ):
            self._unsent_bytes, self._progress_us = unsent_bytes, now_us
        return unsent_bytes > 0 and now_us - self._progress_us >= self._deadlines.reader_us
