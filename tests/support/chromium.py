"""Plays a URL in headless Chromium's bare <video>, and tells what the element says."""

import asyncio
import contextlib
import json
import tempfile
from typing import Any

import httpx

PAGE = """<!doctype html><meta charset="utf-8"><video muted autoplay></video><script>
const video = document.querySelector("video");
const say = (what) => fetch("/", {method: "POST", body: JSON.stringify(what)});
const state = (extra) => ({width: video.videoWidth, duration_s: video.duration, at_s: video.currentTime,
  frames: video.getVideoPlaybackQuality().totalVideoFrames, ended: video.ended, ...extra});
video.onended = () => say(state({}));
video.onerror = () => say(state({error: video.error.message}));
video.onloadedmetadata = () => { video.playbackRate = 4; };
setTimeout(() => say(state({error: "not ended in time"})), 50000);
video.src = URL_TO_PLAY;
</script>"""
PASSED = ("content-type", "content-range", "accept-ranges")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


async def played_in_chromium(browser: str, url: str, *, timeout_s: float = 60) -> dict[str, Any]:
    """What the element said when playing ended: `ended`, `width`, `duration_s`, `frames`, perhaps `error`.

    The page stands on the same origin as the media, as the operator's page will: a proxy passes on all else.
    """
    told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    target = httpx.URL(url)
    async with httpx.AsyncClient(base_url=target.join("/"), timeout=20) as upstream:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                writer.write(await answer(request, reader))
                await writer.drain()
            writer.close()

        async def answer(request: str, reader: asyncio.StreamReader) -> bytes:
            method, path, _ = request.split(" ", 2)
            fields = dict(line.lower().split(": ", 1) for line in request.splitlines()[1:] if ": " in line)
            if method == "POST":
                said = json.loads(await reader.readexactly(int(fields["content-length"])))
                if not told.done():
                    told.set_result(said)
                return _answer(200, {}, b"")
            if path == "/":
                page = PAGE.replace("URL_TO_PLAY", json.dumps(target.raw_path.decode()))
                return _answer(200, {"content-type": "text/html"}, page.encode())
            wanted = {"range": fields["range"]} if "range" in fields else {}
            found = await upstream.get(path, headers=wanted)
            kept = {name: found.headers[name] for name in PASSED if name in found.headers}
            return _answer(found.status_code, kept, found.content)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            return await _shown(browser, server.sockets[0].getsockname()[1], told, timeout_s)
        finally:
            server.close()


def _answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


async def _shown(
    browser: str, port: int, told: asyncio.Future[dict[str, Any]], timeout_s: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(browser, *FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{port}/"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await told
        finally:
            process.terminate()
            await process.wait()
