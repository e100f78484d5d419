"""`districam-api [run]` serves the HTTP API; `districam-api keys` manages its keys."""

import sys

from districam_api import keys_command
from districam_api.app import main as serve
from districam_api.settings import Settings
from districam_common.runtime.clock import SystemClock
from districam_common.runtime.service import EXIT_BAD_SETTINGS, entry

USAGE = (
    "usage: districam-api [run]\n       districam-api keys create|list|revoke …\n\nSettings are DISTRICAM_… variables."
)


def main() -> int:
    """Console script. Returns the exit code."""
    if sys.argv[1:2] == ["keys"]:
        return keys_command.main(sys.argv[2:], SystemClock())
    if sys.argv[1:] not in ([], ["run"]):
        print(USAGE, file=sys.stderr)
        return EXIT_BAD_SETTINGS
    return entry("api", Settings, serve)


if __name__ == "__main__":
    sys.exit(main())
