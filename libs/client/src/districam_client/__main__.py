"""`districam find | clip | still`: a command line client of the api."""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from districam_client.api_client import ApiClient, open_client
from districam_client.errors import CommandError
from districam_client.fetch import FetchOptions, clip, still
from districam_client.find import find
from districam_client.screen import Screen
from districam_client.settings import DEFAULT_URL, FIELDS, VARIABLES, Settings, load_settings, parse_zone
from districam_client.times import EXAMPLES, parse_instant, parse_window

NAME = "districam"
INTERRUPTED, TERMINATED = 130, 143
_TIMED = frozenset({"--at", "--from", "--to"})
_NEGATIVE = re.compile(r"-\d")
_TIMES_HELP = f"TIME is such as {', '.join(EXAMPLES)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code: 0 done, 1 failed, 2 usage or settings, 3 forbidden."""
    signal.signal(signal.SIGTERM, _terminated)
    args = _parser().parse_args(_join_negative_times(sys.argv[1:] if argv is None else argv))
    screen = Screen(time.monotonic, is_json=args.json)  # noqa: TID251  # the command's only clock for waiting
    try:
        found = load_settings(os.environ, {name: vars(args)[name] for name in FIELDS})  # noqa: TID251  # read here alone
        with open_client(found, wait_s=args.wait, notify=screen.notify) as client:
            return _execute(args, client, screen, found)
    except CommandError as error:
        screen.notify(f"{NAME}: {error}")
        return error.code
    except KeyboardInterrupt:
        screen.notify(f"{NAME}: interrupted")
        return INTERRUPTED


def _terminated(*_: object) -> None:
    """Raises SystemExit on SIGTERM, so that partial files are removed."""
    sys.exit(TERMINATED)


def _execute(args: argparse.Namespace, client: ApiClient, screen: Screen, found: Settings) -> int:
    zone = found.zone or _zone(client)
    now_us = time.time_ns() // 1000  # noqa: TID251  # the time of the call, read here alone
    if args.action == "find":
        at_us = None if args.at is None else parse_instant(args.at, "--at", now_us=now_us, zone=zone)
        return find(client, screen, " ".join(args.words), at_us, zone)
    options = FetchOptions(args.camera, args.output, args.force, zone)
    if args.action == "still":
        return still(client, screen, options, parse_instant(args.at, "--at", now_us=now_us, zone=zone))
    between = parse_window(vars(args)["from"], args.to, now_us=now_us, zone=zone)
    return clip(client, screen, options, between, split=args.split)


def _zone(client: ApiClient) -> ZoneInfo:
    """The api's own zone, the default of local times."""
    return parse_zone(str(client.get_json("/v1/cameras", {"limit": "1"})["tz"]), "the api's zone")


def _join_negative_times(argv: Sequence[str]) -> list[str]:
    """Joins `--from -15m` into one word: argparse would take the time for an option."""
    out: list[str] = []
    for word in argv:
        if out and out[-1] in _TIMED and _NEGATIVE.match(word):
            out[-1] += f"={word}"
        else:
            out.append(word)
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Finds cameras and fetches their footage.", epilog=_TIMES_HELP
    )
    actions = parser.add_subparsers(dest="action", required=True)
    finding = _action(actions, "find", "cameras by words, with the state of each now or at an instant")
    finding.add_argument("words", nargs="+", help="in id, name, place or groups; case and diacritics are ignored")
    finding.add_argument("--at", metavar="TIME", help="the instant; default: the stream's current state")
    fetching = _action(actions, "clip", "a window of a camera's footage as one MP4")
    _add_file_arguments(fetching)
    fetching.add_argument("--from", metavar="TIME", required=True)
    fetching.add_argument("--to", metavar="TIME", required=True, help="or a duration after --from, such as +10m")
    fetching.add_argument("--split", action="store_true", help="a file for each part where codec parameters change")
    showing = _action(actions, "still", "the picture shown at an instant as a JPEG")
    _add_file_arguments(showing)
    showing.add_argument("--at", metavar="TIME", required=True)
    return parser


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text, epilog=_TIMES_HELP)
    action.add_argument("--url", help=f"address of the api ({VARIABLES['url']}, {DEFAULT_URL})")
    action.add_argument("--key-file", metavar="FILE", help=f"file with the API key ({VARIABLES['key_file']})")
    action.add_argument(
        "--ca-file", metavar="FILE", help=f"CA certificates that verify the api ({VARIABLES['ca_file']})"
    )
    action.add_argument(
        "--tz", dest="timezone", metavar="ZONE", help=f"zone of local times ({VARIABLES['timezone']}, the api's)"
    )
    action.add_argument(
        "--wait",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how long to wait in total while the api is not ready (60)",
    )
    action.add_argument("--json", action="store_true", help="results as JSON, one line each")
    return action


def _add_file_arguments(action: argparse.ArgumentParser) -> None:
    action.add_argument("camera", metavar="CAMERA", help="its id")
    action.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file or folder; default: the api's file name, in this folder"
    )
    action.add_argument("--force", action="store_true", help="replace an existing file")


if __name__ == "__main__":
    sys.exit(main())
