"""Why a command ends early: what the person is told, and the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_FORBIDDEN = 3


class CommandError(Exception):
    """The command cannot go on. The message says what to do."""

    code = EXIT_FAILED


class UsageError(CommandError):
    """The command line, a setting or a time cannot be used as it stands."""

    code = EXIT_BAD_SETTINGS


class Forbidden(CommandError):
    """The api wants another key."""

    code = EXIT_FORBIDDEN


class NotFound(CommandError):
    """There is no footage, or no such camera."""


@dataclass(frozen=True, slots=True)
class ClipWindow:
    """A window that can be asked for, as the api wrote it: RFC 3339, and local time."""

    from_: str
    to: str
    from_local: str
    to_local: str


class ParametersChanged(CommandError):
    """The camera's picture changed inside the window; each of `windows` can be one clip."""

    def __init__(self, message: str, windows: Sequence[ClipWindow]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)
