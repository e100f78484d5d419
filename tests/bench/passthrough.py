"""`python -m bench.passthrough PORT KEYS`: forwards the store's objects unchanged with the api's own store client."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from districam_api.media import MediaStreamingResponse
from districam_api.prefetch import prefetch
from districam_api.settings import Settings
from districam_common.runtime.settings import load
from districam_common.s3.blobs import Blobs


async def _objects(blobs: Blobs, keys: Sequence[str]) -> AsyncGenerator[bytes]:
    for key in keys:
        yield await blobs.get(key)


async def _content(blobs: Blobs, keys: Sequence[str]) -> AsyncGenerator[bytes]:
    async with aclosing(_objects(blobs, keys)) as objects, aclosing(prefetch(objects)) as coming:
        async for content in coming:
            yield content


async def main(port: int, keys: Sequence[str]) -> None:
    """Answers every request with all the objects, until terminated."""
    async with Blobs.open(load(Settings).s3) as blobs:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await MediaStreamingResponse(_content(blobs, keys), headers={})(scope, receive, send)

        config = uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off")
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_text().split()))
