"""`districam-indexer [run|rebuild|check]`."""

import argparse
import sys

from districam_common import service
from districam_common.settings import HealthSettings, SettingsError, load
from districam_indexer import check
from districam_indexer.app import main as index
from districam_indexer.app import rebuild_once
from districam_indexer.settings import IndexerSettings


def main() -> int:
    """The console script; gives the exit code."""
    parser = argparse.ArgumentParser(prog="districam-indexer", description="Builds the indexes in Redis.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "rebuild", "check"),
        default="run",
        help="run (default): index until stopped; rebuild: make the whole index anew, then stop; check: compare it with the bucket",
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="with check: read every byte, and compare it with what was announced (a month of a district takes days)",
    )
    args = parser.parse_args()
    if args.deep and args.command != "check":
        parser.error("--deep goes with check")
    if args.command == "run":
        return service.entry("indexer", IndexerSettings, index)
    return _once(args.command, is_deep=args.deep)


def _once(command: str, *, is_deep: bool) -> int:
    try:
        settings = load(IndexerSettings)
    except SettingsError as error:
        print(f"districam-indexer: {error}", file=sys.stderr)
        return service.BAD_SETTINGS
    if command == "check":
        return check.main(settings, is_deep=is_deep)
    beside_others = settings.model_copy(update={"health": HealthSettings(port=0)})
    return service.run("indexer", beside_others, lambda runtime: rebuild_once(beside_others, runtime))


if __name__ == "__main__":
    sys.exit(main())
