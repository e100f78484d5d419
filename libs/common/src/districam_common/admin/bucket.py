"""`districam-bucket apply|check`."""

import argparse
import json
import sys
from collections.abc import Sequence

from districam_common.admin.run import EXIT_NOT_DONE, CommandSettings, add_wait, run
from districam_common.contract.names import SITE_MARKER, format_rfc3339
from districam_common.errors import Fatal
from districam_common.runtime.clock import SystemClock
from districam_common.s3 import cutover
from districam_common.s3.blobs import Blobs, ObjectExists
from districam_common.s3.probing import REQUIREMENTS, Outcome, Prober, check_requirement

_SCHEMA = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="districam-bucket", description="Create and check the site's bucket.")
    actions = parser.add_subparsers(dest="action", required=True)
    text = "create the bucket and its site marker, if missing"
    add_wait(actions.add_parser("apply", help=text, description=text))
    text = "test what the store must support, one line each; exit code 1 if a required feature is missing"
    add_wait(actions.add_parser("check", help=text, description=text))
    args = parser.parse_args(argv)
    return run("districam-bucket", apply if args.action == "apply" else check, wait_s=args.wait)


async def apply(settings: CommandSettings) -> int:
    """Creates the bucket and its site marker, and prints what it did. Raises Fatal for another site's bucket."""
    async with Blobs.open(settings.s3) as blobs:
        done = await _bucket(blobs, settings) + await _marker(blobs, settings)
    print("\n".join(done) or f"nothing to do: bucket {settings.s3.bucket} belongs to site {settings.site}")
    return 0


async def check(settings: CommandSettings) -> int:
    """Tests the store's features on temporary objects in the site's bucket. Raises Fatal for another site's bucket."""
    async with Prober.begin(settings.s3, SystemClock()) as prober:
        await prober.require_site(settings.site)
        missing: list[Outcome] = []
        for demand in REQUIREMENTS:
            outcome = await check_requirement(prober, demand)
            print(_line(outcome), flush=True)
            if outcome.state == "missing":
                missing.append(outcome)
        for left in await prober.remove():
            print(f"remains  {left}: locked for a minute at most; the next check deletes it")
    fatal = [outcome.requirement.name for outcome in missing if outcome.requirement.is_required]
    if fatal:
        print(f"districam-bucket: this store cannot be used; required but missing: {', '.join(fatal)}", file=sys.stderr)
    return EXIT_NOT_DONE if fatal else 0


def _line(outcome: Outcome) -> str:
    if outcome.state == "ok":
        return f"ok       {outcome.requirement.name}"
    return f"missing  {outcome.requirement.name} ({outcome.detail}): {outcome.requirement.consequence}"


async def _bucket(blobs: Blobs, settings: CommandSettings) -> list[str]:
    name, lock = settings.s3.bucket, settings.s3.object_lock
    if await blobs.create_bucket(object_lock=lock):
        await cutover.ensure(blobs, 0)  # no indexer of an earlier version has deleted anything in a new bucket
        return [f"created bucket {name}, {'with' if lock else 'without'} object lock"]
    has_lock = await blobs.has_object_lock() if lock else True
    if has_lock is None:
        print(
            f"warning: the store does not report whether bucket {name} has object lock; districam-bucket check tests it",
            file=sys.stderr,
        )
    if has_lock is False:
        print(
            f"warning: bucket {name} has no object lock, which can be enabled at creation only: holds will be advisory. "
            f"Use a new bucket, or accept this with DISTRICAM_S3__OBJECT_LOCK=false",
            file=sys.stderr,
        )
    return []


async def _marker(blobs: Blobs, settings: CommandSettings) -> list[str]:
    marker = await blobs.read_site_marker()
    if marker is None:
        value = {"site": settings.site, "created": format_rfc3339(SystemClock().now_us()), "schema": _SCHEMA}
        try:
            await blobs.put_json(SITE_MARKER, json.dumps(value).encode(), once=True)
        except ObjectExists:  # written by a concurrent apply, perhaps of another site
            await blobs.require_site(settings.site)
            return []
        return [f"marked bucket {settings.s3.bucket} as site {settings.site}'s"]
    if marker.site != settings.site:
        raise Fatal(
            f"bucket {settings.s3.bucket} belongs to site {marker.site!r} (since {marker.created}), not to "
            f"{settings.site!r}: set DISTRICAM_S3__BUCKET to another bucket, or DISTRICAM_SITE to {marker.site!r}"
        )
    return []


if __name__ == "__main__":
    sys.exit(main())
