"""`districam-demo`, by `make demo`: the whole system on this machine."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, get_args

from districam_common.runtime.service import leaves
from districam_devkit.demo.promises import broken_promises
from districam_devkit.demo.screen import Screen
from districam_devkit.demo.stage import Victim, Wishes, run
from districam_devkit.servers import ServerUnavailable

HOME = Path(".devkit/demo")


def main() -> int:
    """Runs the demo; 0 if it went well, 1 if pictures are unaccounted for, 2 if something is missing."""
    wishes, screen = _wishes(), Screen()
    try:
        made = asyncio.run(run(wishes, screen))
    except (ServerUnavailable, TimeoutError, ExceptionGroup) as error:
        return _failed(error, wishes)
    if made is None:
        return 0
    return _verdict(made, screen, wishes)


def _failed(error: Exception, wishes: Wishes) -> int:
    """Says what is missing. A bug is raised again, with its traceback."""
    for leaf in leaves(error):
        if isinstance(leaf, ServerUnavailable):
            print(f"districam-demo: {leaf}", file=sys.stderr)
            return 2
        if isinstance(leaf, TimeoutError):
            print(f"districam-demo: it did not come to rest; see {wishes.home / 'logs'}", file=sys.stderr)
            return 1
    raise error


def _verdict(made: dict[str, Any], screen: Screen, wishes: Wishes) -> int:
    stored, sent = made["access_units_stored"], made["access_units_sent"]
    screen.step(
        f"{sent} pictures sent, {stored} stored, {made['access_units_before_first_keyframe']} before a first keyframe, "
        f"{made['access_units_in_gaps']} in told gaps, {made['unaccounted']} unaccounted, "
        f"{made['duplicates']} shown twice; report: {wishes.report}"
    )
    faults = list(broken_promises(made, wishes.kill))
    for fault in faults:
        print(f"districam-demo: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _wishes() -> Wishes:
    parser = argparse.ArgumentParser("districam-demo", description=__doc__)
    parser.add_argument("--duration", type=float, help="seconds; without it, until Ctrl-C")
    parser.add_argument("--report", type=Path, help="count pictures at the end and write this JSON file")
    parser.add_argument(
        "--kill", choices=get_args(Victim), help="SIGKILL it in the middle, and start it again"
    )
    parser.add_argument(
        "--cameras", type=Path, help="a cameras.yaml of real cameras instead of the simulated ones"
    )
    parser.add_argument("--broker", choices=("auto", "kafka", "tansu"), default="auto")
    given = parser.parse_args()
    if given.cameras is not None and given.report is not None:
        parser.error("--report counts what simulated cameras sent: leave --cameras out")
    if given.cameras is not None and not given.cameras.is_file():
        parser.error(f"--cameras: there is no file {given.cameras}")
    return Wishes(HOME, given.duration, given.report, given.kill, given.cameras, given.broker)


if __name__ == "__main__":
    sys.exit(main())
