"""Why a command ends early: what the person is told, and the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

DONE = 0
NOT_DONE = 1
BAD_SETTINGS = 2
REFUSED = 3


class Ended(Exception):
    """The command cannot go on. The message says what to do."""

    code = NOT_DONE


class Misasked(Ended):
    """The command line, a setting or a time cannot be used as it stands."""

    code = BAD_SETTINGS


class Forbidden(Ended):
    """The api wants another key."""

    code = REFUSED


class Nothing(Ended):
    """There is no footage, or no such camera."""


@dataclass(frozen=True, slots=True)
class Part:
    """A window that can be asked for, as the api wrote it: RFC 3339, and local time."""

    from_: str
    to: str
    from_local: str
    to_local: str


class Differing(Ended):
    """The camera's picture changed inside the window; each of `parts` can be one clip."""

    def __init__(self, message: str, parts: Sequence[Part]) -> None:
        super().__init__(message)
        self.parts = tuple(parts)
