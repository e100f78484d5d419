"""An attacker with the store's keys deletes new recordings."""

import asyncio
import time

from pydantic import SecretStr

from districam_common.contract import names
from districam_common.runtime.settings import S3Settings
from districam_common.s3.versioned_bucket import ObjectVersion, VersionedBucket
from districam_devkit.servers.seaweedfs import S3
from fault.quota import BUCKET
from fault.scene import Scene

TRIES_S = 20.0
_AT_ONCE = 500


async def fresh_footage_deleted(scene: Scene) -> None:
    """Repeatedly deletes every version of new segments by its version id, with the recorder's own keys.

    Raises:
        AssertionError: a segment is gone, or there was none.
    """
    tried, since_us, until_s = 0, time.time_ns() // 1000, time.monotonic() + TRIES_S
    async with VersionedBucket.open(_settings(scene.servers.s3)) as bucket:
        while time.monotonic() < until_s:
            found = [one async for one in bucket.versions("") if _is_since(one, since_us)]
            gone = await _deleted(bucket, found)
            if gone:
                raise AssertionError(f"{len(gone)} of {len(found)} were deleted, such as {gone[0].key}")
            tried += len(found)
            await asyncio.sleep(1)
    if not tried:
        raise AssertionError("there was nothing to delete")


def _is_since(version: ObjectVersion, since_us: int) -> bool:
    if version.is_delete_marker or version.key.startswith("_"):
        return False
    return names.parse_segment_object_key(version.key, version.size).entry.start_us >= since_us


async def _deleted(bucket: VersionedBucket, versions: list[ObjectVersion]) -> list[ObjectVersion]:
    gone: list[ObjectVersion] = []
    for n in range(0, len(versions), _AT_ONCE):
        some = versions[n : n + _AT_ONCE]
        kept = set(await bucket.delete_versions(some))
        gone += [one for one in some if one not in kept]
    return gone


def _settings(store: S3) -> S3Settings:
    secret = SecretStr(store.secret_key)
    return S3Settings(endpoint=store.url, access_key=store.access_key, secret_key=secret, bucket=BUCKET)
