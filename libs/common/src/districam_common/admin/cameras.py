"""`districam-cameras apply | list | export | delete`."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from districam_common.admin import broker_time
from districam_common.admin.cameras_file import (
    CamerasFileError,
    Change,
    deletion,
    diff_cameras,
    format_cameras_file,
    parse_cameras_file,
)
from districam_common.admin.run import EXIT_NOT_DONE, CommandSettings, add_wait, run
from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.contract.names import CAMERAS, format_rfc3339
from districam_common.errors import Rejected
from districam_common.kafka.consumer import TopicReader
from districam_common.kafka.producer import Publisher
from districam_common.runtime.clock import SystemClock

_NAME = "districam-cameras"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    match args.action:
        case "apply":
            try:
                text = args.file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                print(f"{_NAME}: {args.file}: {error}", file=sys.stderr)
                return EXIT_NOT_DONE
            command = partial(apply, file=args.file, text=text, dry_run=args.dry_run, prune=args.prune)
        case "list":
            command = print_list
        case "export":
            command = print_file
        case _:
            command = partial(delete, camera_id=args.camera_id)
    return run(_NAME, command, wait_s=args.wait)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_NAME, description="The cameras that are recorded.")
    actions = parser.add_subparsers(dest="action", required=True)
    applying = actions.add_parser("apply", help="publish the changes of a cameras.yaml")
    applying.add_argument("-f", "--file", type=Path, required=True, metavar="cameras.yaml")
    applying.add_argument("--dry-run", action="store_true", help="show the changes, publish nothing")
    applying.add_argument("--prune", action="store_true", help="delete cameras that are not in the file")
    listing = actions.add_parser("list", help="print one line per camera")
    exporting = actions.add_parser("export", help="print all cameras as a cameras.yaml")
    deleting = actions.add_parser("delete", help="stop recording a camera; its footage stays until its retention ends")
    deleting.add_argument("camera_id")
    for action in (applying, listing, exporting, deleting):
        add_wait(action)
    return parser


async def apply(settings: CommandSettings, *, file: Path, text: str, dry_run: bool, prune: bool) -> int:
    """Publishes the revisions that make the cameras equal to the file, and prints them."""
    try:
        wanted = parse_cameras_file(text, topic_retention_days=settings.topics.segments_retention_days)
    except CamerasFileError as error:
        print("\n".join(f"{file}: {problem}" for problem in error.problems), file=sys.stderr)
        return EXIT_NOT_DONE
    current = await read_latest(settings)
    found = diff_cameras(current, wanted, prune=prune, now_us=SystemClock().now_us())
    if not dry_run:
        await _publish(settings, found)
    print("\n".join(line for change in found for line in _format_change(change)) or "nothing to do")
    if dry_run and found:
        print("dry run: nothing was published")
    return 0


async def print_list(settings: CommandSettings) -> int:
    """Prints one line per camera."""
    for camera in (await read_latest(settings)).values():
        if not camera.deleted:
            state = "enabled" if camera.enabled else "disabled"
            since = format_rfc3339(camera.updated_us)
            print(f"{camera.camera_id}\t{state}\t{camera.name}\t{camera.url}\tr{camera.revision} {since}")
    return 0


async def print_file(settings: CommandSettings) -> int:
    """Prints all cameras in the format that `apply` reads."""
    print(format_cameras_file((await read_latest(settings)).values()), end="")
    return 0


async def delete(settings: CommandSettings, *, camera_id: str) -> int:
    """Publishes the deletion of a camera."""
    camera = (await read_latest(settings)).get(camera_id)
    if camera is None or camera.deleted:
        raise Rejected(f"there is no camera {camera_id!r}")
    change = deletion(camera, now_us=SystemClock().now_us())
    await _publish(settings, [change])
    print("\n".join(_format_change(change)))
    return 0


async def read_latest(settings: CommandSettings) -> dict[str, Camera]:
    """The latest record of every camera by id, deleted cameras included; invalid records are reported and skipped."""
    out: dict[str, Camera] = {}
    async with TopicReader.open(settings.kafka, [CAMERAS], client_id=_NAME) as reader:
        for record in await reader.read_all():
            try:
                camera = wire.decode_camera(record.key, record.headers, record.value)
            except wire.WireError as error:
                print(
                    f"{_NAME}: skipped {CAMERAS}-{record.partition}@{record.offset}: {record.problem or error}",
                    file=sys.stderr,
                )
                continue
            out[camera.camera_id] = camera
    return dict(sorted(out.items()))


async def _publish(settings: CommandSettings, found: Sequence[Change]) -> None:
    """Publishes the changes, unless this host's clock is proven wrong.

    Raises:
        ClockSkewError: it is. Nothing was written if existing records proved it; otherwise the changes up to the one
            whose acknowledgement proved it.
    """
    if not found:
        return
    clock = SystemClock()
    newest_us = await broker_time.newest_append_us(settings.kafka, _NAME)
    broker_time.require_no_skew(min(0, clock.now_us() - newest_us), "Nothing was written.")
    async with Publisher.open(settings.kafka, _NAME) as publisher:
        for n, change in enumerate(found, 1):
            message, sent_us = wire.camera_message(change.camera, site=settings.site), clock.now_us()
            ack = await publisher.publish(CAMERAS, message)
            skew_us = broker_time.proven_skew_us(ack.append_us, sent_us, clock.now_us())
            broker_time.require_no_skew(skew_us, _format_partial_write(found[:n], found[n:]))


def _format_partial_write(done: Sequence[Change], pending: Sequence[Change]) -> str:
    """Describes the changes that were written although the command failed; they apply from their append times."""
    heads = "; ".join(_format_change_head(change) for change in done)
    return f"Written before this was detected, and in effect: {heads}. Not written: {len(pending)} more."


def _format_change_head(change: Change) -> str:
    camera = change.camera
    return f"{change.kind} {camera.camera_id} ({camera.name}), revision {camera.revision}"


def _format_change(change: Change) -> list[str]:
    fields = (f"    {name}: {before!r} -> {after!r}" for name, before, after in change.fields)
    return [_format_change_head(change), *fields]


if __name__ == "__main__":
    sys.exit(main())
