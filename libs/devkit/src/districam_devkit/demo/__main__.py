"""`districam-demo`, by `make demo`: runs the whole system on this machine."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, get_args

from districam_common.runtime.service import leaf_errors
from districam_devkit.demo.report_checks import find_violations
from districam_devkit.demo.runner import DemoOptions, KillTarget, run
from districam_devkit.demo.screen import Screen
from districam_devkit.servers import ServerUnavailable

HOME = Path(".devkit/demo")


def main() -> int:
    """Runs the demo. Returns 0 on success, 1 if the report has violations, 2 if a requirement is missing."""
    options, screen = _parse_options(), Screen()
    try:
        made = asyncio.run(run(options, screen))
    except (ServerUnavailable, TimeoutError, ExceptionGroup) as error:
        return _failed(error, options)
    if made is None:
        return 0
    return _report_exit_code(made, screen, options)


def _failed(error: Exception, options: DemoOptions) -> int:
    """Prints what is missing and returns the exit code. Any other error is raised again, with its traceback."""
    for leaf in leaf_errors(error):
        if isinstance(leaf, ServerUnavailable):
            print(f"districam-demo: {leaf}", file=sys.stderr)
            return 2
        if isinstance(leaf, TimeoutError):
            print(
                f"districam-demo: footage stayed pending after the sources stopped; see {options.home / 'logs'}",
                file=sys.stderr,
            )
            return 1
    raise error


def _report_exit_code(report: dict[str, Any], screen: Screen, options: DemoOptions) -> int:
    stored, sent = report["access_units_stored"], report["access_units_sent"]
    screen.step(
        f"{sent} pictures sent, {stored} stored, {report['access_units_before_first_keyframe']} before a first keyframe, "
        f"{report['access_units_in_gaps']} in reported gaps, {report['unaccounted']} unaccounted, "
        f"{report['duplicates']} shown twice; report: {options.report}"
    )
    faults = list(find_violations(report, options.kill))
    for fault in faults:
        print(f"districam-demo: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _parse_options() -> DemoOptions:
    parser = argparse.ArgumentParser("districam-demo", description=__doc__)
    parser.add_argument("--duration", type=float, help="seconds; without it, until Ctrl-C")
    parser.add_argument("--report", type=Path, help="count pictures at the end and write this JSON file")
    parser.add_argument(
        "--kill", choices=get_args(KillTarget), help="send this process SIGKILL half way, and restart it"
    )
    parser.add_argument("--cameras", type=Path, help="a cameras.yaml of real cameras instead of the simulated ones")
    parser.add_argument("--broker", choices=("auto", "kafka", "tansu"), default="auto")
    given = parser.parse_args()
    if given.cameras is not None and given.report is not None:
        parser.error("--report needs simulated cameras: omit --cameras")
    if given.cameras is not None and not given.cameras.is_file():
        parser.error(f"--cameras: no such file: {given.cameras}")
    return DemoOptions(HOME, given.duration, given.report, given.kill, given.cameras, given.broker)


if __name__ == "__main__":
    sys.exit(main())
