"""`districam-recorder`, or `python -m districam_recorder`: fragments from Kafka become objects in S3."""

import sys

from districam_common.runtime import service
from districam_recorder.app import run
from districam_recorder.settings import Settings


def main() -> int:
    """Runs the service; gives the exit code."""
    return service.entry("recorder", Settings, run)


if __name__ == "__main__":
    sys.exit(main())
