"""Resets the connection of a response that fails midway, so no client takes a truncated body for a whole one."""

from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

EXTENSION = "districam.abort"


def abort(scope: Scope) -> None:
    """Resets the request's connection if the server can; an orderly close could look like the body's end."""
    found: Callable[[], None] | None = scope.get("extensions", {}).get(EXTENSION)
    if found is not None:
        found()
