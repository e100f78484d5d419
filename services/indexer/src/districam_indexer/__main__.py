"""The command `districam-indexer [run|rebuild|check|forget SCHEMA]`."""

import argparse
import asyncio
import sys

from districam_common.admin.run import EXIT_NOT_DONE
from districam_common.errors import DistricamError, Fatal
from districam_common.runtime import service
from districam_common.runtime.service import EXIT_BAD_SETTINGS, EXIT_FATAL
from districam_common.runtime.settings import HealthSettings, SettingsError, load
from districam_indexer import check, forget
from districam_indexer.app import main as index
from districam_indexer.app import rebuild_once
from districam_indexer.settings import Settings


def main() -> int:
    """The console script; returns the exit code."""
    parser = argparse.ArgumentParser(prog="districam-indexer", description="Builds the indexes in Redis.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "rebuild", "check", "forget"),
        default="run",
        help="run (default): index until stopped; rebuild: rebuild the whole index, then stop; check: compare it with the "
        "bucket; forget SCHEMA: delete the index of another schema that an upgrade has left",
    )
    parser.add_argument("schema", nargs="?", help="only for forget: a number, as in the keys dc1:…")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="with check: read every object and compare its sha256 with the announced one (takes days for a month of a "
        "district)",
    )
    args = parser.parse_args()
    if args.deep and args.command != "check":
        parser.error("--deep requires check")
    if (args.command == "forget") != (args.schema is not None):
        parser.error("forget requires the number of a schema; the other commands take none")
    if args.command == "run":
        return service.entry("indexer", Settings, index)
    return _run_once(args.command, is_deep=args.deep, schema=args.schema or "")


def _run_once(command: str, *, is_deep: bool, schema: str) -> int:
    try:
        settings = load(Settings)
        if command == "check":
            return asyncio.run(check.main(settings, is_deep=is_deep))
        if command == "forget":
            return asyncio.run(forget.main(settings, schema))
    except DistricamError as error:
        print(f"districam-indexer: {error}", file=sys.stderr)
        return EXIT_FATAL if isinstance(error, Fatal) else EXIT_NOT_DONE
    except SettingsError as error:
        print(f"districam-indexer: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    without_health_port = settings.model_copy(update={"health": HealthSettings(port=0)})
    return service.run("indexer", without_health_port, lambda runtime: rebuild_once(without_health_port, runtime))


if __name__ == "__main__":
    sys.exit(main())
