"""`districam-ingest`, also `python -m districam_ingest`."""

import sys

from districam_common.runtime.service import entry
from districam_ingest.app import main as serve
from districam_ingest.settings import Settings


def main() -> int:
    """Runs ingest; gives the exit code."""
    return entry("ingest", Settings, serve)


if __name__ == "__main__":
    sys.exit(main())
