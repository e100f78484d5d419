"""Errors that end the command: the message for the user, and the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_FORBIDDEN = 3


class CommandError(Exception):
    """The command cannot continue. The message says what to do."""

    code = EXIT_FAILED


class UsageError(CommandError):
    """The command line, a setting or a time is invalid."""

    code = EXIT_BAD_SETTINGS


class Forbidden(CommandError):
    """The api refuses the key, or needs one."""

    code = EXIT_FORBIDDEN


class NotFound(CommandError):
    """There is no footage, or no such camera."""


@dataclass(frozen=True, slots=True)
class ClipWindow:
    """A window that can be requested, as the api wrote it: RFC 3339 in UTC, and local time."""

    from_: str
    to: str
    from_local: str
    to_local: str


class ParametersChanged(CommandError):
    """The codec parameters change inside the window; each of `windows` can be one clip."""

    def __init__(self, message: str, windows: Sequence[ClipWindow]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)
