"""A full bucket: a quota of the store below its current size."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from districam_devkit.servers import seaweedfs

BUCKET = "districam"
SHELL_S = 30


@asynccontextmanager
async def full(s3: seaweedfs.S3) -> AsyncGenerator[None]:
    """The bucket rejects writes during the block."""
    await _shell(s3, f"s3.bucket.quota -name={BUCKET} -op=set -sizeMB=1", "s3.bucket.quota.enforce -apply")
    try:
        yield
    finally:
        await _shell(s3, f"s3.bucket.quota -name={BUCKET} -op=remove", "s3.bucket.quota.enforce -apply")


async def _shell(s3: seaweedfs.S3, *commands: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(seaweedfs.binary()),
        "shell",
        f"-master={s3.master}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SHELL_S):
        output, _ = await process.communicate("\n".join([*commands, "exit", ""]).encode())
    if b"error" in output.lower():
        raise AssertionError(output.decode(errors="replace"))
