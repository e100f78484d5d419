"""`districam-bucket apply`."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence

from districam_common.blobs import Blobs, Exists
from districam_common.clock import SystemClock
from districam_common.commands.run import CommandSettings, add_wait, run
from districam_common.errors import Fatal
from districam_common.names import SITE_MARKER, rfc3339

_SCHEMA = 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="districam-bucket", description="The bucket and the mark of its site."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    text = "make the bucket and mark it as this site's, if that is not done yet"
    add_wait(actions.add_parser("apply", help=text, description=text))
    args = parser.parse_args(argv)
    return run("districam-bucket", apply, wait_s=args.wait)


async def apply(settings: CommandSettings) -> int:
    """Makes the bucket and its marker; says what it did. Another site's bucket: Fatal."""
    async with Blobs.open(settings.s3) as blobs:
        done = await _bucket(blobs, settings) + await _marker(blobs, settings)
    print("\n".join(done) or f"nothing to do: bucket {settings.s3.bucket} is {settings.site}'s")
    return 0


async def _bucket(blobs: Blobs, settings: CommandSettings) -> list[str]:
    name, lock = settings.s3.bucket, settings.s3.object_lock
    if await blobs.create_bucket(object_lock=lock):
        return [f"created bucket {name}, {'with' if lock else 'without'} object lock"]
    has_lock = await blobs.has_object_lock() if lock else True
    if has_lock is None:
        print(
            f"warning: the store does not say whether bucket {name} has object lock: districam-bucket check tries it out",
            file=sys.stderr,
        )
    if has_lock is False:
        print(
            f"warning: bucket {name} has no object lock, and cannot get it any more: holds will be advisory. "
            f"Use a new bucket, or say so with DISTRICAM_S3__OBJECT_LOCK=false",
            file=sys.stderr,
        )
    return []


async def _marker(blobs: Blobs, settings: CommandSettings) -> list[str]:
    marker = await blobs.site()
    if marker is None:
        value = {"site": settings.site, "created": rfc3339(SystemClock().now_us()), "schema": _SCHEMA}
        body = json.dumps(value).encode()
        try:
            await blobs.put(
                SITE_MARKER,
                [body],
                content_type="application/json",
                metadata={},
                sha256=hashlib.sha256(body).hexdigest(),
                once=True,
            )
        except Exists:  # another apply beside us; whose?
            await blobs.check_site(settings.site)
            return []
        return [f"marked bucket {settings.s3.bucket} as {settings.site}'s"]
    if marker.site != settings.site:
        raise Fatal(
            f"bucket {settings.s3.bucket} belongs to site {marker.site!r} since {marker.created}, not to "
            f"{settings.site!r}: set DISTRICAM_S3__BUCKET to another bucket, or DISTRICAM_SITE to {marker.site!r}"
        )
    return []


if __name__ == "__main__":
    sys.exit(main())
